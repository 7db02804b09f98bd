"""Configuration of a search and of a retraining: frozen dataclasses that check their values."""

from pcdarts.config.choices import FROM_IMAGES, OWN_IMAGES, Dataset, Flip, Rule
from pcdarts.config.identity import IMAGE_SHAPE, NOT_IDENTITY, NOT_PROTOCOL, digest, identity, outcome_fields
from pcdarts.config.retrain_config import RetrainConfig
from pcdarts.config.search_config import METHOD_FIELDS, SearchConfig, learning_rate_advice
from pcdarts.config.warmups import WARMUPS, scaled_warmups

__all__ = [
    "FROM_IMAGES",
    "IMAGE_SHAPE",
    "METHOD_FIELDS",
    "NOT_IDENTITY",
    "NOT_PROTOCOL",
    "OWN_IMAGES",
    "WARMUPS",
    "Dataset",
    "Flip",
    "RetrainConfig",
    "Rule",
    "SearchConfig",
    "digest",
    "identity",
    "learning_rate_advice",
    "outcome_fields",
    "scaled_warmups",
]
