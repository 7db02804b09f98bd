"""Studies as a command line asks for them: a preset, or a study that exists, with what the flags change."""

import argparse
import dataclasses
from collections.abc import Mapping
from typing import Any

from orchestrator.config import ProxyConfig, SeedConfig, SelectionConfig, StudyConfig
from orchestrator.presets import study_preset
from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.config.flags import given
from pcdarts.presets import RECIPES


def study_from_arguments(arguments: argparse.Namespace) -> StudyConfig:
    """The preset with what the command line changes; raises ValueError where that cannot work."""
    study = study_preset(arguments.preset)
    values = given(arguments, SearchConfig) | ({"seed": arguments.seeds} if arguments.seeds else {})
    if "epochs" in values:
        for name, scaled in _scaled_warmups(study.search, min(values["epochs"]), values, "--").items():
            values[name] = [scaled]
    single = {name: options[0] for name, options in values.items() if len(options) == 1 and name not in study.sweep}
    swept = {name: tuple(options) for name, options in values.items() if name not in single}
    return StudyConfig(
        name=arguments.study or study.name,
        search=_replaced(study, single, swept),
        sweep={**study.sweep, **swept},
        retrain=_recipe(
            arguments, RECIPES[arguments.recipe]() if arguments.recipe else study.retrain, study.search, "retrain-"
        ),
        proxy=dataclasses.replace(
            study.proxy,
            **given(arguments, ProxyConfig, prefix="proxy-"),
            recipe=_recipe(arguments, study.proxy.recipe, study.search, "proxy-"),
        ),
        selection=dataclasses.replace(study.selection, **given(arguments, SelectionConfig)),
        seeds=dataclasses.replace(study.seeds, **given(arguments, SeedConfig)),
    )


def retrained_otherwise(study: StudyConfig, arguments: argparse.Namespace) -> StudyConfig:
    """The study with the recipe and the data folder that `pcdarts retrain` was given."""
    recipe, proxy = study.retrain, study.proxy.recipe
    if arguments.recipe:
        recipe = dataclasses.replace(RECIPES[arguments.recipe](), data_dir=recipe.data_dir)
    changes = given(arguments, RetrainConfig, prefix="retrain-")
    if "epochs" in changes:
        changes |= _scaled_warmups(recipe, changes["epochs"], changes, "--retrain-")
    if arguments.data_dir:
        proxy = dataclasses.replace(proxy, data_dir=arguments.data_dir)
        changes.setdefault("data_dir", arguments.data_dir)
    return dataclasses.replace(
        study,
        retrain=dataclasses.replace(recipe, **changes),
        proxy=dataclasses.replace(study.proxy, recipe=proxy),
    )


def _recipe(arguments: argparse.Namespace, preset: RetrainConfig, search: SearchConfig, prefix: str) -> RetrainConfig:
    """A retraining with what the command line changes, also where it says so of the search alone."""
    values: dict[str, Any] = given(arguments, RetrainConfig, prefix=prefix)
    of_search = given(arguments, SearchConfig)
    if "data_dir" in of_search:
        values.setdefault("data_dir", of_search["data_dir"][0])
    if "dataset" in of_search and preset.dataset == search.dataset:
        values.setdefault("dataset", of_search["dataset"][0])
    if "epochs" in values:
        values |= _scaled_warmups(preset, values["epochs"], values, f"--{prefix}")
    return dataclasses.replace(preset, **values)


def _scaled_warmups(
    preset: SearchConfig | RetrainConfig, epochs: int, told: Mapping[str, Any], prefix: str
) -> dict[str, int]:
    """Warm-ups that keep their share of the epochs, where the command line changes the epochs alone."""
    scaled = {}
    for name in ("warmup_epochs", "learning_rate_warmup_epochs"):
        before = getattr(preset, name, 0)
        if before and name not in told:
            scaled[name] = max(0, min(round(before * epochs / preset.epochs), epochs - 1))
            flag = f"{prefix}{name.replace('_', '-')}"
            print(f"{name} is {scaled[name]} instead of {before}, in proportion to {prefix}epochs; {flag} sets it")
    return scaled


def _replaced(study: StudyConfig, single: dict[str, Any], swept: dict[str, tuple[Any, ...]]) -> SearchConfig:
    """The common part of all searches, made with the first value of every swept field so that it is checked whole.

    But for the method: darts would forget k.
    """
    first = {name: values[0] for name, values in {**study.sweep, **swept}.items() if name != "method"}
    return dataclasses.replace(study.search, **first, **single)
