"""Sections of the report: each module turns statistics and tables into text, tables and figures."""
