"""How to reproduce a study: its command, code, seeds, versions and devices, and how to load its tables."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.conclusions.levels import data_name
from analysis.sections.blocks import Block, Code, Facts, Section, Text
from analysis.sections.wording import MISSING, row_dicts
from analysis.study_data import StudyData
from analysis.tables import TABLES


def section(data: StudyData) -> Section:
    """The section of the report."""
    steps = commands(data.description)
    blocks: list[Block] = []
    if steps:
        blocks.append(Code(title="Command:", text="\n".join(steps), language="sh"))
    if str(data.description.get("git_revision", "")).endswith("+"):
        text = "The code had uncommitted changes (+), so this revision alone does not reproduce the study."
        blocks.append(Text(text=text, style="warn"))
    blocks.append(Facts(facts=tuple(provenance(data.searches, data.retrains))))
    if data.description_text:
        blocks.append(Code(title="Exact configuration (study.json):", text=data.description_text, language="json"))
    else:
        text = "study.json is missing; each row of `searches` holds its full configuration."
        blocks.append(Text(text=text, style="note"))
    folder = data.store.root.rstrip("/")
    found = [table for table in TABLES if data.store.parts(table)]  # pandas cannot read those that are absent
    reads = [f"{t.name} = pd.read_parquet({json.dumps(f'{folder}/{t.name}')})  # {t.description}" for t in found]
    code = "\n".join(["import pandas as pd", "", *reads])
    blocks.append(Code(title="Load the tables behind this report:", text=code, language="python"))
    return Section(id="reproduce", title="Reproducing this study", short="Reproduce", blocks=tuple(blocks))


def commands(description: Mapping[str, Any]) -> list[str]:
    """Shell commands that repeat the study: check out its revision, if known, and run its command."""
    command, revision = description.get("command"), description.get("git_revision")
    if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
        return []
    lines = [f"git checkout {shlex.quote(revision.rstrip('+'))}"] if isinstance(revision, str) and revision else []
    return [*lines, shlex.join(command)]


def provenance(searches: pd.DataFrame, retrains: pd.DataFrame) -> list[tuple[str, str]]:
    """Seeds, versions, devices and times of a study, with all values of each."""
    names = sorted({data_name(row) for row in row_dicts(searches) if row["dataset"]})
    images = "; ".join(text for text in sorted(searches["data_fingerprint"].dropna().unique()) if text)
    facts = [("seeds", _distinct(searches["seed"])), ("data set", ", ".join(names) or MISSING)]
    facts += [("images", images)] if images else []
    both = {c: pd.concat([searches[c], retrains[c]]) for c in searches.columns.intersection(retrains.columns)}
    for label, column in (
        ("git revision", "git_revision"),
        ("Python", "python_version"),
        ("PyTorch", "torch_version"),
        ("Ray", "ray_version"),
        ("device", "device_name"),
    ):
        facts.append((label, _distinct(both[column])))
    started, finished = both["started_at"].dropna(), both["finished_at"].dropna()
    facts.append(("started", str(min(started, default=MISSING))))
    facts.append(("finished", str(max(finished, default=MISSING))))
    return facts


def _distinct(values: "pd.Series[Any]") -> str:
    return ", ".join(map(str, sorted(values.dropna().unique()))) or MISSING
