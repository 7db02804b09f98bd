"""Input of the report: the tables of a study without heavy columns, and those columns for a few searches on demand."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from analysis.statistics.summaries import SettingSummary, summarize_settings
from analysis.store import ResultStore
from analysis.tables import EPOCHS, FAILURES, QUEUE, RETRAINS, SEARCHES, SETTINGS

HEAVY = frozenset({"alphas_normal", "alphas_reduce", "betas_normal", "betas_reduce", "genotype"})
"""Columns with most of the bytes of `epochs`: 2 x (14 x 8 + 14) numbers and the cells as text per epoch."""


@dataclass(frozen=True, kw_only=True)
class StudyData:
    """The tables and the description of a study."""

    store: ResultStore
    """Store of the study."""

    @cached_property
    def searches(self) -> pd.DataFrame:
        """The table `searches`."""
        return self.store.read(SEARCHES)

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """The table `epochs` without its HEAVY columns."""
        return self.store.read(EPOCHS, columns=[name for name in EPOCHS.schema.names if name not in HEAVY])

    @cached_property
    def settings(self) -> pd.DataFrame:
        """The table `settings`; empty if seeds are fixed."""
        return self.store.read(SETTINGS)

    @cached_property
    def queue(self) -> pd.DataFrame:
        """The table `queue`."""
        return self.store.read(QUEUE)

    @cached_property
    def retrains(self) -> pd.DataFrame:
        """The table `retrains`."""
        return self.store.read(RETRAINS)

    @cached_property
    def failures(self) -> pd.DataFrame:
        """The table `failures`."""
        return self.store.read(FAILURES)

    @cached_property
    def summaries(self) -> list[SettingSummary]:
        """One summary per setting, best first."""
        return summarize_settings(self.searches)

    @cached_property
    def description_text(self) -> str:
        """The text of study.json, indented; empty if it is missing."""
        text = self.store.read_text("study.json") or ""
        try:
            return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        except ValueError:
            return text

    @cached_property
    def description(self) -> dict[str, Any]:
        """Content of study.json: name, config, command, git_revision; empty if it is missing or malformed."""
        try:
            found = json.loads(self.description_text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def architectures(self, search_ids: Sequence[str]) -> pd.DataFrame:
        """Columns search_id, epoch and HEAVY of a few searches."""
        return self.store.read(
            EPOCHS, columns=["search_id", "epoch", *sorted(HEAVY)], where=("search_id", list(search_ids))
        )
