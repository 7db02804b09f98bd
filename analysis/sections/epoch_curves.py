"""Figures of the report over epochs: measures of the searches, and alpha of the best one."""

import pandas as pd

from analysis.figures.epochs import CURVES, MAX_LINES, Curve, palette, shown_epochs
from analysis.figures.palette import UNFINISHED
from analysis.sections.blocks import Block, Chart, ReportTable, Section, Text
from analysis.sections.charts import charts, choice
from analysis.sections.wording import number
from analysis.study_data import StudyData


def section(data: StudyData) -> Section:
    """Curves of all searches, and the architecture weights of one of them."""
    if not len(data.epochs):
        text = "No epoch has been recorded."
        return Section(id="epochs", title="Training curves", short="Epochs", blocks=(Text(text=text),))
    shown = palette(data)
    blocks: list[Block] = [choice(data, shown)] if shown.settings else []
    drawn = {curve: curve_charts(data, curve) for curve in CURVES}
    blocks += [chart for found in drawn.values() for chart in found]
    blocks += [Text(text=shown.cut, style="note")] if shown.cut else []
    unmeasured = [curve.name.lower() for curve, found in drawn.items() if not found]
    if unmeasured:
        blocks.append(Text(text=f"Not measured in this study: {', '.join(unmeasured)}.", style="note"))
    alphas = alpha_charts(data)
    if alphas and data.shown_search:
        text = (
            f"Architecture weights of {data.shown_search['setting']}, seed {data.shown_search['seed']}: softmax(alpha) "
            "of the finally chosen operations among all operations of their edges."
        )
        blocks += [Text(text=text), *alphas]
    return Section(id="epochs", title="Training curves", short="Epochs", blocks=tuple(blocks))


def curve_charts(data: StudyData, curve: Curve) -> list[Chart]:
    """A measure over the epochs, one chart for each group of super-networks that may share an axis."""
    single = shown_epochs(data)["search_id"].nunique() <= MAX_LINES
    what = "of each search" if single else "by setting: median and 10 to 90 % quantile band of its searches"
    dashed = " (reduction cell dashed)" if curve.cells else ""

    def caption(panel: str, frame: pd.DataFrame) -> str:
        rule = " Dots: the epoch whose cell the eigenvalue rule would return." if frame["rule"].any() else ""
        return f"{curve.name} {what}{dashed}{f', {panel}' if panel else ''}.{rule}"

    return charts(
        f"epochs-{curve.column.replace('_', '-')}", data, caption, table=lambda id, frame: curve_table(id, frame, curve)
    )


def curve_table(id: str, frame: pd.DataFrame, curve: Curve) -> ReportTable:
    """The measure of each setting at the first, middle and last measured epoch; `frame` as in `epoch_curves_data`."""
    kind = "median" if frame["low"].notna().any() else "mean"
    known = frame[frame["setting"] != UNFINISHED]
    groups = known.groupby(["series", "setting", "cell", "epoch"])
    values = groups.agg(value=("value", "mean"), count=("n", "sum")).reset_index()
    rows = []
    for (_, setting, cell), found in values.groupby(["series", "setting", "cell"]):
        picked = sorted({0, len(found) // 2, len(found) - 1})
        at = [found.iloc[place] for place in picked]
        pieces = [
            f"{number(each['value'], curve.digits)} (epoch {each['epoch']}, n = {each['count']:.0f})" for each in at
        ]
        cells = [pieces[0], pieces[1] if len(pieces) == 3 else "", pieces[-1]]
        rows.append((f"{setting}, {cell}" if cell else str(setting), str(int(found["count"].max())), *cells))
    return ReportTable(
        id=id,
        caption=f"{curve.name}: {kind} over the searches of a setting",
        headings=("setting", "searches", "first", "middle", "last"),
        wide_columns=frozenset({"setting", "first", "middle", "last"}),
        rows=tuple(rows),
    )


def alpha_charts(data: StudyData) -> list[Chart]:
    """softmax(alpha) of the finally chosen operations over the epochs of one search, one chart for each cell type."""
    return charts(
        "alpha-weights",
        data,
        lambda cell, _: f"{cell.capitalize()}: softmax(alpha) of the chosen operations.",
        table=alpha_table,
    )


def alpha_table(id: str, frame: pd.DataFrame) -> ReportTable:
    """The weight of each operation at five epochs; `frame` as in `alpha_weights_data`."""
    weights = frame.pivot(index="place", columns="epoch", values="weight")
    names = frame.drop_duplicates("place").set_index("place")["operation"]
    last = len(weights.columns) - 1
    ends = sorted({0, last // 4, last // 2, 3 * last // 4, last})
    cell, search = frame["panel"].iloc[0], frame["search_id"].iloc[0]
    return ReportTable(
        id=id,
        caption=f"softmax(alpha) of the chosen operations of the {cell} in {search}",
        headings=("edge and operation", *(f"epoch {weights.columns[i]}" for i in ends)),
        rows=tuple((str(names[place]), *(number(line.iloc[i], 3) for i in ends)) for place, line in weights.iterrows()),
    )
