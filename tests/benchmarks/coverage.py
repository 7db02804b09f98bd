"""How often the report's intervals contain the truth, and how often its verdicts are false, in simulated studies.

    python -m tests.benchmarks.coverage [--studies 1000] [--scenario TEXT ...]

Every scenario is a study of known truth (`tests.simulated`), drawn many times.  A 95 % interval should contain the
truth in 95 % of the cases; equal settings may be called different in 5 % of the studies at most, however many they are;
a probability should equal the share of the cases in which it comes true.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.conclusions import Conclusions, conclude
from analysis.conclusions.comparisons import compare
from analysis.statistics.bootstrap import Estimate
from analysis.statistics.correlation import mean_spearman
from analysis.statistics.shrinkage import shrunk_means
from tests.simulated import FULL, PUBLISHED, Noise, Setting, SimulatedStudy, simulated_studies


class Check(NamedTuple):
    """One case."""

    name: str
    held: bool | None
    """None without an interval."""
    expected: float = 0.95
    """Probability with which it should hold."""


@dataclass(kw_only=True)
class Tally:
    """How often a check held."""

    name: str
    held: int = 0
    total: int = 0
    expected: float = 0.0
    """Sum of the probabilities."""
    undefined: int = 0
    """Cases without an interval, which are not part of the total."""

    def add(self, check: Check) -> None:
        if check.held is None:
            self.undefined += 1
        else:
            self.held += check.held
            self.total += 1
            self.expected += check.expected

    @property
    def share(self) -> float:
        """Share of the cases that held; NaN without cases."""
        return self.held / self.total if self.total else math.nan

    def __str__(self) -> str:
        """A row of a Markdown table."""
        expected = self.expected / self.total if self.total else math.nan
        return f"| {self.name} | {100 * expected:.1f} % | {100 * self.share:.1f} % | {self.total} | {self.undefined} |"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Settings, and what is retrained of them."""

    name: str
    settings: Sequence[Setting]
    retrain: Callable[[SimulatedStudy], None]
    noise: Noise = Noise()


def in_full(seeds: int) -> Callable[[SimulatedStudy], None]:
    """Every cell is trained in full with this number of seeds."""
    return lambda study: study.retrain(study.cells(), seeds=seeds)


def race(study: SimulatedStudy) -> None:
    """A race, three full trainings of each of its winners, and three more of the best by the published protocol."""
    kept = study.race([(25, 1, 10), (100, 2, 3)])
    study.retrain(kept, seeds=3)
    best = study.best(kept, rung=None, keep=1, each_setting=False)
    study.retrain(best, PUBLISHED, stage="published", seeds=3)


def equal_settings(*ks: int, searches: int = 8) -> list[Setting]:
    """Settings that differ in nothing but one-shot accuracy."""
    return [Setting(k=k, searches=searches, one_shot=92.0 - k) for k in ks]


DIFFERENT = (
    Setting(k=2, searches=8),
    Setting(k=4, searches=8, accuracy=97.2),
    Setting(method="random", searches=8, accuracy=96.9),
)
SCENARIOS = (
    Scenario(name="2 equal settings", settings=equal_settings(2, 4), retrain=in_full(1)),
    Scenario(name="3 equal settings", settings=equal_settings(2, 4, 8), retrain=in_full(1)),
    Scenario(name="4 equal settings", settings=equal_settings(1, 2, 4, 8), retrain=in_full(1)),
    Scenario(name="different settings, cells trained twice", settings=DIFFERENT, retrain=in_full(2)),
    Scenario(name="different settings, a race", settings=DIFFERENT, retrain=race),
    Scenario(name="20 cells trained once", settings=[Setting(searches=20)], retrain=in_full(1)),
    Scenario(name="20 cells trained three times", settings=[Setting(searches=20)], retrain=in_full(3)),
)


def examine(scenario: Scenario, studies: int, seed: int = 0) -> dict[str, Tally]:
    """The checks of a scenario's studies, by name."""
    tallies: dict[str, Tally] = {}
    for study in simulated_studies(studies, scenario.settings, seed=seed, noise=scenario.noise):
        scenario.retrain(study)
        found = conclude(*study.frames())
        for check in (*_settings(study, found), *_cells(study, found)):
            tallies.setdefault(check.name, Tally(name=check.name)).add(check)
    return tallies


def _settings(study: SimulatedStudy, found: Conclusions) -> Iterator[Check]:
    """Differences between settings."""
    accuracies = {setting.name: setting.accuracy for setting in study.settings}
    covered, false = [], False
    for comparison in found.comparisons:
        truth = accuracies[comparison.first] - accuracies[comparison.second]
        covered.append(contains(comparison.difference, truth))
        yield Check("difference of two settings", covered[-1], comparison.level)
        false |= comparison.outcome == "first" and truth <= 0
        false |= comparison.outcome == "second" and truth >= 0
    if covered:
        yield Check("all differences of a study at once", None if None in covered else all(covered))
        yield Check("no false verdict in a study", not false)
    for row in found.settings:
        if not math.isnan(row.gain.value):
            truth = accuracies[row.setting] - accuracies["method=random"]
            yield Check("gain over random cells", contains(row.gain, truth))


