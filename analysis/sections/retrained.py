"""Retrained cells: how they were trained, their errors with two uncertainties, the race, and orders of cells."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.conclusions.levels import Level
from analysis.conclusions.orders import USEFUL, OrderCheck
from analysis.conclusions.published import PublishedRow
from analysis.conclusions.recommendation import CellComparison
from analysis.conclusions.sentences import counted, other_origin
from analysis.sections.blocks import Block, Number, ReportTable, Section, Text
from analysis.sections.charts import charts
from analysis.sections.wording import (
    MISSING,
    duration,
    estimate,
    interval,
    millions,
    number,
    p_text,
    plain,
    row_dicts,
    shortened,
    spread,
)
from analysis.statistics.correlation import FEWEST_TO_CORRELATE
from analysis.statistics.proportions import sampling_interval
from analysis.statistics.ranking import rank_cells
from analysis.statistics.retrained_cells import chosen, is_average, settings_of_cells
from analysis.study_data import StudyData
from pcdarts.genotype import published_name

AVERAGE = "(EMA): of the exponential moving average of the weights, which had the better validation accuracy."
MEASURES = {
    "one-shot": "one-shot accuracy",
    "size": "multiply-adds",
    "rung": "test accuracy in the race",
    "recipe": "test accuracy by another recipe",
}
ALIKE = {"yes": "yes", "partly": "related", "weakly": "weakly related", "no": "no", "unknown": "not known"}


def section(data: StudyData) -> Section:
    """What was trained and how, the cells, the race, orders of cells, and published results."""
    found = data.conclusions
    blocks: list[Block] = []
    if not found.levels:
        blocks.append(Text(text="No retraining has finished yet, so this study has no test accuracy."))
    else:
        late = [level for level in found.levels if level.stage != "rung"]
        rungs = [level for level in found.levels if level.stage == "rung"]
        blocks.append(levels_table(found.levels))
        if late:
            blocks.append(cells_table(data, late, id="retrained-cells", caption="Retrained cells"))
        if rungs:
            caption = "Cells in the rungs of the race"
            blocks.append(cells_table(data, rungs, id="race-cells", caption=caption, folded=bool(late)))
    if found.recommendation is not None and found.recommendation.against_next is not None:
        blocks.append(Text(text=pair_text(found.recommendation.against_next)))
    race = race_table(data)
    blocks += [race] if race.rows else []
    saved = race_text(data)
    blocks += [Text(text=saved)] if saved else []
    if found.orders:
        blocks.append(orders_table(found.orders))
    blocks += charts("one-shot-error", data, one_shot_caption)
    if found.published:
        level = found.recommendation.reported_at if found.recommendation else found.level
        blocks.append(published_table(found.published, level.name if level else ""))
    trainings = trainings_table(data)
    blocks += [trainings] if trainings.rows else []
    return Section(id="retrained", title="Retrained networks", short="Retrained", blocks=tuple(blocks))


def levels_table(levels: Sequence[Level]) -> ReportTable:
    """How the networks were trained, the longest training first."""
    return ReportTable(
        id="levels",
        caption="Trainings of this study: only those of one row are compared with each other",
        headings=("training", "cells", "trainings", "trained on (images)", "epoch picked by", "test images"),
        rows=tuple(
            (
                level.name,
                str(level.cells),
                str(level.trainings),
                number(level.training_images, 0),
                _picked(level),
                number(level.test_images, 0),
            )
            for level in reversed(levels)
        ),
        text_columns=frozenset({"epoch picked by"}),
        wide_columns=frozenset({"training"}),
        note=(
            "Papers train on all training images and take the last epoch. A training tests the test images once, at "
            "its end; how imported ones were tested is not known. A dash: not recorded."
        ),
    )


def cells_table(
    data: StudyData, levels: Sequence[Level], *, id: str, caption: str, folded: bool = False
) -> ReportTable:
    """One row for each training level and cell: the longest training first, best validation first."""
    settings = settings_of_cells(data.searches) if len(data.searches) else {}
    several, top5 = len(levels) > 1, bool(data.trainings["test_top5_error"].notna().any())
    rows = []
    for level in reversed(levels):
        done = data.trainings[data.trainings["level"] == level.number]
        groups = [(str(digest), group) for digest, group in done.groupby("genotype_digest")]
        validation = {digest: float(group["valid_accuracy"].astype(float).mean()) for digest, group in groups}
        macs = {digest: _size(data, group, "network_macs") for digest, group in groups}
        groups.sort(
            key=lambda item: (math.isnan(validation[item[0]]), -validation[item[0]], macs[item[0]] or 0.0, item[0])
        )
        for digest, group in groups:
            named = (level.name,) if several else ()
            top = (number(group["test_top5_error"].astype(float).mean()),) if top5 else ()
            values = _errors(group, level, validation[digest])
            sizes = [millions(_size(data, group, "network_parameters")), millions(macs[digest])]
            rows.append((digest, *named, _found_by(settings, digest), str(len(group)), *values, *top, *sizes))
    columns = ["cell", *(["training"] if several else []), "found by", "trainings", "validation accuracy"]
    columns += ["test error mean ± std", "test images alone [95 %]", *(["top-5 error"] if top5 else [])]
    columns += ["parameters (M)", "multiply-adds (M)"]
    average = bool(is_average(data.trainings).any())
    return ReportTable(
        id=id,
        caption=f"{caption} (percent)" if several else f"{caption}: {levels[0].name} (percent)",
        folded=folded,
        headings=tuple(columns),
        rows=tuple(rows),
        text_columns=frozenset({"training", "found by"}),
        wide_columns=frozenset({"training", "found by"}),
        note=(
            "Two uncertainties: std is the sample deviation between trainings of the cell, which differ in their seed; "
            "the interval is that of the mean for the number of test images alone (Wilson). Validation accuracy "
            "chooses cells; test errors only report." + (f" {AVERAGE}" if average else "")
        ),
    )


def pair_text(pair: CellComparison) -> str:
    """The two best cells on the same test images."""
    test = "" if math.isnan(pair.p_value) else f" McNemar's exact test: p = {p_text(pair.p_value)}."
    return (
        f"The two best cells by validation accuracy, {pair.first} and {pair.second}, on the same {pair.images:,} test "
        f"images: the error of the second minus that of the first is {estimate(pair.difference)} percentage points, "
        f"with an interval for the choice of test images alone.{test}"
    )


def race_table(data: StudyData) -> ReportTable:
    """One row for each rung of the race and cell: its validation accuracy, and whether and why it went on."""
    settings = settings_of_cells(data.searches) if len(data.searches) else {}
    rungs = data.queue[data.queue["stage"] == "rung"]
    numbers = sorted(set(rungs["rung"].dropna().astype(int)))
    rows: list[tuple[str, ...]] = []
    for place, rung in enumerate(numbers):
        jobs = rungs[rungs["rung"] == rung]
        last = place == len(numbers) - 1
        following = data.queue[data.queue["stage"] == "final"] if last else rungs[rungs["rung"] == numbers[place + 1]]
        reasons = dict(zip(following["genotype_digest"], following["reason"], strict=True))
        done = data.trainings[(data.trainings["stage"] == "rung") & (data.trainings["rung"] == rung)]
        planned = jobs.sort_values("rank").groupby("genotype_digest", sort=False).size()
        validated = done.dropna(subset=["valid_accuracy"]).sort_values("network_macs", kind="stable")
        valid = validated.groupby("genotype_digest", sort=False)["valid_accuracy"]
        accuracies = {str(digest): values.astype(float).tolist() for digest, values in valid}
        images = done["validation_images"].dropna()
        ranked = {each.digest: each for each in rank_cells(accuracies, int(images.iloc[0]) if len(images) else None)}
        for digest in [*ranked, *(str(name) for name in planned.index if name not in ranked)]:
            went_on = "yes" if digest in reasons else "no" if len(reasons) else "not decided"
            cell = ranked.get(digest)
            values = (
                (number(cell.mean), number(cell.standard_error), number(cell.value)) if cell else [number(None)] * 3
            )
            count = f"{cell.trainings if cell else 0} of {planned.get(digest, 0)}"
            row = (str(rung), digest, _found_by(settings, digest), count, *values, went_on)
            rows.append((*row, shortened(plain(reasons.get(digest)))))
    return ReportTable(
        id="race",
        caption="The race: which cells went on to the next rung (validation accuracy in percent)",
        headings=(
            "rung",
            "cell",
            "found by",
            "trainings",
            "validation mean",
            "standard error",
            "mean - error",
            "went on",
            "reason",
        ),
        rows=tuple(rows),
        text_columns=frozenset({"cell", "found by", "went on", "reason"}),
        wide_columns=frozenset({"found by", "reason"}),
        note=(
            "Cells are ranked by mean minus standard error, which contains the deviation between trainings and the "
            "sampling error of the validation images. Every setting keeps at least one cell up to the last rung."
        ),
    )


def race_text(data: StudyData) -> str:
    """The time of the race and of the final trainings, against training all cells in full; empty if it is not known."""
    done = data.trainings
    rungs, final = done[done["stage"] == "rung"], done[done["stage"] == "final"]
    times = [rows["seconds"].astype(float) for rows in (rungs, final)]
    if data.conclusions.unfinished or not all(len(each) and each.notna().all() for each in times):
        return ""
    first = rungs[rungs["rung"] == rungs["rung"].min()]["genotype_digest"].nunique()
    each = times[1].groupby(final["genotype_digest"]).sum().mean()
    return (
        f"The rungs took {duration(times[0].sum())} of training, and the final trainings of "
        f"{counted(final['genotype_digest'].nunique(), 'cell')} {duration(times[1].sum())}. Final trainings of all "
        f"{first} cells would have taken {duration(first * each)} at the same time per cell."
    )


def orders_table(orders: Sequence[OrderCheck]) -> ReportTable:
    """Rank correlations between measures of the same cells."""
    return ReportTable(
        id="rank-correlation",
        caption="Do other measures order the cells as the reference training does? Spearman's rank correlation",
        headings=("measure", "of", "reference", "cells", "correlation [95 %]", "same order"),
        rows=tuple(
            (
                MEASURES[each.kind],
                each.subject,
                each.reference,
                str(each.cells),
                estimate(each.correlation),
                f"{ALIKE[each.judgement]}{each.note}",
            )
            for each in orders
        ),
        text_columns=frozenset({"of", "reference", "same order"}),
        wide_columns=frozenset({"of", "reference", "same order"}),
        note=(
            f"No correlation is given for fewer than {FEWEST_TO_CORRELATE} cells. yes: the interval lies above "
            f"{USEFUL:g}; related: above 0; weakly related: between 0 and {USEFUL:g}; no: below {USEFUL:g}, with 0 in "
            f"it or above it; not known: it contains 0 and {USEFUL:g}."
        ),
    )


def one_shot_caption(settings: str, _: pd.DataFrame) -> str:
    """Caption of the test errors against one-shot accuracies of a group of comparable super-networks."""
    return f"{settings}: test error of the retrained cell against the one-shot accuracy of its search."


def published_table(rows: Sequence[PublishedRow], level: str) -> ReportTable:
    """Published results on the same data set, and where this study's trainings of a level differ."""
    differs = rows[0].differs
    same = "agree with the official recipe of PC-DARTS in all compared fields; that of DARTS differs slightly."
    return ReportTable(
        id="published",
        caption=f"Published results on {rows[0].dataset}, for orientation (percent)",
        headings=(
            "method",
            "test error",
            "top-5 error",
            "parameters (M)",
            "GPU-days of search",
            "source",
            "protocol of this study",
        ),
        rows=tuple(
            (
                row.method,
                spread(row.test_error, row.deviation),
                number(row.top5_error, 1),
                number(row.parameters, 1),
                number(row.gpu_days),
                row.source,
                "differs" if row.differs else "official recipe",
            )
            for row in rows
        ),
        text_columns=frozenset({"source", "protocol of this study"}),
        wide_columns=frozenset({"method", "source"}),
        note=(
            "Not results of this study. Papers report the chosen cell of several searches, which is better than that "
            f"of an average search. The trainings of this study, {level}, "
            + (f"differ from the official recipe of PC-DARTS: {differs}." if differs else same)
        ),
    )


