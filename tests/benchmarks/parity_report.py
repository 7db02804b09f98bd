"""Tables and figures of `tests.benchmarks.parity`: how the means of two codes differ, epoch by epoch.

A row is one training, with its epochs.  Seeds are independent, not paired.  Arrays: N trainings of both codes, and E
values of each, one for every measure and epoch.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.figures import chart_file, epoch_curves_chart

Rows = Sequence[Mapping[str, Any]]
Floats = NDArray[np.float64]

MEASURES = {
    "train_loss": ("Train loss", 4),
    "train_accuracy": ("Train accuracy, %", 2),
    "valid_loss": ("Validation loss", 4),
    "valid_accuracy": ("Validation accuracy, %", 2),
    "alpha_entropy_normal": ("Entropy of alpha, normal cell", 5),
    "alpha_entropy_reduce": ("Entropy of alpha, reduction cell", 5),
    "beta_entropy_normal": ("Entropy of beta, normal cell", 5),
    "beta_entropy_reduce": ("Entropy of beta, reduction cell", 5),
    "weight_norm": ("Norm of the weights", 3),
}
"""Name and digits of the measures, in the order of the tables."""
DRAWN = ("train_loss", "valid_accuracy", "alpha_entropy_normal", "beta_entropy_normal")
RELABELINGS = 20_000


class Difference(NamedTuple):
    """Mean of ours minus mean of the official code."""

    official: float
    ours: float
    error: float
    """Standard error of the difference."""
    low: float
    """Ends of Welch's 95 % interval."""
    high: float

    @property
    def mean(self) -> float:
        return self.ours - self.official


def values(rows: Rows, measure: str) -> Floats:
    """A measure of trainings (N,) as (N, epochs)."""
    return np.array([[epoch[measure] for epoch in row["epochs"]] for row in rows], dtype=float)


def difference(official: Floats, ours: Floats) -> Difference:
    """Difference of the means of independent values, without the assumption of equal variances."""
    interval = stats.ttest_ind(ours, official, equal_var=False).confidence_interval(0.95)
    error = math.sqrt(official.var(ddof=1) / len(official) + ours.var(ddof=1) / len(ours))
    return Difference(float(official.mean()), float(ours.mean()), error, float(interval.low), float(interval.high))


def largest_t(table: Floats, ours: NDArray[np.bool_]) -> Floats:
    """Welch's |t| (B, E) of values (N, E) under labelings (B, N); 0 where all values are equal."""
    centered = table - table.mean(axis=0)
    moments = []
    for mask in (ours, ~ours):
        count = mask.sum(axis=1, keepdims=True)
        mean = mask @ centered / count
        moments.append((mean, (mask @ centered**2 / count - mean**2) / (count - 1)))
    (mean, error), (other_mean, other_error) = moments
    scale = np.sqrt(np.maximum(error + other_error, 0))
    return np.divide(np.abs(mean - other_mean), scale, out=np.zeros_like(scale), where=scale > 0)


class Simultaneous(NamedTuple):
    """A permutation test of all measures and epochs at once (Westfall & Young's single-step maxT)."""

    adjusted: Floats
    """p-value of each value (E,), adjusted for all of them."""
    factor: float
    """95 % quantile of the largest |t|: differences within this many standard errors are all expected."""


def permutation_test(table: Floats, ours: NDArray[np.bool_], generator: np.random.Generator) -> Simultaneous:
    """Compare the largest |t| of values (N, E) with those of random labelings; `ours` is (N,).

    If both codes train the same, labels are exchangeable, and the largest |t| of the true ones is one of many.
    """
    labelings = generator.permuted(np.tile(ours, (RELABELINGS, 1)), axis=1)
    largest = largest_t(table, labelings).max(axis=1)
    observed = largest_t(table, ours[None])[0]
    above = (largest[:, None] >= observed * (1 - 1e-9)).sum(axis=0)
    return Simultaneous((above + 1) / (RELABELINGS + 1), float(np.quantile(largest, 0.95)))


