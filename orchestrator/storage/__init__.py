"""The folder of a study: configuration, lease, failures, provenance, and rows on their way to the tables."""
