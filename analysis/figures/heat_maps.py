"""Heat maps: weights of the chosen operations over epochs, and similarity of the cells of a setting's seeds."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import special

from analysis.figures.epochs import CELL_NAMES
from analysis.figures.marks import in_panels
from analysis.figures.palette import COLORS
from analysis.statistics.agreement import similarity_matrix
from analysis.statistics.bootstrap import Floats
from analysis.statistics.seed_cells import parsed
from analysis.study_data import StudyData
from pcdarts.genotype import INPUTS
from pcdarts.spaces import EDGES, SPACES, Primitives

if TYPE_CHECKING:
    from analysis.figures.specs import AnyChart

MAX_COLUMNS = 50
"""Epochs that a heat map shows; with more, evenly spaced ones including the last."""
MAX_SEEDS = 16
"""Seeds in a similarity matrix."""
WEIGHTS = ["panel", "search_id", "setting", "seed", "place", "operation", "epoch", "weight"]


def alpha_weights_data(study: StudyData) -> pd.DataFrame:
    """softmax(alpha) of the finally chosen operations over the epochs of one search; one panel a cell type.

    The search is the one that found the recommended cell, or else the first one with a cell; no rows if its cells
    cannot be parsed or alphas were not recorded.
    """
    search = study.shown_search
    if search is None:
        return pd.DataFrame({name: [] for name in WEIGHTS})
    return alpha_weights(study.architectures([search["search_id"]]), search)


def alpha_weights(architectures: pd.DataFrame, search: Mapping[Any, Any]) -> pd.DataFrame:
    """The same from the HEAVY columns of `epochs` and a row of `searches`."""
    rows = architectures[architectures["search_id"] == search["search_id"]].sort_values("epoch")
    genotype = parsed(search["genotype"])
    parts = [pd.DataFrame({name: [] for name in WEIGHTS})]
    for cell, name in CELL_NAMES.items():
        kept = rows[rows[f"alphas_{cell}"].notna()]
        if genotype is None or not len(kept):
            continue
        pairs = getattr(genotype, cell)
        operations = SPACES.get(search["space"], SPACES["darts"]).primitives(
            cell == "reduce"
        )  # imports may not know it
        places = [_place(operations, node // 2 + INPUTS, source, op) for node, (op, source) in enumerate(pairs)]
        weights = _softmax(kept[f"alphas_{cell}"])
        if weights is None or None in places or weights.shape[1:] != (len(operations), len(operations[0])):
            continue
        at = _thinned(len(kept))
        for number, (place, (operation, source)) in enumerate(zip(places, pairs, strict=True)):
            assert place is not None
            parts.append(
                pd.DataFrame(
                    {
                        "panel": name,
                        "search_id": search["search_id"],
                        "setting": search["setting"],
                        "seed": search["seed"],
                        "place": number,
                        "operation": f"{_node(source)} → {number // 2 + INPUTS}: {operation}",
                        "epoch": kept["epoch"].to_numpy()[at],
                        "weight": weights[at, place[0], place[1]],
                    }
                )
            )
    return pd.concat(parts[1:] or parts, ignore_index=True)


def alpha_weights_chart(frame: pd.DataFrame) -> "AnyChart":
    """A row for each operation, a column for each epoch."""
    return in_panels(frame, _alpha_chart)


def similarity_data(study: StudyData) -> pd.DataFrame:
    """Share of equal (node, input, operation) triples of each pair of seeds of a setting; one panel a cell type.

    The setting is that of the recommended cell, or else the first one with cells of two seeds.
    """
    found = study.compared_cells
    columns = ["panel", "setting", "seed", "other_seed", "similarity"]
    if found is None:
        return pd.DataFrame({name: [] for name in columns})
    seeds, genotypes = found.seeds[:MAX_SEEDS], found.genotypes[:MAX_SEEDS]
    rows = [
        (name, found.setting, seed, other, float(value))
        for cell, name in CELL_NAMES.items()
        for seed, line in zip(seeds, similarity_matrix(genotypes, cell), strict=True)
        for other, value in zip(seeds, line, strict=True)
    ]
    return pd.DataFrame(rows, columns=columns)


def similarity_chart(frame: pd.DataFrame) -> "AnyChart":
    """A matrix of seeds, with the numbers in it."""
    return in_panels(frame, _similarity_chart)


def _alpha_chart(frame: pd.DataFrame, name: str) -> Any:
    import altair as alt

    operations = list(frame.drop_duplicates("place").sort_values("place")["operation"])
    high = max(0.25, math.ceil(frame["weight"].max() * 20) / 20) if len(frame) else 1.0
    return (
        alt.Chart(frame, name=name)
        .mark_rect(color=COLORS[0])
        .encode(
            x=alt.X("epoch:O", axis=alt.Axis(labelAngle=0, labelOverlap=True, grid=False)),
            y=alt.Y("operation:N", title=None, sort=operations, axis=alt.Axis(grid=False)),
            opacity=alt.Opacity(
                "weight:Q",
                scale=alt.Scale(domain=[0, high], range=[0, 1]),
                legend=alt.Legend(title="softmax(alpha)", orient="bottom", titleOrient="left"),
            ),
            tooltip=[
                alt.Tooltip("operation:N"),
                alt.Tooltip("epoch:O"),
                alt.Tooltip("weight:Q", title="softmax(alpha)", format=".3f"),
            ],
        )
        .properties(width=320, height=20 * max(1, len(operations)))
    )


def _similarity_chart(frame: pd.DataFrame, name: str) -> Any:
    import altair as alt

    seeds = max(1, frame["seed"].nunique())
    base = alt.Chart(frame).encode(
        x=alt.X("other_seed:O", title="seed", axis=alt.Axis(labelAngle=0, orient="top", grid=False)),
        y=alt.Y("seed:O", title="seed", axis=alt.Axis(grid=False)),
        tooltip=[
            alt.Tooltip("seed:O"),
            alt.Tooltip("other_seed:O", title="and seed"),
            alt.Tooltip("similarity:Q", format=".3f"),
        ],
    )
    places = base.mark_rect(color=COLORS[0]).encode(
        opacity=alt.Opacity("similarity:Q", scale=alt.Scale(domain=[0, 1], range=[0, 1]), legend=None)
    )
    # The color of the paper on full places and of the ink on blank ones can be read in light and in dark.
    ink = alt.when("datum.similarity < 0.55").then(alt.value("#1c2127")).otherwise(alt.value("#ffffff"))
    numbers = base.mark_text().encode(text=alt.Text("similarity:Q", format=".2f"), color=ink)
    return alt.layer(places.properties(name=name), numbers).properties(width=36 * seeds, height=24 * seeds)


def _place(operations: Primitives, target: int, source: int, operation: str) -> tuple[int, int] | None:
    """Row and column of alpha; None for an edge or operation outside the search space."""
    if (source, target) not in EDGES or operation not in operations[edge := EDGES.index((source, target))]:
        return None
    return edge, operations[edge].index(operation)


def _softmax(alphas: "pd.Series[Any]") -> Floats | None:
    """Softmax over the operations, (epochs, edges, operations); None for alphas of other shapes."""
    try:
        raw = np.array([[list(edge) for edge in epoch] for epoch in alphas], dtype=float)
    except ValueError:
        return None
    return np.asarray(special.softmax(raw, axis=2)) if raw.ndim == 3 else None


def _thinned(n: int) -> list[int]:
    if n <= MAX_COLUMNS:
        return list(range(n))
    return sorted({round(i * (n - 1) / (MAX_COLUMNS - 1)) for i in range(MAX_COLUMNS)})


def _node(source: int) -> str:
    return str(source) if source >= INPUTS else f"c(k-{INPUTS - source})"
