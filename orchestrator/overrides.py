"""Changes to a study by field names such as `search.k`, as given by `--set` and study files."""

import dataclasses
import difflib
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from orchestrator.config import (
    SOURCE,
    FinalConfig,
    RaceConfig,
    Rung,
    SeedConfig,
    SelectionConfig,
    StudyConfig,
    make_section,
    on_images_of,
)
from orchestrator.options import RunOptions
from pcdarts.config import FROM_IMAGES, METHOD_FIELDS, OWN_IMAGES, WARMUPS, RetrainConfig, SearchConfig, scaled_warmups
from pcdarts.config.fields import kind_text
from pcdarts.presets import RECIPES, SEARCHES

SECTIONS: dict[str, type] = {
    "search": SearchConfig,
    "sweep": SearchConfig,
    "selection": SelectionConfig,
    "race": RaceConfig,
    "race.recipe": RetrainConfig,
    "retrain": RetrainConfig,
    "final": FinalConfig,
    "seeds": SeedConfig,
    "run": RunOptions,
}
"""The sections of a study, in the order of a study file; `sweep` holds lists of values of search fields."""
RECIPE_SECTIONS = ("race.recipe", "retrain")
"""Sections in which `preset` names a recipe."""
OFFICIAL = ("cifar10", "imagenet")
"""Data sets, and presets and recipes of the same names, that hold the settings of the official code."""


def section_fields(section: str) -> dict[str, Any]:
    """The fields of a section that can be set, with their types: neither a nested section nor what images say."""
    hints = typing.get_type_hints(SECTIONS[section])
    names = [field.name for field in dataclasses.fields(SECTIONS[section])]
    return {name: hints[name] for name in names if f"{section}.{name}" not in SECTIONS and name not in FROM_IMAGES}


FIELDS: dict[str, Any] = {
    "name": str,
    **{f"{section}.preset": typing.Literal[tuple(RECIPES)] for section in RECIPE_SECTIONS},
    **{f"{section}.{name}": kind for section in SECTIONS for name, kind in section_fields(section).items()},
}
"""The type of every field that can be changed, by its full name."""
LISTS: dict[Any, Callable[[str], Any]] = {
    tuple[str, ...]: str,
    tuple[Rung, ...]: lambda text: dataclasses.asdict(Rung.parse(text)),
}
"""Types of fields that hold a list of any length, and how each of its items is read; commas separate them."""


def accepted(kind: Any) -> str:
    """What a field of a type accepts, as text of `--set`."""
    words = {
        tuple[str, ...]: "names, separated by commas",
        tuple[Rung, ...]: "EPOCHSxSEEDS:KEEP, separated by commas, as in 25x1:4,100x2:2",
    }
    return words.get(kind) or kind_text(kind)


def parse_assignments(texts: Iterable[str]) -> dict[str, Any]:
    """The changes that texts such as `search.k=2,4` ask for; the last one of a field counts.

    Values of a search field that are separated by commas make a list; text is never split.  Raises ValueError for an
    unknown field, and for a value of another type.
    """
    changes = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"{text!r} is not an assignment; write SECTION.FIELD=VALUE, as in search.k=2,4")
        check_names([name])
        kind = FIELDS[name]
        section = name.partition(".")[0]
        if section == "sweep" or (section == "search" and kind is not str and "," in value):
            changes[name] = [_parse(name, kind, part) for part in value.split(",")]
        else:
            changes[name] = _parse(name, kind, value)
    return changes


def check_names(names: Iterable[str]) -> None:
    """Raise ValueError, with the closest field name, unless all names are fields."""
    for name in names:
        if name not in FIELDS:
            last = name.rpartition(".")[2]
            same = [field for field in FIELDS if field.endswith(f".{last}") and not field.startswith("sweep.")]
            close = same if last == name else difflib.get_close_matches(name, same or FIELDS, n=1)
            hint = f"did you mean {' or '.join(close)}?" if close else "`pcdarts run --help-fields` lists them"
            raise ValueError(f"{name} is not a field; {hint}")


def override_study(
    study: StudyConfig, changes: Mapping[str, Any], *, say: Callable[[str], None] = print
) -> StudyConfig:
    """The study with other values of some fields; for those of the section `run` see `override_options`.

    A list of values sweeps a search field; a single value replaces the list of a swept field.  Unless they are changed
    themselves, warm-ups keep their share of fewer epochs, reported through `say`, and retraining on the data set of the
    search, or with data in the same folder, follows the search.  Raises ValueError for unknown fields and invalid
    values.
    """
    check_names(changes)
    given: dict[str, dict[str, Any]] = {section: {} for section in ("", *SECTIONS)}
    for name, value in changes.items():
        section, _, field = name.rpartition(".")
        given[section][field] = value
    if not any(values for section, values in given.items() if section != "run"):
        return study
    plain = study.to_dict()
    search, plain["sweep"] = _override_search(study, given["search"], given["sweep"], say)
    plain["search"] = search
    for section, recipe in zip(RECIPE_SECTIONS, (plain["race"]["recipe"], plain["retrain"]), strict=True):
        values = given[section]
        if "preset" in values:
            before, named = RetrainConfig(**recipe), _recipe(section, values.pop("preset"))
            recipe |= dataclasses.asdict(on_images_of(before, dataclasses.replace(named, data_dir=before.data_dir)))
        _follow(study.search, search, recipe)
        if any(name in values and values[name] != recipe[name] for name in ("dataset", "image_size")):
            recipe |= dict.fromkeys(FROM_IMAGES[:-1], 0) | {FROM_IMAGES[-1]: ""}  # they are of other images
        recipe |= _scaled_warmups(section, recipe, values, say) | values
    for section in ("selection", "race", "final", "seeds"):
        plain[section] |= given[section]
    return StudyConfig.from_dict(plain | given[""])


