"""The conclusions in sentences: what the first screen of the report says."""

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from analysis.conclusions.comparisons import SettingComparison
from analysis.conclusions.levels import Level
from analysis.conclusions.orders import OrderCheck
from analysis.conclusions.recommendation import Recommendation
from analysis.conclusions.settings import SettingRow
from analysis.statistics.bootstrap import Estimate
from pcdarts.genotype import published_name

MAX_NAMES = 4
"""Settings that a sentence names; of more, it names the first ones and gives the number of the others."""
FEW_TEST_IMAGES = 2000
"""Below this number the verdict names the error for the choice of test images: at 10 % of so many, +- 1.3 points."""


def settings_sentences(
    settings: Sequence[SettingRow],
    level: Level | None,
    left_out: Mapping[str, str],
    comparisons: Sequence[SettingComparison],
) -> list[str]:
    """Which setting is better, or why nothing can be said."""
    if not settings:
        return ["No search has finished yet." if level is None else "The study trained given cells, without a search."]
    rows = {row.setting: row for row in settings if row.searches}
    if not rows:
        return ["No search has a result."]
    reasons = _reasons([row for row in rows.values() if row.setting in left_out])
    if level is None:
        if len(rows) == 1:
            return [f"{_capital(reasons)}, so nothing is known about the accuracy of its cells."]
        return [f"No setting can be called better: {reasons}."]
    complete = [name for name in rows if name not in left_out]
    if not complete:
        return [f"No setting can be called better yet: {reasons}."]
    if len(complete) == 1:
        row = rows[complete[0]]
        value = (
            f"{counted(row.retrained, 'retrained cell')} of {row.setting} {'has' if row.retrained == 1 else 'have'} a "
            f"mean test error of {_spread(row.test_error, row.test_error_std)} after {level.name}"
        )
        if len(rows) == 1:
            return [f"{value}; the study has no other setting to compare with."]
        return [f"No setting can be called better: {reasons}. {value}."]
    found = [_comparison_sentence(complete, comparisons, level)]
    found += [f"Not compared: {reasons}."] if left_out else []
    return [*found, *_limits([rows[name] for name in complete], level)]


def given_cells(errors: Mapping[str, Sequence[float]], levels: Sequence[Level]) -> str:
    """The test errors of retrained cells that no search found; empty without such cells."""
    if not errors:
        return ""
    cells = [
        f"{name} {_spread(float(np.mean(each)), float(np.std(each, ddof=1)) if len(each) > 1 else math.nan)} "
        f"({counted(len(each), 'training')})"
        for name, each in errors.items()
    ]
    return f"Test error of cells that no search found, after {levels[-1].name}: {listed(cells)}."


def baseline_sentence(
    settings: Sequence[SettingRow], level: Level | None, comparisons: Sequence[SettingComparison]
) -> str:
    """Whether settings beat random cells; empty if that is said already, or nothing was retrained."""
    if level is None:
        return ""
    random = [row for row in settings if row.method == "random" and row.retrained]
    searched = [row for row in settings if row.method != "random" and row.retrained]
    if not searched:
        return ""
    if not random:
        return "No random cell was retrained, so whether a search finds better cells than chance is not known."
    names = {row.setting for row in random}
    spaces = {row.setting: row.space for row in settings}
    against = [
        each
        for each in comparisons
        if (each.first in names) != (each.second in names) and spaces[each.first] == spaces[each.second]
    ]
    if len(comparisons) < 2 or not against:
        return ""
    better = [each for each in against if _winner(each) and _winner(each) not in names]
    worse = [each for each in against if _winner(each) in names]
    parts = []
    if better:
        parts.append("better than random cells: " + listed([_gain(each, names) for each in better]))
    if worse:
        parts.append("worse than random cells: " + listed([_gain(each, names) for each in worse]))
    open_ones = [_other(each, names) for each in against if not _winner(each)]
    if open_ones and not parts:
        find = "finds" if len(open_ones) == 1 else "find"
        return f"Whether {listed(open_ones)} {find} better cells than chance is not known."
    if open_ones:
        parts.append(f"not known for {listed(open_ones)}")
    return f"{_capital('; '.join(parts))}."


