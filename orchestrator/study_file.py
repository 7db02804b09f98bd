"""Study files: TOML with a whole study, every field explained, or with changes to a preset.

preset = "cifar10"      # source of all other values; without it, [search] and [retrain] are required
name = "mine"           # default: the name of the file

[search]
epochs = 30
[sweep]
k = [2, 4, 8]
"""

import json
import textwrap
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.config import Rung, StudyConfig
from orchestrator.options import RunOptions
from orchestrator.overrides import SECTIONS, accepted, check_names, override_options, override_study, section_fields
from orchestrator.presets import preset_options, study_preset
from orchestrator.tiny import Scale, at_scale
from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.config.fields import field_docs

WIDTH = 100
"""Columns of comments and of the reference."""


def load_study(
    source: str, changes: Mapping[str, Any], *, scale: Scale = "full", say: Callable[[str], None] = print
) -> tuple[StudyConfig, RunOptions]:
    """The study of a preset or a study file, with some fields changed; raises ValueError if it is not valid.

    `source` is the name of a preset, or the path of a file that ends with .toml.  The changes apply to the study at the
    given scale.
    """
    if source.endswith(".toml"):
        try:
            study, options = parse_study(Path(source).read_text("utf-8"), name=Path(source).stem, say=say)
        except OSError as error:
            raise ValueError(
                f"{source} cannot be read: {error.strerror}; `pcdarts presets show cifar10 > {source}` writes one"
            ) from None
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None
    else:
        study, options = study_preset(source), preset_options(source)
    study, options = at_scale(study, options, scale)
    return override_study(study, changes, say=say), override_options(options, changes)


def parse_study(text: str, *, name: str, say: Callable[[str], None] = print) -> tuple[StudyConfig, RunOptions]:
    """The study that a TOML text describes; `name` is the default of its name.

    Raises ValueError for text that is not TOML, unknown fields, and invalid values.
    """
    tables = tomllib.loads(text)
    changes = {"name": name, **dict(_flat(tables))}
    preset = changes.pop("preset", None)
    check_names(changes)
    if preset is not None:
        study, options = study_preset(str(preset)), preset_options(str(preset))
    else:
        for section in ("search", "retrain"):
            if section not in tables:
                raise ValueError(f'[{section}] is missing; add it, or start from a preset, as in preset = "cifar10"')
        sweep = {} if "sweep" in tables else {"seed": (0,)}
        study = StudyConfig(name="bare", search=SearchConfig(), sweep=sweep, retrain=RetrainConfig())
        options = RunOptions()
    return override_study(study, changes, say=say), override_options(options, changes)


def study_toml(study: StudyConfig, options: RunOptions | None = None) -> str:
    """The study as TOML, with a comment that explains every field; `parse_study` reads it back exactly."""
    docs = field_docs(StudyConfig)
    lines = [_comment(docs["name"]), f"name = {_value(study.name)}"]
    for section, values in _sections(study, options):
        explained = docs.get(section) or field_docs(SECTIONS["race"]).get(section.removeprefix("race."), "")
        lines += ["", "", *([_comment(explained)] if explained else []), f"[{section}]"]
        meanings = field_docs(SECTIONS[section])
        for name, value in values.items():
            swept = " Replaced by the values in [sweep]." if section == "search" and name in study.sweep else ""
            lines += ["", _comment(meanings[name] + swept), f"{name} = {_value(value)}"]
    return "\n".join(lines) + "\n"


def field_reference(study: StudyConfig, options: RunOptions) -> str:
    """All fields that can be changed, each with its value in a study, its accepted values and its meaning."""
    entries = []
    for section, values in _sections(study, options):
        if section != "sweep":
            docs, kinds = field_docs(SECTIONS[section]), section_fields(section)
            for name, value in values.items():
                meaning = textwrap.fill(docs[name], WIDTH, initial_indent="    ", subsequent_indent="    ")
                entries.append(f"{section}.{name} = {_assigned(value)}  ({accepted(kinds[name])})\n{meaning}\n")
    return "".join(entries)


def _sections(study: StudyConfig, options: RunOptions | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The values of every section."""
    plain = study.to_dict()
    for section in SECTIONS:
        if section == "sweep":
            yield section, plain["sweep"]
        elif section != "run":
            values = plain
            for part in section.split("."):
                values = values[part]
            yield section, {name: values[name] for name in section_fields(section)}
        elif options is not None:
            yield section, {name: getattr(options, name) for name in section_fields(section)}


def _flat(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested tables by their full names; an empty table that is no section counts as a value."""
    for name, value in tables.items():
        if isinstance(value, dict) and (value or f"{prefix}{name}" in SECTIONS):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _assigned(value: Any) -> str:
    """A value in the field reference: lists as `--set` takes them."""
    if not isinstance(value, tuple):
        return _value(value)
    return ",".join(str(Rung(**item)) if isinstance(item, dict) else item for item in value) or '""'


def _comment(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="# ", subsequent_indent="# ")


def _value(value: Any) -> str:
    """A bool, number, string or list in TOML, which writes these like JSON except for the control character DEL.

    The tables of a list are one line each.
    """
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], dict):
        tables = (", ".join(f"{name} = {_value(item)}" for name, item in table.items()) for table in value)
        return "[\n" + "".join(f"    {{ {table} }},\n" for table in tables) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
