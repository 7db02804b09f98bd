"""The report of a study, made from its tables by `build.write_report`: a web page, Markdown or CSV files."""