def _follow(before: SearchConfig, search: Mapping[str, Any], recipe: dict[str, Any]) -> None:
    """Change where and how a recipe reads images as the search does, which was `before`.

    A recipe on the data set of the search stays on it, and reads its images alike.  Where searches turn to own images,
    all recipes do: a built-in data set lies elsewhere.
    """
    if search["dataset"] in OWN_IMAGES and before.dataset not in OWN_IMAGES:
        recipe |= {name: search[name] for name in (*SOURCE, "flip")}
        return
    alike = ("image_size", "flip") if recipe["dataset"] == before.dataset else ()
    for name in ("dataset", "data_dir", *alike):
        if recipe[name] == getattr(before, name):
            recipe[name] = search[name]


def override_options(options: RunOptions, changes: Mapping[str, Any]) -> RunOptions:
    """The options with the changes of the section `run`; raises ValueError for invalid values."""
    given = {name.removeprefix("run."): value for name, value in changes.items() if name.startswith("run.")}
    return make_section(RunOptions, "run", dataclasses.asdict(options) | given)


def _override_search(
    study: StudyConfig, given: dict[str, Any], lists: dict[str, Any], say: Callable[[str], None]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The common part of the searches, and the lists that are swept, as plain values."""
    common = {name: value for name, value in given.items() if not isinstance(value, list) and name not in study.sweep}
    sweep: dict[str, Any] = {name: list(values) for name, values in study.sweep.items()}
    sweep |= {
        name: value if isinstance(value, list) else [value] for name, value in given.items() if name not in common
    }
    sweep |= lists
    search = dataclasses.asdict(study.search)
    changed = common | {name: sweep[name] for name in sweep if name in given or name in lists}
    methods = sweep.get("method", [common.get("method", search["method"])])
    fixed = _fixed_fields(methods)
    for name, value in changed.items():
        if name in fixed and value not in (fixed[name], [fixed[name]]):
            say(f"search.{name} has no effect: method {methods[0]} sets it to {fixed[name]}")
    search |= _scaled_warmups("search", search, fixed | changed, say) | common
    for name, values in sweep.items():  # the common part must be valid too, but method darts would override k
        if isinstance(values, list) and values and name not in common and name not in ("method", "epochs"):
            search[name] = values[0]
    if "epochs" not in common and any(name in changed for name in WARMUPS):
        search["epochs"] = min(_counts(sweep.get("epochs")), default=search["epochs"])  # no search scales them
    return search, sweep


def _fixed_fields(methods: Any) -> dict[str, Any]:
    """The fields that the only method of a study sets; none if there are several, or it is not valid."""
    single = methods[0] if isinstance(methods, list) and len(methods) == 1 else None
    return dict(METHOD_FIELDS[single]) if isinstance(single, str) and single in METHOD_FIELDS else {}


def _recipe(section: str, name: Any) -> RetrainConfig:
    if str(name) not in RECIPES:
        raise ValueError(f"{section}.preset is {name!r}, but must be one of {', '.join(RECIPES)}")
    return RECIPES[name]()


def _scaled_warmups(
    section: str, before: Mapping[str, Any], given: Mapping[str, Any], say: Callable[[str], None]
) -> dict[str, int]:
    """Warm-ups for fewer epochs, unless they are given too; of swept epochs, `StudyConfig.searches` scales them."""
    scaled: dict[str, int] = {}
    for epochs in _counts(given.get("epochs")):
        scaled = {name: value for name, value in scaled_warmups(before, epochs).items() if name not in given}
        for name, value in scaled.items():
            official = f"; the official code keeps {before[name]}" if _is_official(section, name, before) else ""
            say(
                f"{section}.{name} is {value} instead of {before[name]}, in proportion to {epochs} of "
                f"{before['epochs']} epochs{official}; --set {section}.{name}=N sets it"
            )
    return {} if isinstance(given.get("epochs"), list) else scaled


def _counts(value: Any) -> list[int]:
    """The positive integers in a value or a list of values; others are refused later, with their name."""
    return [number for number in (value if isinstance(value, list) else [value]) if type(number) is int and number > 0]


def _is_official(section: str, name: str, values: Mapping[str, Any]) -> bool:
    """Whether a field of a section has its value in the official code."""
    presets: Mapping[str, Callable[[], Any]] = SEARCHES if section == "search" else RECIPES
    return values["dataset"] in OFFICIAL and values[name] == getattr(presets[values["dataset"]](), name)


def _parse(name: str, kind: Any, text: str) -> Any:
    """A value of a type from its text."""
    if kind in LISTS:
        return [LISTS[kind](part) for part in text.split(",") if part]
    choices = typing.get_args(kind) or ((True, False) if kind is bool else ())
    for choice in choices:
        if text.lower() == str(choice).lower():
            return choice
    if not choices:
        try:
            return kind(text)
        except ValueError:
            pass
    raise ValueError(f"{name} is {text!r}, but must be {kind_text(kind)}")
