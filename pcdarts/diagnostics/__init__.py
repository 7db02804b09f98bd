"""Diagnostics of a search: measures, dominant eigenvalue, discretized cells, collapse rules, predicted memory."""
