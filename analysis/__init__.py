"""Tables, statistics and the report of a study; needs neither PyTorch nor Ray.

`analysis.tables` defines the tables, `analysis.store` reads and writes them, `analysis.report.build` writes the report.
"""
