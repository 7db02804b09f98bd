"""Tables, statistics and the report of a study: runs where there is neither PyTorch nor Ray.

`analysis.tables` says what a row holds, `analysis.store` reads and writes rows, `analysis.report.build` makes
the report.
"""