def cell_sentences(recommendation: Recommendation | None, level: Level | None) -> list[str]:
    """Which cell, how good it is, and how sure that is."""
    if level is None and recommendation is None:
        return []
    if recommendation is None:
        return ["No cell is recommended: no retraining was validated, and test accuracy must not choose."]
    cell = recommendation
    origin = listed(cell.found_by) if cell.found_by else other_origin(cell.digest)
    return [f"Recommended cell: {cell.digest} ({origin}); {_certainty(cell)}.", _reported(cell)]


def other_origin(digest: str) -> str:
    """Where a cell that no search found comes from."""
    name = published_name(digest)
    return f"published as {name}" if name else "added by hand"


def order_sentences(orders: Sequence[OrderCheck]) -> list[str]:
    """Whether one-shot accuracy ranks cells, and whether their order survives another recipe."""
    one_shot = [each.sentence for each in orders if each.kind == "one-shot"]
    return one_shot[:1] + [each.sentence for each in orders if each.kind == "recipe"]


def searches_sentence(settings: Sequence[SettingRow]) -> str:
    """How many searches failed, collapsed or were stopped by hand; empty without searches."""
    total = sum(row.searches + row.failed + row.canceled for row in settings)
    if not total:
        return ""
    failed = [(row.setting, row.failed) for row in settings if row.failed]
    collapsed = [(row.setting, row.collapsed) for row in settings if row.collapsed]
    text = f"Of {counted(total, 'search', 'searches')}, {_by_setting(failed)} failed"
    text += f"; a collapse rule fired in {_by_setting(collapsed)}" if collapsed else ""
    by_hand = [(row.setting, row.stopped_by_hand) for row in settings if row.stopped_by_hand]
    if not by_hand:
        return f"{text}."
    were = "was" if sum(count for _, count in by_hand) == 1 else "were"
    return f"{text}; {_by_setting(by_hand)} {were} stopped by hand."


def unfinished_sentence(unfinished: int) -> str:
    """That trainings are still to come; empty if none is."""
    if not unfinished:
        return ""
    are = "training is" if unfinished == 1 else "trainings are"
    return f"{unfinished:,} {are} queued or running: the conclusions can change."


def failed_sentence(failed: int) -> str:
    """That trainings of cells failed; empty if none did."""
    return f"{counted(failed, 'training')} of cells failed." if failed else ""


def next_step(
    settings: Sequence[SettingRow],
    level: Level | None,
    comparisons: Sequence[SettingComparison],
    recommendation: Recommendation | None,
    unfinished: int,
) -> str:
    """What to run to learn more; empty if nothing is open."""
    if level is None:
        return "Run `pcdarts retrain STUDY` to retrain the selected cells of every setting."
    if unfinished:
        return "Run `pcdarts retrain STUDY` to finish the queued trainings."
    too_few = [each.pairs_wanted for each in comparisons if each.outcome == "too few"]
    if too_few:
        wanted, most = max(too_few), max(row.distinct_cells for row in settings)
        shared = " that found different cells" if any(each.pairs < each.seeds for each in comparisons) else ""
        return (
            f"To decide between settings, retrain the cells of at least {wanted} common search seeds{shared}: add "
            f"seeds (`--seeds`), and select all cells of each setting (`--set selection.top={max(wanted, most)}`)."
        )
    if recommendation is not None and recommendation.candidates > 1 and math.isnan(recommendation.beats_next):
        return "To know how sure the choice of the cell is, train each cell several times (`--retrain-seeds 3`)."
    return ""


