"""Configuration of a search and of a retraining."""

from pcdarts.config.configs import (
    NOT_IDENTITY,
    NOT_PROTOCOL,
    Dataset,
    RetrainConfig,
    Rule,
    SearchConfig,
    digest,
    identity,
    learning_rate_advice,
)

__all__ = [
    "NOT_IDENTITY",
    "NOT_PROTOCOL",
    "Dataset",
    "RetrainConfig",
    "Rule",
    "SearchConfig",
    "digest",
    "identity",
    "learning_rate_advice",
]
