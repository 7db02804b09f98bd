"""The first screen of the report: what is known of each setting, and the recommended cell."""

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from analysis.conclusions import Conclusions
from analysis.conclusions.recommendation import Recommendation
from analysis.conclusions.sentences import counted, other_origin
from analysis.conclusions.settings import SettingRow
from analysis.sections.blocks import Block, Card, Number, ReportTable, Section, Text
from analysis.sections.wording import MISSING, estimate, interval, millions, number, spread
from pcdarts.config import OWN_IMAGES


def section(
    found: Conclusions, images: Sequence[Mapping[str, Any]] = (), flips: Collection[str] = frozenset()
) -> Section:
    """One row for each setting, the recommended cell, and what the images are: the content of data.json.

    `flips` are the values of the field flip in all searches and trainings.
    """
    blocks: list[Block] = [settings_table(found) if found.settings else Text(text=found.verdict[0])]
    if found.recommendation is not None:
        blocks.append(recommended_card(found.recommendation))
    if found.settings:
        blocks.append(Text(text=_explanation(found), style="note"))
    for each in images:
        text = f"{image_sentence(each)} {augmentation_sentence(each, several_flips=len(flips) > 1)}"
        blocks.append(Text(text=text.rstrip(), style="note"))
    title = "Settings" if found.recommendation is None else "Settings and the recommended cell"
    return Section(id="settings", title=title, short="Settings", blocks=tuple(blocks))


def settings_table(found: Conclusions) -> ReportTable:
    """One row for each setting, in the order of their values: no ranking."""
    devices = sorted({row.device for row in found.settings if row.device})
    several = len(devices) > 1
    headings = [
        "setting",
        "searches",
        "collapsed",
        "cells retrained",
        "trainings",
        "test error mean ± std",
        "worst cell",
        "parameters (M)",
        "multiply-adds (M)",
        "cost of a search",
        "fewer errors than random cells [interval]",
    ]
    return ReportTable(
        id="settings",
        caption="What is known of each setting (test errors in percent, after retraining)",
        headings=tuple([*headings, "device"] if several else headings),
        rows=tuple(_row(row, devices) for row in found.settings),
        text_columns=frozenset({"device"}),
        wide_columns=frozenset({"setting", "device"}),
        note=f"Test errors: {found.level.protocol}" if found.level else "",
    )


def recommended_card(cell: Recommendation) -> Card:
    """The recommended cell with its error, how sure the choice is, and its genotype to copy."""
    chosen = f"validation accuracy of {number(cell.valid_accuracy)} % after {cell.chosen_at.name}"
    if cell.candidates > 1:
        chosen = f"{chosen}, best of {cell.candidates} cells"
    size = f"{millions(cell.parameters)} M parameters, {millions(cell.multiply_adds)} M multiply-adds"
    found_by = ("found by", ", ".join(cell.found_by)) if cell.found_by else ("origin", other_origin(cell.digest))
    facts = [found_by, ("chosen by", chosen)]
    if cell.candidates > 1:
        facts.append(("next best", _next(cell)))
    facts += [("test error", _error(cell)), ("network", size)]
    name = "tied with " + _listed(cell.tied) if cell.tied else ""
    return Card(
        title=f"Recommended cell: {cell.digest}{f', {name}' if name else ''}",
        facts=tuple(facts),
        code=cell.genotype,
        unfolded=True,
    )


def image_sentence(images: Mapping[str, Any]) -> str:
    """What a set of images is: how many of how many classes, their size, and where the test images come from."""
    name = images["dataset"]
    if name in OWN_IMAGES:
        name = f"own images {PurePath(images['place']).name}"
    train, test = images["train_images"], images["test_images"]
    each = f"{min(train):,}" if min(train) == max(train) else f"{min(train):,} to {max(train):,}"
    size = f"{images['channels']} x {images['height']} x {images['width']} pixels"
    text = (
        f"Images: {name}, {counted(len(train), 'class', 'classes')}, {sum(train):,} training images ({each} of a "
        f"class) and {sum(test):,} test images of {size}. Test images: {images['test_part']}."
    )
    if copies := len(images.get("in_both", ())):
        are = "of them is also a training image" if copies == 1 else "of them are also training images"
        text += f" {copies:,} {are}, which makes test errors too low."
    return f"{text} Fingerprint: {images['fingerprint']}." if images["fingerprint"] else text


