"""The folder of a study, apart from its tables: configuration, lease, failures, provenance."""