def trainings_table(data: StudyData) -> ReportTable:
    """Every training: its last completed attempt, or else its last attempt; jobs that wait come with their epochs."""
    retrains = chosen(data.retrains)
    order = retrains.assign(completed=retrains["status"] == "completed").sort_values(["completed", "attempt"])
    attempts = {row["job_id"]: row for row in row_dicts(order)}  # the last of a job stays
    jobs = row_dicts(data.queue)
    known = {job["job_id"] for job in jobs}
    jobs += [{**row, "state": row["status"], "rank": None} for job, row in attempts.items() if job not in known]
    rows = []
    for job in sorted(jobs, key=_place):
        result = attempts.get(job["job_id"], {})
        error = "" if job["state"] == "done" else plain(job.get("error")) or plain(result.get("error"))
        average = result.get("chosen_weights") == "ema"
        accuracy = result.get("test_accuracy")
        planned = job.get("epochs_planned") if pd.isna(result.get("epochs")) else result["epochs"]
        rows.append(
            (
                _stage(job),
                job["genotype_digest"],
                number(planned, 0),
                number(result.get("seed"), 0),
                _marked(number(result.get("valid_accuracy")), average),
                _marked(number(None if accuracy is None else 100 - accuracy), average),
                f"{job['state']}: {shortened(error)}" if error else job["state"],
            )
        )
    return ReportTable(
        id="retrains",
        caption="All trainings of cells",
        headings=("stage", "cell", "epochs", "seed", "validation accuracy", "test error", "state"),
        rows=tuple(rows),
        text_columns=frozenset({"cell", "state"}),
        wide_columns=frozenset({"state"}),
        folded=True,
        note=AVERAGE if is_average(retrains).any() else "",
    )


