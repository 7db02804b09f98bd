"""What the commands print: the result of a study, its queue, and the next steps."""

import math
import os
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

from analysis.statistics.retrained_cells import completed
from analysis.statistics.summaries import summarize_settings
from analysis.storage.study_files import join
from analysis.store import ResultStore
from analysis.tables import RETRAINS, SEARCHES
from pcdarts.genotype import Genotype

TABLE_WIDTH, QUEUE_WIDTH = 120, 100
"""Columns of text below which tables grow illegible, however narrow the terminal."""
UNLIMITED = 100_000
"""Columns for a table that must not be cut."""


def summary(store: ResultStore) -> str:
    """Settings with mean +- std over seeds, and the retrained cells."""
    searches, retrains = store.read(SEARCHES), store.read(RETRAINS)
    settings = Table(title="Searches: validation accuracy of the super-network, percent", box=box.SIMPLE_HEAD)
    for name, side in (("setting", "left"), ("seeds", "right"), ("failed", "right"), ("mean ± std", "right")):
        settings.add_column(name, justify=side)  # type: ignore[arg-type]
    settings.add_column("best", justify="right")
    settings.add_column("distinct cells", justify="right")
    settings.add_column("best cell")
    for row in summarize_settings(searches):
        accuracy = row.valid_accuracy
        settings.add_row(
            row.setting,
            str(row.ended),
            str(row.failed),
            _mean_std(accuracy.mean, accuracy.std),
            "-" if math.isnan(accuracy.maximum) else f"{accuracy.maximum:.2f}",
            str(row.distinct_cells),
            Genotype.parse(row.best_genotype).digest if row.best_genotype else "-",
        )
    text = _text(settings)
    done = completed(retrains).sort_values(
        ["recipe", "valid_accuracy", "job_id"], ascending=[True, False, True], na_position="last"
    )
    if len(done):
        retrained = Table(title="Retrained cells: accuracy in percent", box=box.SIMPLE_HEAD)
        for name in ("cell", "recipe", "seed", "validation", "test", "parameters", "multiply-adds", "minutes"):
            retrained.add_column(name, justify="left" if name in {"cell", "recipe"} else "right")
        for row in done.to_dict("records"):
            average = " (EMA)" if row["chosen_weights"] == "ema" else ""
            retrained.add_row(
                row["genotype_digest"],
                row["recipe"],
                str(row["seed"]),
                f"{_percent(row['valid_accuracy'])}{average}",
                f"{_percent(row['test_accuracy'])}{average}",
                f"{int(row['network_parameters']):,}",
                f"{int(row['network_macs']):,}",
                f"{row['seconds'] / 60:.1f}",
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
    return os.path.relpath(installed) if installed.is_relative_to(Path.cwd()) else str(installed)


def where_to_look(root: str) -> str:
    """How to read the tables in pandas, and where the report is."""
    return (
        f"Read the tables in Python ({program('python')}):\n"
        "    import pandas as pd\n"
        f'    searches = pd.read_parquet("{join(root, "searches")}")\n'
        f'    epochs = pd.read_parquet("{join(root, "epochs")}")\n'
        f"See the retraining queue:  {program()} queue {root}\n"
        f"Open the report:  {join(root, 'report.html')}"
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
            job["stage"],
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


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


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
