"""Partial channel connection as a regularizer, in linear models where its effect is exact."""