def augmentation_sentence(images: Mapping[str, Any], *, several_flips: bool) -> str:
    """How training images are cropped and flipped, and all images normalized; empty if that was not recorded."""
    if "flip" not in images:
        return ""
    pixels = counted(images["crop_padding"], "pixel")
    crops = f"shifted by up to {pixels}" if images["in_memory"] else "randomly cropped and resized"
    flips = "flipped as the field flip says" if several_flips else "flipped" if images["flip"] else "not flipped"
    values = "of the data set"
    if images["dataset"] in OWN_IMAGES:
        values = "of the training images" if images["in_memory"] else "of ImageNet"
    return f"Training images are {crops} and {flips}; all are normalized with the mean and standard deviation {values}."


def cost(row: SettingRow) -> Number:
    """Mean cost of a search in GPU-days, or in CPU-hours without a GPU."""
    if not math.isnan(row.gpu_days):
        return Number(f"{_amount(row.gpu_days)} GPU-days", row.gpu_days)
    if not math.isnan(row.cpu_hours):
        return Number(f"{_amount(row.cpu_hours)} CPU-hours", row.cpu_hours)
    return number(None)


def _row(row: SettingRow, devices: list[str]) -> tuple[str, ...]:
    cells = (
        row.setting,
        Number(f"{row.searches} ({row.failed} failed)" if row.failed else str(row.searches), row.searches),
        str(row.collapsed) if row.rules_recorded else MISSING,
        f"{row.retrained} of {row.selected}" if row.selected else MISSING,
        str(row.trainings),
        spread(row.test_error, row.test_error_std),
        number(row.worst),
        millions(row.parameters.value),
        millions(row.multiply_adds.value),
        MISSING if row.method == "random" else cost(row),
        estimate(row.gain),
    )
    return (*cells, row.device) if len(devices) > 1 else cells


def _explanation(found: Conclusions) -> str:
    devices = sorted({row.device for row in found.settings if row.device})
    notes = []
    if found.level is not None:
        notes.append(
            "Test error: mean ± sample standard deviation over the searches of a setting; a cell counts with the mean "
            "of its trainings."
        )
    if any(row.rules_recorded for row in found.settings):
        notes.append("Collapsed: stopped or warned by a collapse rule; see Collapse for the rules that could fire.")
    if any(not math.isnan(row.gain.value) for row in found.settings):
        notes.append("Fewer errors: percentage points, paired by search seed; the interval is that of Comparisons.")
    notes.append("Parameters and multiply-adds: mean over the cells that the searches found.")
    if len(devices) == 1:
        notes.append(f"Device: {devices[0]}.")
    return " ".join(notes)


def _next(cell: Recommendation) -> str:
    if math.isnan(cell.beats_next):
        return f"{cell.next_best}; how sure the order is, is not known"
    return f"{cell.next_best}; this cell is better with a probability of {_share(cell.beats_next)}"


def _error(cell: Recommendation) -> str:
    trained = counted(cell.trainings, "training")
    seeds = "" if math.isnan(cell.seed_std) else f" ± {number(cell.seed_std)}"
    images = interval(cell.sampling.low, cell.sampling.high)
    parts = [f"{number(cell.test_error_mean)}{seeds} % over {trained}"]
    if images != MISSING:
        parts.append(f"{images} for the number of test images alone")
    if cell.corrected:
        parts.append(f"{estimate(cell.test_error)} corrected for the choice")
    elif not cell.fresh:
        parts.append("too low on average, as these trainings took part in the choice")
    if not math.isnan(cell.test_top5_error):
        parts.append(f"top-5 error {number(cell.test_top5_error)} %")
    return "; ".join(parts)


def _share(probability: float) -> str:
    if probability > 0.99:
        return "more than 99 %"
    return f"{100 * probability:.0f} %"


def _listed(digests: tuple[str, ...]) -> str:
    return ", ".join(digests) if len(digests) < 4 else f"{len(digests)} other cells"


def _amount(value: float) -> str:
    """A cost with three significant digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 0.001 else "< 0.001"