def report(rows: Rows, folder: str) -> str:
    """Markdown of the tables; figures go to the folder.  Raises ValueError for trainings of different settings."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        parts.setdefault(row["part"], []).append(row)
        if row["settings"] != parts[row["part"]][0]["settings"]:
            raise ValueError(f"the results hold a {row['part']} with {row['settings']} and others; remove one kind")
    return "\n\n".join(_part(part, some, folder) for part, some in parts.items())


def _part(part: str, rows: Rows, folder: str) -> str:
    codes = {code: [row for row in rows if row["code"] == code] for code in ("official", "ours")}
    official, ours = codes["official"], codes["ours"]
    measures = [name for name in MEASURES if name in ours[0]["epochs"][0]]
    tables = {name: np.concatenate([values(official, name), values(ours, name)]) for name in measures}
    epochs = len(ours[0]["epochs"])
    labels = np.arange(len(official) + len(ours)) >= len(official)
    test = permutation_test(np.concatenate(list(tables.values()), axis=1), labels, np.random.default_rng(0))
    adjusted = dict(zip(measures, test.adjusted.reshape(len(measures), epochs), strict=True))
    found = {
        name: [difference(table[~labels, e], table[labels, e]) for e in range(epochs)] for name, table in tables.items()
    }
    for name in DRAWN:
        if name in measures:
            Path(folder, f"{part}-{name.replace('_', '-')}.svg").write_bytes(curves(part, name, codes))
    same_rates = len({tuple(epoch["learning_rate"] for epoch in row["epochs"]) for row in rows}) == 1
    seconds = {code: np.mean([row["seconds"] for row in some]) for code, some in codes.items()}
    about = sorted({f"{row['processor']}, torch {row['torch']}" for row in rows})
    lines = [
        f"{part}: {len(official)} official trainings and {len(ours)} of ours; {'; '.join(about)}",
        f"{ours[0]['settings']}",
        f"learning rates {'equal to the bit' if same_rates else 'DIFFER'}; CPU seconds of a training: "
        + ", ".join(f"{code} {value:.0f}" for code, value in seconds.items()),
        f"smallest adjusted p {test.adjusted.min():.3f}; simultaneous intervals: {test.factor:.2f} standard errors",
        "",
        "| last epoch | official | ours | difference | 95 % interval | p, all epochs | bound, all epochs |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name in measures:
        title, digits = MEASURES[name]
        last = found[name][-1]
        bound = max(abs(each.mean) + test.factor * each.error for each in found[name])
        lines.append(
            f"| {title} | {last.official:.{digits}f} | {last.ours:.{digits}f} | {last.mean:+.{digits}f} "
            f"| {last.low:+.{digits}f} to {last.high:+.{digits}f} | {adjusted[name].min():.2f} | {bound:.{digits}f} |"
        )
    lines += ["", "| difference, 95 % interval | " + " | ".join(f"epoch {e}" for e in range(epochs)) + " |"]
    lines += ["|---" * (epochs + 1) + "|"]
    for name in measures:
        title, digits = MEASURES[name]
        cells = (f"{each.mean:+.{digits}f}, {each.low:+.{digits}f} to {each.high:+.{digits}f}" for each in found[name])
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def curves(part: str, measure: str, codes: Mapping[str, Rows]) -> bytes:
    """SVG of the means over the epochs, with 95 % intervals of each mean: series 0 is the official code, 1 ours."""
    title, _ = MEASURES[measure]
    parts = []
    for series, (code, rows) in enumerate(codes.items()):
        table = values(rows, measure)
        half = stats.t.ppf(0.975, len(table) - 1) * table.std(axis=0, ddof=1) / math.sqrt(len(table))
        means = table.mean(axis=0)
        columns = {"setting": code, "series": series, "epoch": range(len(means)), "n": len(table)}
        parts.append(pd.DataFrame({**columns, "value": means, "low": means - half, "high": means + half}))
    frozen = codes["ours"][0]["settings"]["warmup"]
    constant = {"panel": f"{title}, {part}", "search_id": "", "seed": None, "cell": "", "rule": False}
    frame = pd.concat(parts, ignore_index=True).assign(**constant, frozen_epochs=frozen, measure=title)
    return chart_file(epoch_curves_chart(frame), "svg")
