"""What the commands print: the result of a study, its queue, and the next steps."""

import json
import math
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.conclusions import conclude
from analysis.conclusions.levels import trainings
from analysis.storage.study_files import join
from analysis.store import ResultStore
from analysis.tables import QUEUE, RETRAINS, SEARCHES

TABLE_WIDTH, QUEUE_WIDTH = 120, 100
"""Columns of text below which tables grow illegible, however narrow the terminal."""
UNLIMITED = 100_000
"""Columns for a table that must not be cut."""


def summary(store: ResultStore) -> str:
    """What the study shows, its settings, and its retrainings; those of the race only if there are no others."""
    searches, queued, retrains = (store.read(table) for table in (SEARCHES, QUEUE, RETRAINS))
    found = conclude(searches, queued, retrains)
    text = "".join(f"{sentence}\n" for sentence in (*found.verdict, found.next_step) if sentence) + "\n"
    title = "Settings" + (f": test error after {found.level.name}, percent" if found.level else "")
    settings = Table(title=title, box=box.SIMPLE_HEAD)
    for name in ("setting", "searches", "failed", "distinct cells", "retrained", "test error"):
        settings.add_column(name, justify="left" if name == "setting" else "right")
    for row in found.settings:
        counts = (row.searches, row.failed, row.distinct_cells, row.retrained)
        settings.add_row(row.setting, *map(str, counts), _mean_std(row.test_error, row.test_error_std))
    text += _text(settings)
    done = trainings(retrains)
    shown = [level for level in found.levels if level.stage != "rung"] or found.levels[-1:]
    if shown:
        title = "Retrained cells: accuracy in percent"
        retrained = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for name in ("cell", "stage", "recipe", "seed", "validation", "test", "parameters", "multiply-adds", "minutes"):
            retrained.add_column(name, justify="left" if name in {"cell", "stage", "recipe"} else "right")
        order = ["valid_accuracy", "genotype_digest", "seed"]
        for level in reversed(shown):
            rows = done[done["level"] == level.number].sort_values(order, ascending=[False, True, True])
            for training in rows.to_dict("records"):
                average = " (EMA)" if training["chosen_weights"] == "ema" else ""
                retrained.add_row(
                    training["genotype_digest"],
                    level.stage,
                    level.recipe,
                    str(training["seed"]),
                    f"{_number(training['valid_accuracy'])}{average}",
                    f"{_number(training['test_accuracy'])}{average}",
                    _number(training["network_parameters"], 0),
                    _number(training["network_macs"], 0),
                    _number(training["seconds"] / 60, 1),
                )
        text += "\n" + _text(retrained)
    for failure in [*_errors(searches, "search_id"), *_errors(retrains, "job_id")]:
        text += f"failed: {failure}\n"
    for broken in store.broken:
        text += f"left out a broken table part: {broken}\n"
    return text


def program(name: str = "pcdarts") -> str:
    """What to type for a command of this environment: its name, or its path where the name would not be found."""
    installed = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    if not installed.exists() or (found and Path(found).resolve() == installed.resolve()):
        return name
    return shlex.quote(os.path.relpath(installed) if installed.is_relative_to(Path.cwd()) else str(installed))


def where_to_look(root: str) -> str:
    """How to read the tables in pandas, and where the report is."""
    return (
        f"Read the tables in Python ({program('python')}):\n"
        "    import pandas as pd\n"
        f"    searches = pd.read_parquet({json.dumps(join(root, 'searches'), ensure_ascii=False)})\n"
        f"    epochs = pd.read_parquet({json.dumps(join(root, 'epochs'), ensure_ascii=False)})\n"
        f"See the retraining queue:  {program()} queue {shlex.quote(root)}\n"
        f"Open the report:  {shlex.quote(join(root, 'report.html'))}"
    )


def queue(jobs: Sequence[Mapping[str, Any]], broken: Sequence[str] = (), *, wide: bool = False) -> str:
    """Rows of the table `queue` as text, a line a job, and the events that could not be read.

    `why` is cut to the width of the terminal, unless `wide`, which also shows the size of the networks.
    """
    left_out = [f"left out a broken event: {event}\n" for event in broken]
    if not jobs:
        return "".join([*left_out, "The queue is empty: no search of this study has completed yet."])
    sizes = ("parameters", "multiply-adds") if wide else ()
    table = Table(title="Retraining queue", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    left = ("stage", "job", "state", "why")
    for name in ("stage", "rank", "job", "state", "tries", "epochs", "time left", *sizes, "why"):
        table.add_column(name, justify="left" if name in left else "right", no_wrap=name != "why")
    for job in jobs:
        table.add_row(
            f"rung {job['rung']}" if job["rung"] else job["stage"],
            str(job["rank"]),
            job["job_id"],
            job["state"],
            str(job["attempts"]),
            f"{_known(job['epochs_done'])}/{_known(job['epochs_planned'])}",
            "-" if job["seconds_left"] is None else str(timedelta(seconds=round(job["seconds_left"]))),
            *([_known(job["network_parameters"]), _known(job["network_macs"])] if wide else []),
            Text(" ".join(_why(job).split()), no_wrap=True, overflow="ellipsis"),
        )
    return "".join([_text(table, UNLIMITED if wide else QUEUE_WIDTH), *left_out])


def _known(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _why(job: Mapping[str, Any]) -> str:
    retry = f" (again at {job['retry_at']})" if job["retry_at"] else ""
    return f"{job['error'] or job['reason']}{retry}"


def _number(value: float, digits: int = 2) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:,.{digits}f}"


def _mean_std(mean: float, std: float) -> str:
    if math.isnan(mean):
        return "-"
    return f"{mean:.2f}" if math.isnan(std) else f"{mean:.2f} ± {std:.2f}"


def _errors(frame: Any, key: str) -> list[str]:
    failed = frame[frame["status"] == "failed"]
    return [f"{row[key]}: {row['error']}" for row in failed.to_dict("records")]


def _text(table: Table, width: int = TABLE_WIDTH) -> str:
    """The table in at least `width` columns, or as many as the terminal has."""
    table.title_justify = "left"
    if sys.stdout.isatty():
        width = max(width, shutil.get_terminal_size().columns)
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return capture.get()
