"""Import of results of other programs, from CSV and JSON files, into the tables of a study."""