def _cells(study: SimulatedStudy, found: Conclusions) -> Iterator[Check]:
    """The recommended cell."""
    best = found.recommendation
    if best is None:
        return
    recipe = PUBLISHED if best.reported_at.stage == "published" else FULL
    yield Check(
        "test error of the recommended cell", contains(best.test_error, 100 - study.true_accuracy(best.digest, recipe))
    )
    networks = study.networks(best.digest, best.reported_at.stage)
    yield Check("sampling of the test images", contains(best.sampling, 100 - float(np.mean(networks))))
    if best.next_best and not math.isnan(best.beats_next):
        group = min(0.9, 0.5 + 0.1 * math.floor(10 * best.beats_next - 5))
        better = study.truth[best.digest] > study.truth[best.next_best]
        yield Check(f"beats the next, with {100 * group:.0f} to {100 * group + 10:.0f} %", better, best.beats_next)
        finalists = [row["genotype_digest"] for row in study.retrains if row["stage"] == "final"]
        truly_best = max(finalists, key=study.truth.__getitem__)
        yield Check("truly best of the final cells is recommended or tied", truly_best in {best.digest, *best.tied})
    if best.against_next is not None:
        pair, stage = best.against_next, best.chosen_at.stage
        first, second = (float(np.mean(study.networks(digest, stage))) for digest in (pair.first, pair.second))
        yield Check("difference of two cells by test images", contains(pair.difference, first - second))


def correlation(studies: int, *, cells: int, groups: int, pearson: float, seed: int = 0) -> Tally:
    """Spearman's rank correlation of normal pairs, the mean within groups."""
    generator, truth = np.random.default_rng(seed), 6 / math.pi * math.asin(pearson / 2)
    within = f" within {groups} settings" if groups > 1 else ""
    tally = Tally(name=f"rank correlation of {truth:.2f}, {cells} cells{within}")
    for _ in range(studies):
        first, noise = generator.standard_normal((2, groups, cells))
        second = pearson * first + math.sqrt(1 - pearson**2) * noise
        found = mean_spearman(list(zip(first.tolist(), second.tolist(), strict=True)))
        tally.add(Check(tally.name, contains(found, truth)))
    return tally


def chosen_best(studies: int, *, cells: int, seeds: int, between: float, seed: int = 0) -> tuple[Tally, Tally]:
    """The true value of the best of several cells by the mean of its trainings, and whether it beats the next.

    Trainings deviate by 1; the true values of the cells by `between`.
    """
    generator = np.random.default_rng(seed)
    what = f"best of {cells} cells, {seeds} trainings each, that deviate by {between:g}"
    value, beats = Tally(name=f"{what}: true value"), Tally(name=f"{what}: beats the next")
    for _ in range(studies):
        true = between * generator.standard_normal(cells)
        trainings = true[:, None] + generator.standard_normal((cells, seeds))
        first, second = np.argsort(-trainings.mean(axis=1))[:2]
        found = shrunk_means(trainings.tolist(), [0.0] * cells)
        if found is not None:
            value.add(Check(value.name, contains(found.estimate(int(first)), float(true[first]))))
            better = bool(true[first] > true[second]) if between else None  # equal cells: neither is better
            beats.add(Check(beats.name, better, found.beats(int(first), int(second))))
    return value, beats


def equal_means(studies: int, *, settings: int, pairs: int, seed: int = 0) -> tuple[Tally, Tally]:
    """Whether the comparisons of equal settings are free of false verdicts, and whether all intervals contain 0."""
    generator, names = np.random.default_rng(seed), [f"k={2**number}" for number in range(settings)]
    name = f"{settings} equal settings, {pairs} pairs"
    verdicts, intervals = Tally(name=f"{name}: no false verdict"), Tally(name=f"{name}: all intervals contain 0")
    errors = pd.DataFrame({"setting": np.repeat(names, pairs), "seed": np.tile(range(pairs), settings)})
    errors["genotype_digest"] = [str(number) for number in range(len(errors))]
    for _ in range(studies):
        found = compare(errors.assign(test_error=3 + 0.2 * generator.standard_normal(len(errors))), names)
        verdicts.add(Check(verdicts.name, all(each.outcome not in ("first", "second") for each in found)))
        intervals.add(Check(intervals.name, all(contains(each.difference, 0.0) for each in found)))
    return verdicts, intervals


def statistics(studies: int) -> Iterator[Tally]:
    """Statistics of samples, without a study around them."""
    for cells, groups in ((6, 1), (10, 1), (20, 1), (40, 1), (8, 3)):
        for pearson in (0.0, 0.5, 0.9):
            yield correlation(studies, cells=cells, groups=groups, pearson=pearson)
    for cells, seeds in ((2, 3), (8, 3), (20, 2)):
        for between in (0.0, 0.5, 1.7):
            yield from chosen_best(studies, cells=cells, seeds=seeds, between=between)
    for settings in (2, 3, 4):
        yield from equal_means(studies, settings=settings, pairs=8)


def contains(estimate: Estimate, truth: float) -> bool | None:
    """Whether an interval contains the truth; None without an interval."""
    return None if math.isnan(estimate.low) else estimate.low <= truth <= estimate.high


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000, help="simulated studies of every scenario")
    parser.add_argument("--scenario", nargs="*", default=[""], help="only scenarios whose name contains one of these")
    options = parser.parse_args()
    heading = "| | should hold in | holds in | cases | without interval |\n|---|---:|---:|---:|---:|"
    for scenario in SCENARIOS:
        if any(text in scenario.name for text in options.scenario):
            print(f"\n{scenario.name}\n\n{heading}", flush=True)
            print(*sorted(map(str, examine(scenario, options.studies).values())), sep="\n", flush=True)
    print(f"\nstatistics of samples\n\n{heading}", flush=True)
    for tally in statistics(options.studies):
        print(tally, flush=True)


if __name__ == "__main__":
    main()
