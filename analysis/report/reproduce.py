"""How to reproduce a study: its command, code, seeds, versions and devices, and how to read its tables."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from analysis.report.blocks import Block, Code, Facts, Section, Text
from analysis.report.study_data import StudyData
from analysis.report.wording import provenance
from analysis.tables import TABLES


def section(data: StudyData) -> Section:
    """The section of the report."""
    steps = commands(data.description)
    blocks: list[Block] = []
    if steps:
        blocks.append(Code(title="The study was made by:", text="\n".join(steps), language="sh"))
    if str(data.description.get("git_revision", "")).endswith("+"):
        text = "The code had changes that were not committed (+); the revision alone does not give the same study."
        blocks.append(Text(text=text, style="warn"))
    blocks.append(Facts(facts=tuple(provenance(data.searches, data.retrains))))
    if data.description_text:
        blocks.append(Code(title="Exact configuration (study.json):", text=data.description_text, language="json"))
    else:
        text = "There is no study.json; every row of the searches table holds its full configuration."
        blocks.append(Text(text=text, style="note"))
    folder = data.store.root.rstrip("/")
    found = [table for table in TABLES if data.store.parts(table)]  # pandas cannot read those that are absent
    reads = [f"{t.name} = pd.read_parquet({json.dumps(f'{folder}/{t.name}')})  # {t.description}" for t in found]
    code = "\n".join(["import pandas as pd", "", *reads])
    blocks.append(Code(title="Every number above comes from these tables:", text=code, language="python"))
    return Section(id="reproduce", title="How to reproduce", short="Reproduce", blocks=tuple(blocks))


def commands(description: Mapping[str, Any]) -> list[str]:
    """What to type for the same study: check out its revision, where that is known, and run its command."""
    command, revision = description.get("command"), description.get("git_revision")
    if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
        return []
    lines = [f"git checkout {shlex.quote(revision.rstrip('+'))}"] if isinstance(revision, str) and revision else []
    return [*lines, shlex.join(command)]