def listed(names: Sequence[str], last: str = "and") -> str:
    """Names in a sentence: the first ones and the number of the others if there are many."""
    if len(names) > MAX_NAMES + 1:
        names = [*names[:MAX_NAMES], f"{len(names) - MAX_NAMES} more"]
    if len(names) == 1:
        return names[0]
    if any(", " in re.sub(r"\(.*?\)", "", name) for name in names):  # such as method=pcdarts, k=4
        return f"{'; '.join(names[:-1])}; {last} {names[-1]}"
    return f"{', '.join(names[:-1])} {last} {names[-1]}"


def counted(n: int, singular: str, plural: str = "") -> str:
    """A number with its noun, such as 1 search or 2 searches."""
    return f"{n:,} {singular}" if n == 1 else f"{n:,} {plural or singular + 's'}"


def _comparison_sentence(complete: Sequence[str], comparisons: Sequence[SettingComparison], level: Level) -> str:
    undecided = [each for each in comparisons if each.outcome == "too few"]
    if len(undecided) == len(comparisons):
        return (
            f"No setting can be called better: {_seeds(comparisons, ' with a retrained cell in both settings')} cannot "
            f"decide between {listed(complete)}; at least {comparisons[0].pairs_wanted} are needed."
        )
    pairs = listed([f"{each.first} with {each.second}" for each in undecided]) if undecided else ""
    open_ones = f"; too few seeds to compare {pairs}" if undecided else ""
    decided = [each for each in comparisons if _winner(each)]
    after = f"after {level.name}, over {_seeds(decided or [each for each in comparisons if each not in undecided])}"
    if decided:
        better = [
            f"{name} is better than {listed([_lead(each) for each in decided if _winner(each) == name])}"
            for name in complete
            if any(_winner(each) == name for each in decided)
        ]
        rest = len(comparisons) - len(decided) - len(undecided)
        others = "; no other two settings differ significantly" if rest else ""
        return f"{'; '.join(better)}, {after}{others}{open_ones}."
    found = [each.detectable for each in comparisons if each.outcome == "none" and not math.isnan(each.detectable)]
    size = f"a difference of {max(found):.2f} percentage points" if found else ""
    power = f"; {size} would have been found with a probability of 80 %" if found else ""
    if len(comparisons) > 1:
        return f"No significant difference between {listed(complete)} in test error {after}{power}{open_ones}."
    one, lead = comparisons[0], _positive(comparisons[0].difference)
    text = f"No significant difference between {one.first} and {one.second}: test errors differ by {lead.value:.2f}"
    return f"{text} percentage points{_interval(lead)} {after}{power}."


def _seeds(comparisons: Sequence[SettingComparison], having: str = "") -> str:
    """The search seeds behind comparisons, and how many of them are independent if cells are shared."""
    seeds, pairs = ([getattr(each, name) for each in comparisons] for name in ("seeds", "pairs"))
    found = f"{_span(seeds)} search seed{'' if max(seeds) == 1 else 's'}{having}"
    return found if seeds == pairs else f"{found} ({_span(pairs)} independent, as searches found the same cell)"


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low} to {high}"


def _lead(each: SettingComparison) -> str:
    """The worse setting, and by how much."""
    worse = each.second if each.outcome == "first" else each.first
    lead = _positive(each.difference)
    return f"{worse} (test error {lead.value:.2f} percentage points lower{_interval(lead)})"


def _gain(each: SettingComparison, random: set[str]) -> str:
    gain = _positive(each.difference)
    return f"{_other(each, random)} (by {gain.value:.2f} percentage points{_interval(gain)})"


def _other(each: SettingComparison, random: set[str]) -> str:
    return each.second if each.first in random else each.first


def _winner(each: SettingComparison) -> str:
    """The better setting; empty if the rule decided nothing."""
    return {"first": each.first, "second": each.second}.get(each.outcome, "")


