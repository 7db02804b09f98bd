"""Sequential seeds: add seeds to a setting until the mean of its validation accuracy is precise enough.

These are pure functions of a study and its table `searches`, so an interrupted study makes the same decisions.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from analysis.statistics.summaries import (
    WITH_RESULT,
    needs_more_seeds,
    stopping_level,
    summarize,
    t_interval,
)
from analysis.tables import SETTINGS
from orchestrator.config import SeedConfig, StudyConfig
from pcdarts.config import SearchConfig


def further_searches(study: StudyConfig, searches: pd.DataFrame) -> list[SearchConfig]:
    """The searches to add now, settings with the fewest seeds first; empty if the seeds are fixed.

    A setting gets seeds only after all its present ones have ended, and at most doubles them.
    """
    rounds = []
    for setting, configs in _settings(study).items():
        values = _values(searches, setting)
        ended = set(searches["search_id"][searches["setting"] == setting])
        if len(values) < len(configs) or not ended >= {config.search_id for config in configs}:
            continue
        more, _ = _decide(values, study.seeds)
        if more:
            used = set(searches["seed"][searches["setting"] == setting]) | {config.seed for config in configs}
            start = max(used) + 1
            count = _count(values, study.seeds)
            added = [dataclasses.replace(configs[0], seed=int(start + i)) for i in range(count)]
            rounds.append((len(values), added))
    return [config for _, added in sorted(rounds, key=lambda item: item[0]) for config in added]


def with_added_seeds(study: StudyConfig, seeds: Iterable[int]) -> StudyConfig:
    """The study with these seeds too, as if they had been given from the start."""
    present = study.sweep.get("seed", (study.search.seed,))
    more = [seed for seed in dict.fromkeys(seeds) if seed not in present]
    return dataclasses.replace(study, sweep={**study.sweep, "seed": (*present, *more)}) if more else study


def added_searches(study: StudyConfig, searches: pd.DataFrame) -> list[SearchConfig]:
    """The searches that earlier calls added, read from the table."""
    added = []
    for setting, configs in _settings(study).items():
        seeds = set(searches["seed"][searches["setting"] == setting]) - {config.seed for config in configs}
        added += [dataclasses.replace(configs[0], seed=int(seed)) for seed in sorted(seeds)]
    return added


def setting_rows(study: StudyConfig, searches: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the table `settings`: the precision of every mean, and why no more seeds were added."""
    rows = []
    for setting in _settings(study):
        values = _values(searches, setting)
        summary = summarize(values)
        low, high = t_interval(summary, _level(study.seeds))
        _, reason = _decide(values, study.seeds)
        rows.append(
            SETTINGS.row(
                study.seeds,
                study=study.name,
                setting=setting,
                seeds_run=len(values),
                seeds_with_result=summary.n,
                mean=_number(summary.mean),
                halfwidth=_number((high - low) / 2),
                reason=reason,
            )
        )
    return rows


def _settings(study: StudyConfig) -> dict[str, list[SearchConfig]]:
    """The searches of the given seeds by setting, without random cells, which have no accuracy."""
    found: dict[str, list[SearchConfig]] = {}
    if study.seeds.target_halfwidth:
        for config in study.searches():
            if config.method != "random":
                found.setdefault(study.setting(config), []).append(config)
    return found


def _values(searches: pd.DataFrame, setting: str) -> list[float | None]:
    """Validation accuracy of every seed that ended; None if it failed."""
    rows = searches[searches["setting"] == setting]
    return [
        float(value) if status in WITH_RESULT and not pd.isna(value) else None
        for status, value in zip(rows["status"], rows["valid_accuracy"], strict=True)
    ]


def _decide(values: Sequence[float | None], seeds: SeedConfig) -> tuple[bool, str]:
    return needs_more_seeds(values, seeds.target_halfwidth, seeds.max_seeds, corrected=seeds.corrected_interval)


def _count(values: Sequence[float | None], seeds: SeedConfig) -> int:
    """Seeds to add: as many as the present deviation requires, but at most as many as the setting has."""
    summary, most = summarize(values), min(len(values), seeds.max_seeds - len(values))
    if summary.n < 2:
        return 1
    for added in range(1, most):
        wider = dataclasses.replace(summary, n=summary.n + added)
        low, high = t_interval(wider, _level(seeds))
        if high - low <= 2 * seeds.target_halfwidth:
            return added
    return max(1, most)


def _level(seeds: SeedConfig) -> float:
    return stopping_level(seeds.max_seeds) if seeds.corrected_interval else 0.95


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
