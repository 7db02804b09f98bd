"""The report of a study: what the tables say, in words, tables and figures.  `build.write_report` writes it."""