def _certainty(cell: Recommendation) -> str:
    after = f"after {cell.chosen_at.name}"
    if cell.candidates == 1:
        return f"the only cell with a result {after}"
    best = f"the best of {cell.candidates} cells by validation accuracy {after}"
    unknown = math.isnan(cell.beats_next)
    if cell.equals_next:
        best += f" (equal to {_tied(cell) if unknown else cell.next_best}; ties go to fewer multiply-adds)"
    if unknown:
        return f"{best}; how sure that is, is not known, as the deviation between trainings of a cell is unknown"
    surely = f"better than the next one, {cell.next_best}, with a probability of {_share(cell.beats_next)}"
    if not cell.tied:
        return f"{best}, and {surely}"
    return f"{best}, tied with {_tied(cell)}: {surely}"


def _tied(cell: Recommendation) -> str:
    return cell.tied[0] if len(cell.tied) == 1 else f"{len(cell.tied)} other cells"


def _reported(cell: Recommendation) -> str:
    trained = counted(cell.trainings, "training")
    if cell.fresh and cell.reported_at is not cell.chosen_at:
        source = f"from {trained} made after the choice: {cell.reported_at.name}"
    elif cell.corrected:
        source = f"from {trained}, corrected for the choice (uncorrected: {cell.test_error_mean:.2f} %)"
    elif cell.fresh:
        source = f"from {trained}"
    else:
        trained = "training" if cell.trainings == 1 else trained
        source = f"from the {trained} that took part in the choice, and not corrected for it: too low on average"
    interval = _interval(cell.test_error)
    images = _interval(cell.sampling)
    known = interval or (f" ({images[1:]} for the number of test images alone)" if images else "")
    return f"Its test error is {cell.test_error.value:.2f} %{known}, {source}."


def _limits(rows: Sequence[SettingRow], level: Level) -> list[str]:
    """What restricts a comparison: a short training, cells that were not selected, or few test images."""
    found = []
    if level.stage == "rung":
        found.append(
            f"The longest training of all selected cells is {level.name}; after the final training, settings may "
            "compare differently."
        )
    partly = [row for row in rows if row.retrained < row.distinct_cells]
    if partly:
        cells = listed([f"{row.retrained} of {row.distinct_cells} cells of {row.setting}" for row in partly])
        found.append(f"The comparison is between the cells that were retrained: {cells}.")
    widest = max((row.sampling for row in rows), key=lambda each: each.high - each.low)
    if level.test_images and level.test_images < FEW_TEST_IMAGES:
        found.append(
            f"The intervals are about these {level.test_images:,} test images: their number alone leaves an error of "
            f"{widest.value:.2f} % between {widest.low:.2f} and {widest.high:.2f} %."
        )
    return found


def _reasons(rows: Sequence[SettingRow]) -> str:
    """Why settings are left out of a comparison."""
    untrained = [row.setting for row in rows if not row.retrained]
    parts = []
    if untrained:
        names = listed(untrained, "or") if len(untrained) <= MAX_NAMES + 1 else f"{len(untrained)} settings"
        parts = [f"no cell of {names} was retrained"]
    parts += [
        f"{row.retrained} of {row.selected} selected cells of {row.setting} are trained"
        for row in rows
        if row.retrained
    ]
    return "; ".join(parts)


def _by_setting(counts: Sequence[tuple[str, int]]) -> str:
    """A number, with the setting if it is one."""
    if not counts:
        return "none"
    of = f" of {counts[0][0]}" if len(counts) == 1 else ""
    return f"{sum(count for _, count in counts):,}{of}"


def _positive(difference: Estimate) -> Estimate:
    """A difference in the direction in which it is positive."""
    if difference.value >= 0:
        return difference
    return Estimate(value=-difference.value, low=-difference.high, high=-difference.low)


def _interval(estimate: Estimate) -> str:
    return "" if math.isnan(estimate.low) else f" [{estimate.low:.2f}, {estimate.high:.2f}]"


def _spread(mean: float, std: float) -> str:
    return f"{mean:.2f} %" if math.isnan(std) else f"{mean:.2f} ± {std:.2f} %"


def _share(probability: float) -> str:
    return "more than 99 %" if probability > 0.99 else f"{100 * probability:.0f} %"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