def _errors(rows: pd.DataFrame, level: Level, validation: float) -> tuple[Number, ...]:
    """Validation accuracy, test error over trainings, and its interval for the number of test images."""
    errors, averages = rows["test_error"].astype(float), int(is_average(rows).sum())
    images = sampling_interval(float(errors.mean()), level.test_images)
    return (
        _marked(number(validation), averages, len(rows)),
        _marked(spread(float(errors.mean()), float(errors.std())), averages, len(rows)),
        interval(images.low, images.high),
    )


def _size(data: StudyData, trainings: pd.DataFrame, name: str) -> float | None:
    """Parameters or multiply-adds of the network in trainings of a cell, or else of its job or search."""
    digest = trainings["genotype_digest"].iloc[0]
    others = (table.loc[table["genotype_digest"] == digest, name] for table in (data.queue, data.searches))
    for sizes in (trainings[name], *others):
        known = sizes.dropna()
        if len(known):
            return float(known.iloc[0])
    return None


def _picked(level: Level) -> str:
    if level.validation_images:
        return f"{level.validation_images:,} validation images"
    return "none: the last epoch" if level.validation_images == 0 else "not recorded"


def _stage(job: Mapping[Any, Any]) -> str:
    rung = job.get("rung")
    return plain(job["stage"]) if rung is None or pd.isna(rung) else f"rung {rung:.0f}"


def _place(job: Mapping[Any, Any]) -> tuple[Any, ...]:
    """Sort key: by stage and rung, then by rank."""
    rank = math.inf if pd.isna(job["rank"]) else job["rank"]
    return _stage(job), rank, job["genotype_digest"], job["job_id"]


def _found_by(settings: Mapping[str, Sequence[str]], digest: str) -> str:
    if digest not in settings and published_name(digest):
        return other_origin(digest)
    names = settings.get(digest, [])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more or MISSING


def _marked(value: Number, averages: int, n: int = 1) -> Number:
    """The mean of n values, marked with how many of them are of averaged weights."""
    if not averages or value == MISSING:
        return value
    return Number(f"{value} ({'EMA' if averages == n else f'EMA in {averages} of {n}'})", *value.values)
