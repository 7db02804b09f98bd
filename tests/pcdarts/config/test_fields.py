"""The docstrings under fields; the checks are tested by the configurations that make them."""

import dataclasses

import pytest

from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.config.fields import field_docs
from pcdarts.results import EpochRecord, RetrainResult, SearchResult


@pytest.mark.parametrize("cls", [SearchConfig, RetrainConfig, EpochRecord, SearchResult, RetrainResult])
def test_every_field_is_documented(cls):
    docs = field_docs(cls)
    assert [field.name for field in dataclasses.fields(cls)] == list(docs)
    assert all(docs.values())
