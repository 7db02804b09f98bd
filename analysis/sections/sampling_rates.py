"""Norms and entropies of the searches by sampling rate."""

import pandas as pd

from analysis.sections.blocks import Block, ReportTable, Section, Text
from analysis.sections.charts import charts
from analysis.sections.wording import interval_text
from analysis.statistics.sampling_rates import RateSummary, measured, rate_summaries
from analysis.study_data import StudyData


def section(data: StudyData) -> Section:
    """Table and figures, if only k differs between some of the searches."""
    found = rate_summaries(data.searches, data.epochs)
    blocks: list[Block] = [
        Text(text="No two searches with these measures differ in k alone, so they do not compare sampling rates.")
    ]
    if found:
        sampling = set(data.searches["channel_sampling"].dropna().unique())
        blocks = [Text(text=penalty_text(sampling)), rate_table(found), *charts("sampling-rates", data, _caption)]
    return Section(
        id="rates", title="Norms and entropies by sampling rate", short="Sampling rate", blocks=tuple(blocks)
    )


def penalty_text(sampling: set[str]) -> str:
    """What the theory of partial channels says of these ways to sample them."""
    causes = "A smaller k also mixes more channels, so differences between sampling rates have several causes."
    if "random" not in sampling:
        names = " and ".join(f"`{name}`" for name in sorted(sampling))
        sampled = f"With `channel_sampling` {names}" if names else "Without random sampling"
        return f"{sampled} the sampled channels do not vary, so the penalty of the theory is zero. {causes}"
    return (
        "Channels sampled at random add a penalty to the loss in the linear model of `pcdarts theory`; whether it acts "
        f"in these networks is not shown here. {causes}"
    )


def rate_table(found: list[RateSummary]) -> ReportTable:
    """Means over the seeds with their 95 % intervals, one row a sampling rate."""
    measures = measured(found)
    rows = []
    for summary in found:
        values = [interval_text(summary.measures[m.column], m.digits) for m in measures]
        name = f"{summary.others}, k={summary.k}" if summary.others else f"k={summary.k}"
        rows.append((name, _rate(summary.k), str(summary.n), *values))
    return ReportTable(
        id="rates",
        caption="Norms, entropies and gap at the end of the search: mean [95 % interval] over seeds",
        headings=("setting", "sampling rate", "n", *(measure.name for measure in measures)),
        rows=tuple(rows),
        text_columns=frozenset({"sampling rate"}),
        note=(
            "Growth of the weight norm: since the end of the first epoch, because the norm at that point comes mostly "
            "from the initialization and the size of the network. Intervals: Student's t, or a BCa bootstrap for 20 "
            "to 500 seeds; none if all seeds have the same value."
        ),
    )


def _caption(measure: str, _: pd.DataFrame) -> str:
    return f"{measure[0].upper()}{measure[1:]} by sampling rate."


def _rate(k: int) -> str:
    return "1" if k == 1 else f"1/{k}"
