"""Input of the report and of figures: the tables of a study.

The heavy columns are read for a few searches, on demand.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from analysis.conclusions import Conclusions, conclude
from analysis.conclusions.levels import trainings
from analysis.conclusions.older_rows import comparable
from analysis.conclusions.settings import errors_by_search, found_cells
from analysis.statistics.seed_cells import SettingCells, setting_cells
from analysis.statistics.summaries import SettingSummary, rank_searches, setting_order, summarize_settings
from analysis.store import ResultStore
from analysis.tables import EPOCHS, FAILURES, QUEUE, RETRAINS, SEARCHES, SETTINGS

HEAVY = frozenset({"alphas_normal", "alphas_reduce", "betas_normal", "betas_reduce", "genotype"})
"""Columns with most of the bytes of `epochs`: 2 x (14 x 8 + 14) numbers and the cells as text per epoch."""
MAX_ALPHAS = 60
"""Searches whose alphas are read: they are most of a large study."""
MAX_ALPHAS_OF_SETTING = 10
"""Searches of one setting whose alphas are compared, the first by seed."""
DARTS = "method=darts"
NAMED_DARTS = f"{DARTS} (PC-DARTS's settings)"
"""Name of DARTS where its optimizer settings are those of PC-DARTS, so that nobody takes it for the published DARTS."""


@dataclass(frozen=True, kw_only=True)
class StudyData:
    """The tables and the description of a study."""

    store: ResultStore
    """Store of the study."""

    @cached_property
    def searches(self) -> pd.DataFrame:
        """The table `searches`, with the settings as the report names them."""
        return named_settings(comparable(self.store.read(SEARCHES)))

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """The table `epochs` without its HEAVY columns."""
        return self.store.read(EPOCHS, columns=[name for name in EPOCHS.schema.names if name not in HEAVY])

    @cached_property
    def settings(self) -> pd.DataFrame:
        """The table `settings`; empty if seeds are fixed."""
        settings = self.store.read(SETTINGS)
        names = {name.replace(NAMED_DARTS, DARTS): name for name in self.searches["setting"].unique()}
        return settings.assign(setting=settings["setting"].replace(names))

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
    def order(self) -> dict[str, int]:
        """The settings and their places in `setting_order`, which all tables and figures follow."""
        return setting_order(self.searches) if len(self.searches) else {}

    @cached_property
    def summaries(self) -> list[SettingSummary]:
        """One summary of the searches for each setting, in `order`."""
        return summarize_settings(self.searches)

    @cached_property
    def conclusions(self) -> Conclusions:
        """What the study shows about its settings and cells."""
        return conclude(self.searches, self.queue, self.retrains)

    @cached_property
    def trainings(self) -> pd.DataFrame:
        """The completed trainings of cells, with the number of their level and their test errors."""
        return trainings(self.retrains)

    @cached_property
    def errors(self) -> pd.DataFrame:
        """The searches whose cell was retrained at the level of the comparison, with the test error of the cell."""
        level = self.conclusions.level
        done = self.trainings[self.trainings["level"] == level.number] if level else self.trainings.iloc[:0]
        return errors_by_search(found_cells(self.searches), done)

    @cached_property
    def final_alphas(self) -> pd.DataFrame:
        """search_id, setting, seed and alpha that the cell was taken from, of the first seeds of each setting."""
        found = rank_searches(self.searches).dropna(subset=["genotype"])
        ranked = found.assign(place=found["setting"].map(self.order)).sort_values(["place", "seed", "search_id"])
        first = ranked[ranked.groupby("setting").cumcount() < MAX_ALPHAS_OF_SETTING].head(MAX_ALPHAS)
        compared = first[["search_id", "setting", "seed", "chosen_epoch"]]
        rows = self.architectures(list(compared["search_id"])).dropna(subset=["alphas_normal", "alphas_reduce"])
        rows = rows.merge(compared, on="search_id")
        # The chosen epoch, or else the last one.
        rows = rows[~(rows["epoch"] > rows["chosen_epoch"])].sort_values("epoch")
        last = rows.drop_duplicates("search_id", keep="last").sort_values("search_id")
        return last[["search_id", "setting", "seed", "alphas_normal", "alphas_reduce"]]

    @cached_property
    def shown_search(self) -> dict[Any, Any] | None:
        """The search that found the recommended cell, or else the first one with a cell: its row; None without any."""
        found = rank_searches(self.searches).dropna(subset=["genotype"])
        cell = self.conclusions.recommendation
        recommended = found["genotype_digest"] == (cell.digest if cell else "")
        order = found.assign(place=found["setting"].map(self.order), other=~recommended)
        rows = order.sort_values(["other", "place", "seed", "search_id"]).head(1).to_dict("records")
        return rows[0] if rows else None

    @cached_property
    def seed_cells(self) -> list[SettingCells]:
        """The cells of the seeds of each setting, with their agreement."""
        return setting_cells(self.searches, self.order)

    @cached_property
    def compared_cells(self) -> SettingCells | None:
        """The setting whose cells are compared in detail: that of the recommended cell, or else the first with two."""
        several = [each for each in self.seed_cells if len(each.genotypes) > 1 and each.agreement is not None]
        cell = self.conclusions.recommendation
        found = self.searches[self.searches["genotype_digest"] == (cell.digest if cell else "")]["setting"]
        recommended = str(found.iloc[0]) if len(found) else ""
        return next((each for each in several if each.setting == recommended), several[0] if several else None)

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

    @cached_property
    def images(self) -> list[dict[str, Any]]:
        """Content of data.json: for each set of images the fields of a DataDescription; empty if it is missing."""
        try:
            found = json.loads(self.store.read_text("data.json") or "[]")
        except ValueError:
            return []
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []

    @cached_property
    def flips(self) -> set[str]:
        """Values of the field flip in searches and trainings; earlier studies did not record it."""
        return {flip for table in (self.searches, self.retrains) for flip in table["flip"].dropna().unique()}

    def architectures(self, search_ids: Sequence[str]) -> pd.DataFrame:
        """Columns search_id, epoch and HEAVY of a few searches."""
        return self.store.read(
            EPOCHS, columns=["search_id", "epoch", *sorted(HEAVY)], where=("search_id", list(search_ids))
        )


def named_settings(searches: pd.DataFrame) -> pd.DataFrame:
    """The searches with NAMED_DARTS in the names of settings, except for imported ones, whose settings are unknown."""
    ours = (searches["method"] == "darts") & searches["python_version"].notna()
    named = searches["setting"].str.replace(rf"{DARTS}(?=,|$)", NAMED_DARTS, regex=True)
    return searches.assign(setting=searches["setting"].mask(ours, named))
