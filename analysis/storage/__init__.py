"""Durable files in the folder of a study, on a disk or in an object store."""
