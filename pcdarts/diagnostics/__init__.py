"""Diagnostics of a search: measures of alpha and cells, dominant eigenvalue, collapse rules, predicted memory."""
