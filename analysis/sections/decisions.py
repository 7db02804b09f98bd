"""How decided the searches are: found against random cells in the super-network, margins and entropies of alpha."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from analysis.conclusions.sentences import listed
from analysis.figures.epochs import DISCRETIZED, RANDOM
from analysis.sections.blocks import Block, Number, ReportTable, Section, Text
from analysis.sections.wording import MISSING, interval_text, number
from analysis.statistics.agreement import CellType
from analysis.statistics.bootstrap import Floats, finite
from analysis.statistics.summaries import WITH_RESULT, summarize
from analysis.study_data import StudyData
from pcdarts.spaces import SPACES

CELLS: tuple[CellType, ...] = ("normal", "reduce")
NEAR_MAXIMUM = 0.95
"""Share of its maximum from which an entropy of alpha counts as near it."""
CHANCE_MARGIN = 0.59
"""Expected margin of the best of 7 independent, equally distributed normal values, in standard deviations."""


def section(data: StudyData) -> Section:
    """Discretization, entropies and margins, for each setting."""
    discretized, decided = discretization_table(data), decisions_table(data)
    blocks: list[Block] = []
    if discretized.rows:
        text = (
            "The found cell in the super-network, without the other operations, against random cells in the same "
            "super-network: the batch norms of both are re-estimated on training images."
        )
        blocks += [Text(text=text), discretized]
    if decided.rows:
        near = near_maximum(data)
        blocks += [Text(text=near)] if near else []
        blocks.append(decided)
    if not blocks:
        blocks = [Text(text="This study measured no entropy of alpha and no accuracy of discretized cells.")]
    return Section(id="decisions", title="How decided the searches are", short="Decisions", blocks=tuple(blocks))


def discretization_table(data: StudyData) -> ReportTable:
    """Accuracy of the found cell minus that of random cells, mean over the searches of each setting."""
    known = _ended(data).dropna(subset=[DISCRETIZED, RANDOM])
    rows = []
    for setting, searches in _by_setting(known, data):
        found, random = searches[DISCRETIZED].astype(float), searches[RANDOM].astype(float)
        difference = summarize(found - random)
        better = int((found > random).sum())
        means = (number(found.mean()), number(random.mean()))
        cells = (*means, interval_text(difference), f"{better} of {len(searches)}")
        rows.append((setting, str(len(searches)), *cells))
    return ReportTable(
        id="discretization",
        caption="Found cell and random cells in the super-network (percent of validation images)",
        headings=("setting", "n", "found cell", "random cells", "difference [95 %]", "found cell better"),
        rows=tuple(rows),
        wide_columns=frozenset({"setting"}),
        note=(
            "Mean over the searches; the difference is in percentage points, with Student's t interval (BCa bootstrap "
            "for 20 to 500 seeds). It says whether a search did better than chance inside its own super-network. Rows "
            "do not compare settings: the bypassed channels remain in the network, and their share depends on k."
        ),
    )


def decisions_table(data: StudyData) -> ReportTable:
    """Entropies in percent of their maximum, and margins in deviations between seeds, one row for each setting."""
    deviations = {
        (setting, cell): deviation_between_seeds(rows[f"alphas_{cell}"])
        for setting, rows in data.final_alphas.groupby("setting")
        for cell in CELLS
    }
    rows = []
    for setting, searches in _by_setting(_ended(data).dropna(subset=["alpha_entropy_normal"]), data):
        cells: list[str] = []
        for cell in CELLS:
            margin = _mean(searches[f"alpha_margin_{cell}"])
            deviation = deviations.get((setting, cell), math.nan)
            share = margin / deviation if deviation > 0 else math.nan
            cells += [number(margin, 4), number(share)]
        entropies = [100 * _mean(_relative_entropy(searches, cell)) for cell in CELLS]
        betas = [100 * _mean(searches[f"beta_entropy_{cell}"]) for cell in CELLS]
        rows.append((setting, str(len(searches)), _pair(*entropies), _pair(*betas), *cells))
    return ReportTable(
        id="decisions",
        caption="Entropies and margins at the end of the search, mean over the searches",
        headings=(
            "setting",
            "n",
            "entropy of alpha, normal / reduction (% of maximum)",
            "entropy of beta, normal / reduction (% of maximum)",
            "margin, normal",
            "in deviations",
            "margin, reduction",
            "in deviations (reduction)",
        ),
        rows=tuple(rows),
        wide_columns=frozenset({"setting"}),
        note=(
            "Margin: softmax(alpha) of the chosen operation minus that of the next one, mean over the kept edges. In "
            "deviations: divided by the standard deviation of softmax(alpha) between the seeds of the setting, pooled "
            "over edges and operations; it needs two seeds. Where seeds differ by chance alone, about "
            f"{CHANCE_MARGIN:.1f} is expected of 7 operations: margins of that size are not decisions that another "
            "seed would repeat."
        ),
    )


def near_maximum(data: StudyData) -> str:
    """Names the settings whose alpha is near its maximal entropy; empty if none is."""
    near = []
    for setting, searches in _by_setting(_ended(data).dropna(subset=["alpha_entropy_normal"]), data):
        if min(_mean(_relative_entropy(searches, cell)) for cell in CELLS) >= NEAR_MAXIMUM:
            near.append(setting)
    if not near:
        return ""
    names = listed(near)
    return (
        f"The entropy of alpha is above {100 * NEAR_MAXIMUM:.0f} % of its maximum in {names}: softmax(alpha) hardly "
        "prefers any operation, so small differences choose the cell."
    )


def deviation_between_seeds(alphas: "pd.Series[Any]") -> float:
    """Standard deviation of softmax(alpha) between seeds, pooled over edges and operations; NaN for fewer than two.

    `alphas` holds one matrix of edges x operations for each seed.
    """
    weights = _weights(list(alphas))
    if weights is None or len(weights) < 2:
        return math.nan
    return float(np.sqrt(weights.var(axis=0, ddof=1).mean()))


def _weights(alphas: Sequence[Any]) -> Floats | None:
    """softmax(alpha), (seeds, edges, operations); None for matrices of different shapes."""
    try:
        raw = np.array([[list(edge) for edge in alpha] for alpha in alphas], dtype=np.float64)
    except ValueError:
        return None
    return np.asarray(special.softmax(raw, axis=2)) if raw.ndim == 3 else None


def _relative_entropy(searches: pd.DataFrame, cell: CellType) -> "pd.Series[float]":
    """Entropy of alpha as a share of its maximum: the mean over the edges of the ln of their operations."""
    most = {
        name: float(np.mean([math.log(len(edge)) for edge in space.primitives(cell == "reduce")]))
        for name, space in SPACES.items()
    }
    return searches[f"alpha_entropy_{cell}"].astype(float) / searches["space"].map(most).astype(float)


def _ended(data: StudyData) -> pd.DataFrame:
    return data.searches[data.searches["status"].isin(WITH_RESULT)]


def _by_setting(searches: pd.DataFrame, data: StudyData) -> list[tuple[str, pd.DataFrame]]:
    groups = [(str(setting), rows) for setting, rows in searches.groupby("setting")]
    return sorted(groups, key=lambda group: data.order[group[0]])


def _mean(values: "pd.Series[float]") -> float:
    numbers = finite(values)
    return float(numbers.mean()) if len(numbers) else math.nan


def _pair(first: float, second: float) -> Number:
    text = MISSING if math.isnan(first) and math.isnan(second) else f"{number(first, 1)} / {number(second, 1)}"
    return Number(text, first, second)
