"""The report of a study: text, tables and figures made from its tables by `build.write_report`."""
