"""Figures of the report over epochs: accuracy, entropy and eigenvalue of the searches, and alpha of the best one."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup
from scipy import special

from analysis.conclusions.super_networks import SuperNetworkGroup
from analysis.drawing.charts import Axis, Band, Dot, Line, chart
from analysis.drawing.rows import Row, heat_map
from analysis.sections.blocks import Block, Figure, ReportTable, Section, Text
from analysis.sections.decisions import DISCRETIZED, RANDOM
from analysis.sections.palette import Palette
from analysis.sections.study_data import StudyData
from analysis.sections.wording import number, parsed, row_dicts
from analysis.statistics.agreement import CellType
from analysis.statistics.summaries import rank_searches
from pcdarts.genotype import INPUTS
from pcdarts.spaces import EDGES, SPACES, Primitives

MAX_LINES = 60
"""Searches that a figure shows as single lines; with more, it shows one band per setting."""
MAX_PANELS = 6
"""Groups of super-networks with a panel of their own."""
MAX_COLUMNS = 50
"""Epochs that a heat map shows; with more, evenly spaced ones including the last."""


class Curve(NamedTuple):
    """A measure that is drawn over epochs."""

    column: str
    """Column of `epochs`, without the suffix of the cell type."""
    name: str
    """Name in captions."""
    axis: str
    """Label of the vertical axis."""
    digits: int
    """Digits after the decimal point, in the table."""
    cells: tuple[CellType, ...] = ()
    """Cell types it is measured for; empty: for the network."""
    separate: bool = False
    """Whether it depends on the size of the super-network, so that different ones do not share an axis."""

    @property
    def columns(self) -> dict[str, str]:
        """Names of the columns, with what they are measured for."""
        if not self.cells:
            return {self.column: ""}
        return {f"{self.column}_{cell}": f", {CELL_NAMES[cell]}" for cell in self.cells}


EPOCH_AXIS = Axis(name="epoch", whole=True)
CELL_NAMES: dict[CellType, str] = {"normal": "normal cell", "reduce": "reduction cell"}
CURVES = (
    Curve("valid_accuracy", "Validation accuracy", "one-shot validation accuracy, %", 2, separate=True),
    Curve("alpha_entropy", "Entropy of softmax(alpha)", "mean entropy, nats", 3, ("normal", "reduce")),
    Curve("dominant_eigenvalue", "Dominant eigenvalue", "largest eigenvalue in alpha", 4, separate=True),
    Curve(
        "found_minus_random",
        "Found cell minus random cells in the super-network",
        "percentage points",
        2,
        separate=True,
    ),
    Curve("skip_connections", "Skip connections", "skip connections in a cell", 2, ("normal", "reduce")),
)
"""What is drawn."""


def section(data: StudyData) -> Section:
    """Curves of all searches, and the architecture weights of one of them."""
    if not len(data.epochs):
        text = "No epoch has been recorded."
        return Section(id="epochs", title="Training curves", short="Epochs", blocks=(Text(text=text),))
    drawn = data.searches[data.searches["search_id"].isin(data.epochs["search_id"])]
    palette = Palette.of(drawn["setting"].unique(), data.order)
    epochs = with_differences(data.epochs)
    blocks: list[Block] = [palette.legend()] if palette.settings else []
    blocks += epoch_figures(data.searches, epochs, palette, data.conclusions.groups)
    blocks += [Text(text=palette.cut, style="note")] if palette.cut else []
    unmeasured = [curve.name.lower() for curve in CURVES if not _measured(epochs, list(curve.columns))]
    if unmeasured:
        blocks.append(Text(text=f"Not measured in this study: {', '.join(unmeasured)}.", style="note"))
    for row in row_dicts(shown_search(data)):
        alphas = alpha_figures(data.architectures([row["search_id"]]), row)
        if alphas:
            text = (
                f"Architecture weights of {row['setting']}, seed {row['seed']}: softmax(alpha) of the finally chosen "
                "operations among all operations of their edges."
            )
            blocks += [Text(text=text), *alphas]
    return Section(id="epochs", title="Training curves", short="Epochs", blocks=tuple(blocks))


def shown_search(data: StudyData) -> pd.DataFrame:
    """The search that found the recommended cell, or else the first search with a cell: one row, or none."""
    found = rank_searches(data.searches).dropna(subset=["genotype"])
    cell = data.conclusions.recommendation
    recommended = found["genotype_digest"] == (cell.digest if cell else "")
    order = found.assign(place=found["setting"].map(data.order), other=~recommended)
    return order.sort_values(["other", "place", "seed", "search_id"]).head(1)


def with_differences(epochs: pd.DataFrame) -> pd.DataFrame:
    """The epochs with the accuracy of the found cell minus that of random cells in the super-network."""
    found, random = (epochs[name].astype(float) for name in (DISCRETIZED, RANDOM))
    return epochs.assign(found_minus_random=found - random)


def epoch_figures(
    searches: pd.DataFrame, epochs: pd.DataFrame, palette: Palette, groups: Sequence[SuperNetworkGroup]
) -> list[Figure]:
    """Figures of each measure over the epochs, of the searches of the palette's settings.

    Measures that depend on the size of the super-network have one figure for each of the groups.  Searches that have
    not finished have no setting; they are drawn in gray while there are few.
    """
    names = dict(zip(searches["search_id"], searches["setting"], strict=True))
    epochs = epochs.assign(setting=epochs["search_id"].map(names))
    epochs = epochs[epochs["setting"].isna() | epochs["setting"].isin(palette.settings)]
    if not len(epochs):
        return []
    few = epochs["search_id"].nunique() <= MAX_LINES
    rules = _rule_epochs(searches) if few else {}
    figures: list[Figure] = []
    for curve in CURVES:
        if not _measured(epochs, list(curve.columns)):
            continue
        panels = _panels(epochs, groups) if curve.separate else [("", epochs)]
        for number_, (name, rows) in enumerate(panels):
            table = None if number_ else _curve_table(epochs, curve, palette)
            figures.append(_figure(curve, rows, palette, name=name, few=few, rules=rules, table=table))
    return figures


def _panels(epochs: pd.DataFrame, groups: Sequence[SuperNetworkGroup]) -> list[tuple[str, pd.DataFrame]]:
    """Name and epochs of each group of super-networks, then those of searches that have not finished."""
    found = [(" and ".join(g.settings[:3]), epochs[epochs["setting"].isin(g.settings)]) for g in groups]
    found = [(name, rows) for name, rows in found if len(rows)][:MAX_PANELS]
    running = epochs[epochs["setting"].isna()]
    found += [("searches without a result", running)] if len(running) else []
    return found if len(found) > 1 else [("", epochs)]


def _figure(
    curve: Curve,
    epochs: pd.DataFrame,
    palette: Palette,
    *,
    name: str,
    few: bool,
    rules: Mapping[str, float],
    table: ReportTable | None,
) -> Figure:
    columns, series, eigenvalue = list(curve.columns), palette.series, curve.column == "dominant_eigenvalue"
    bands: list[Band] = []
    dots: list[Dot] = []
    if few:
        groups = _by_search(epochs)
        lines = [line for group in groups for line in _lines(group, columns, series)]
        dots = _rule_dots(groups, rules, series) if eigenvalue else []
        what = "of each search"
    else:
        lines, bands = _bands(epochs, columns, series)
        what = "by setting: median and 10 to 90 % quantile band of its searches"
    of = f", {name}" if name else ""
    svg = chart(
        f"{curve.name} over epochs{of}",
        EPOCH_AXIS,
        curve.axis,
        lines=lines,
        bands=bands,
        dots=dots,
        frozen=_frozen(epochs),
    )
    caption = f"{curve.name} {what}{' (reduction cell dashed)' if curve.cells else ''}{of}."
    if dots:
        caption += " Dots: the epoch whose cell the eigenvalue rule would return."
    return Figure(caption=caption, svg=Markup(svg), table=table, half=True)


def _measured(epochs: pd.DataFrame, columns: list[str]) -> bool:
    return bool(np.isfinite(epochs[columns].astype(float).to_numpy()).any())


def alpha_figures(architectures: pd.DataFrame, search: Mapping[Any, Any]) -> list[Figure]:
    """softmax(alpha) of the finally chosen operations over the epochs of a search: one heat map per cell type.

    `search` is a row of `searches`.  No figures if its cells cannot be parsed or alphas were not recorded.
    """
    genotype = parsed(search["genotype"])
    rows = architectures[architectures["search_id"] == search["search_id"]].sort_values("epoch")
    if genotype is None or not len(rows):
        return []
    figures = []
    for cell, name in CELL_NAMES.items():
        pairs = getattr(genotype, cell)
        kept = rows[rows[f"alphas_{cell}"].notna()]
        space = SPACES.get(search["space"], SPACES["darts"])  # an import may not know it
        operations = space.primitives(cell == "reduce")
        places = [_place(operations, node // 2 + INPUTS, source, op) for node, (op, source) in enumerate(pairs)]
        if not len(kept) or None in places:
            continue
        weights = _softmax(kept[f"alphas_{cell}"])
        known = [place for place in places if place is not None]
        if weights is None or weights.shape[1:] != (len(operations), len(operations[0])):
            continue
        chosen = np.stack([weights[:, edge, operation] for edge, operation in known])  # (operations, epochs)
        at = _thinned(len(kept))
        epochs = kept["epoch"].to_numpy()[at]
        step = max(1, math.ceil(len(at) / 8))
        titles = [f"{epoch}" if i % step == 0 else "" for i, epoch in enumerate(epochs)]
        labels = [f"{_node(s)} → {n // 2 + INPUTS}: {op}" for n, (op, s) in enumerate(pairs)]
        svg = heat_map(
            [
                Row(name=label, values=tuple(map(float, line[at])), shown=f"{line[-1]:.2f}")
                for label, line in zip(labels, chosen, strict=True)
            ],
            titles,
            f"Weight of the chosen operations over epochs, {name}",
            "epoch (final value on the right)",
            low=0.0,
            high=max(0.25, math.ceil(float(np.nanmax(chosen)) * 20) / 20),
            cell=(max(5.0, min(24.0, 280 / len(at))), 20.0),
        )
        ends = [0, len(kept) // 4, len(kept) // 2, 3 * len(kept) // 4, len(kept) - 1]
        ends = sorted(set(ends))
        table = ReportTable(
            id=f"alpha-{cell}",
            caption=f"softmax(alpha) of the chosen operations of the {name} in {search['search_id']}",
            headings=("edge and operation", *(f"epoch {kept['epoch'].iloc[i]}" for i in ends)),
            rows=tuple(
                (label, *(number(line[i], 3) for i in ends)) for label, line in zip(labels, chosen, strict=True)
            ),
        )
        caption = f"{name.capitalize()}: softmax(alpha) of the chosen operations."
        figures.append(Figure(caption=caption, svg=Markup(svg), table=table, half=True))
    return figures


def _by_search(epochs: pd.DataFrame) -> list[tuple[str, Any, pd.DataFrame]]:
    groups = epochs.sort_values(["search_id", "epoch"]).groupby("search_id")
    return [(str(name), rows["setting"].iloc[0], rows) for name, rows in groups]


def _lines(group: tuple[str, Any, pd.DataFrame], columns: Sequence[str], series: Mapping[str, int]) -> list[Line]:
    name, setting, rows = group
    lines = []
    for column in columns:
        measured = rows[np.isfinite(rows[column].astype(float))]  # most are not measured in every epoch
        points = tuple(zip(measured["epoch"].astype(float), measured[column].astype(float), strict=True))
        if points:
            dashed = column.endswith("_reduce")
            label = f"{name}, {column}"
            lines.append(Line(label=label, points=points, series=series.get(setting, 7), dashed=dashed))
    return lines


def _bands(epochs: pd.DataFrame, columns: Sequence[str], series: Mapping[str, int]) -> tuple[list[Line], list[Band]]:
    lines, bands = [], []
    for column in columns:
        known = epochs.assign(value=epochs[column].astype(float)).dropna(subset=["value", "setting"])
        quantiles = known.groupby(["setting", "epoch"])["value"].quantile([0.1, 0.5, 0.9]).unstack()
        for setting, rows in quantiles.groupby(level="setting"):
            at = [float(epoch) for epoch in rows.index.get_level_values("epoch")]
            low, middle, high = (rows[q].to_numpy(dtype=float) for q in (0.1, 0.5, 0.9))
            dashed, number_ = column.endswith("_reduce"), series[str(setting)]
            label = f"{setting}, median of {column}"
            line = Line(label=label, points=tuple(zip(at, middle, strict=True)), series=number_, dashed=dashed)
            lines.append(line)
            points = tuple(zip(at, low, high, strict=True))
            bands.append(Band(label=f"{setting}, 10 to 90 % of {column}", points=points, series=number_))
    return lines, bands


def _frozen(epochs: pd.DataFrame) -> int:
    """Epochs before alpha is trained, if equal for all searches that reached it; else 0."""
    trained = epochs["alpha_trained"].astype(bool)
    reached = epochs.loc[trained, "search_id"].unique()
    known = epochs[epochs["search_id"].isin(reached)]
    counts = (~known["alpha_trained"].astype(bool)).groupby(known["search_id"]).sum().unique()
    return int(counts[0]) if len(counts) == 1 else 0


def _rule_epochs(searches: pd.DataFrame) -> dict[str, float]:
    named = searches[searches["early_stop_epoch"].notna()]
    return dict(zip(named["search_id"], named["early_stop_epoch"].astype(float), strict=True))


def _rule_dots(
    groups: Sequence[tuple[str, Any, pd.DataFrame]], rules: Mapping[str, float], series: Mapping[str, int]
) -> list[Dot]:
    dots = []
    for name, setting, rows in groups:
        found = rows[rows["epoch"] == rules.get(name, -1)]
        if len(found):
            value = float(found["dominant_eigenvalue"].astype(float).iloc[0])
            label = f"{name}: the eigenvalue rule would return epoch {rules[name]:g}"
            dots.append(Dot(label=label, x=rules[name], y=value, series=series.get(setting, 7)))
    return dots


def _curve_table(epochs: pd.DataFrame, curve: Curve, palette: Palette) -> ReportTable:
    """Means over the searches of a setting at the first, middle and last measured epoch."""
    rows = []
    for column, cell in curve.columns.items():
        known = epochs.assign(value=epochs[column].astype(float).replace([math.inf, -math.inf], math.nan))
        known = known.dropna(subset=["value", "setting"])
        means = known.groupby(["setting", "epoch"])["value"].agg(["mean", "count"])
        groups = [(str(setting), values) for setting, values in means.groupby(level="setting")]
        for setting, values in sorted(groups, key=lambda group: palette.places[group[0]]):
            at = values.index.get_level_values("epoch")
            picked = sorted({0, len(values) // 2, len(values) - 1})
            pieces = [f"{number(values['mean'].iloc[i], curve.digits)} (epoch {at[i]})" for i in picked]
            cells = [pieces[0], pieces[1] if len(pieces) == 3 else "", pieces[-1]]
            rows.append((f"{setting}{cell}", str(int(values["count"].max())), *cells))
    return ReportTable(
        id=f"curve-{curve.column.replace('_', '-')}",
        caption=f"{curve.name}: mean over the searches of a setting",
        headings=("setting", "searches", "first", "middle", "last"),
        wide_columns=frozenset({"setting", "first", "middle", "last"}),
        rows=tuple(rows),
    )


def _place(operations: Primitives, target: int, source: int, operation: str) -> tuple[int, int] | None:
    """Row and column of alpha; None for an edge or operation outside the search space."""
    if (source, target) not in EDGES or operation not in operations[edge := EDGES.index((source, target))]:
        return None
    return edge, operations[edge].index(operation)


def _softmax(alphas: "pd.Series[Any]") -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """Softmax over the operations, (epochs, edges, operations); None for alphas of other shapes."""
    try:
        raw = np.array([[list(edge) for edge in epoch] for epoch in alphas], dtype=float)
    except ValueError:
        return None
    if raw.ndim != 3:
        return None
    return np.asarray(special.softmax(raw, axis=2))


def _thinned(n: int) -> list[int]:
    if n <= MAX_COLUMNS:
        return list(range(n))
    return sorted({round(i * (n - 1) / (MAX_COLUMNS - 1)) for i in range(MAX_COLUMNS)})


def _node(source: int) -> str:
    return str(source) if source >= INPUTS else f"c(k-{INPUTS - source})"
