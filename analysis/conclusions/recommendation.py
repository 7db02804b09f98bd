"""The recommended cell: the best by validation at the longest training, and how sure that is.

Validation accuracy chooses; test accuracy only reports.  Both come from the same trainings, so chance that made a
training look good on validation images also made it look good on test images: the reported error comes from fresh
trainings where there are any, and is corrected for the choice otherwise.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.conclusions.levels import COMPARED, Level
from analysis.statistics.bootstrap import Estimate, Floats, t_halfwidth
from analysis.statistics.proportions import (
    cell_share,
    combined_interval,
    image_difference,
    sampling_interval,
    sampling_variance,
    unpacked,
)
from analysis.statistics.ranking import rank_cells
from analysis.statistics.shrinkage import shrunk_means

TIE = 0.05
"""Probability of being better from which a cell is tied with the recommended one."""


@dataclass(frozen=True, kw_only=True)
class CellComparison:
    """The networks of two cells on the same test images."""

    first: str
    """Digest of the first cell."""
    second: str
    """Digest of the second cell."""
    difference: Estimate
    """Test error of the second minus that of the first, paired by image, with the 95 % interval for the choice of test
    images alone; percentage points."""
    p_value: float
    """McNemar's exact test; NaN if a cell was trained more than once."""
    images: int
    """Test images."""


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The recommended cell."""

    digest: str
    """Digest of the cell."""
    genotype: str
    """The cells in the official notation."""
    found_by: tuple[str, ...]
    """Searches that found it, as "k=4, seed 2"; empty for a cell that no search found."""
    chosen_at: Level
    """Level at which validation accuracy chose it."""
    candidates: int
    """Cells with a result at this level."""
    valid_accuracy: float
    """Mean validation accuracy at this level; percent."""
    next_best: str
    """Digest of the next cell by the same rule; empty if there is one candidate."""
    equals_next: bool
    """Whether the next cell is as good by this rule, so that fewer multiply-adds decided."""
    beats_next: float
    """Probability that its true accuracy is above that of the next cell; NaN if unknown."""
    tied: tuple[str, ...]
    """Digests of the other cells that are better with a probability of 5 % or more, best first; if that is unknown, of
    those that the rule ranks as high."""
    reported_at: Level
    """Level of the reported test error: trainings by the published protocol, made after the choice, or `chosen_at`."""
    fresh: bool
    """Whether these trainings took no part in the choice."""
    test_error: Estimate
    """Test error with its 95 % interval, for seeds and test images together; corrected for the choice if `corrected`;
    percent.  No interval if the deviation between trainings is unknown."""
    corrected: bool
    """Whether the error was corrected for the choice of the best of several cells (shrinkage)."""
    test_error_mean: float
    """Plain mean of the trainings; percent."""
    seed_std: float
    """Sample standard deviation of the test error between the trainings; NaN for a single one."""
    trainings: int
    """Number of these trainings."""
    sampling: Estimate
    """Plain mean with the 95 % interval for the number of test images alone (Wilson); percent."""
    test_top5_error: float
    """Mean top-5 test error of these trainings; NaN if not measured."""
    parameters: int | None
    """Weights of the network, without the auxiliary head."""
    multiply_adds: int | None
    """Multiply-adds of one image in convolutions and linear layers."""
    against_next: CellComparison | None
    """This cell and the next one on the same test images; None if predictions were not kept."""


def recommend(found: pd.DataFrame, done: pd.DataFrame, levels: Sequence[Level]) -> Recommendation | None:
    """The best cell by validation accuracy at the longest level that has one; None without validation accuracies.

    Cells are ranked by the mean of their trainings minus its standard error, as in the race; ties go to fewer
    multiply-adds.
    """
    validated = done[np.isfinite(done["valid_accuracy"].astype(float))]
    numbers = set(validated["level"])
    at = next((each for each in reversed(levels) if each.stage in COMPARED and each.number in numbers), None)
    if at is None:
        return None
    rows = validated[validated["level"] == at.number].sort_values(["network_macs", "genotype_digest"], kind="stable")
    groups = {str(digest): group for digest, group in rows.groupby("genotype_digest", sort=False)}
    accuracies = {digest: group["valid_accuracy"].tolist() for digest, group in groups.items()}
    ranked = rank_cells(accuracies, at.validation_images)
    order = [each.digest for each in ranked]
    best, others = order[0], order[1:]
    true = shrunk_means([accuracies[each] for each in order], _own_sampling(groups, order, at))
    beaten = [true.beats(0, place) for place in range(1, len(order))] if true else []
    tied = (
        [digest for digest, probability in zip(others, beaten, strict=True) if probability <= 1 - TIE]
        if true
        else [each.digest for each in ranked[1:] if math.isclose(each.value, ranked[0].value, abs_tol=1e-9)]
    )
    fresh = done[(done["stage"] == "published") & (done["genotype_digest"] == best)]
    reported = fresh[fresh["level"] == fresh["level"].max()] if len(fresh) else groups[best]
    reported_at = next(each for each in levels if each.number == reported["level"].iloc[0])
    errors = reported["test_error"].to_numpy(dtype=float)
    images = sampling_interval(float(errors.mean()), reported_at.test_images)
    chosen_on_them = bool(others) and not len(fresh)
    corrected = (
        shrunk_means([groups[each]["test_error"].tolist() for each in order], [0.0] * len(order))
        if chosen_on_them
        else None
    )
    last = reported.iloc[-1]
    return Recommendation(
        digest=best,
        genotype=str(last["genotype"]),
        found_by=tuple(
            f"{row['setting']}, seed {row['seed']}"
            for _, row in found[found["genotype_digest"] == best].sort_values(["setting", "seed"]).iterrows()
        ),
        chosen_at=at,
        candidates=len(order),
        valid_accuracy=float(np.mean(accuracies[best])),
        next_best=others[0] if others else "",
        equals_next=bool(others) and math.isclose(ranked[0].value, ranked[1].value, abs_tol=1e-9),
        beats_next=beaten[0] if beaten else math.nan,
        tied=tuple(tied),
        reported_at=reported_at,
        fresh=not chosen_on_them,
        test_error=combined_interval(corrected.estimate(0), images) if corrected else _seed_interval(errors, images),
        corrected=corrected is not None,
        test_error_mean=float(errors.mean()),
        seed_std=float(errors.std(ddof=1)) if len(errors) > 1 else math.nan,
        trainings=len(errors),
        sampling=images,
        test_top5_error=float(reported["test_top5_error"].mean()),
        parameters=None if pd.isna(last["network_parameters"]) else int(last["network_parameters"]),
        multiply_adds=None if pd.isna(last["network_macs"]) else int(last["network_macs"]),
        against_next=_on_the_same_images(groups[best], groups[others[0]]) if others else None,
    )


def _own_sampling(groups: Mapping[str, pd.DataFrame], order: Sequence[str], at: Level) -> list[float]:
    """Sampling variance of the validation accuracies that differs between cells.

    All cells are validated on the same images.  How much of the variance they share is estimated from the test images;
    without predictions all of it counts, which is cautious.
    """
    bits = [_predictions(groups[each]) for each in order]
    images = {each.shape[1] for each in bits}
    share = cell_share(bits) if len(images) == 1 and 0 not in images else math.nan
    means = [float(groups[each]["valid_accuracy"].mean()) for each in order]
    return [sampling_variance(mean, at.validation_images) * (1.0 if math.isnan(share) else share) for mean in means]


def _predictions(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Which test images the networks got right, (networks, images); (0, 0) if that is not known of all."""
    if rows["test_correct"].isna().any() or rows["test_images"].nunique(dropna=False) != 1:
        return np.zeros((0, 0), dtype=bool)
    images = int(rows["test_images"].iloc[0])
    return np.stack([unpacked(each, images) for each in rows["test_correct"]])


def _seed_interval(errors: Floats, images: Estimate) -> Estimate:
    """Mean of the trainings with its interval for seeds (Student's t) and test images; none for a single training."""
    mean = float(errors.mean())
    if len(errors) < 2:
        return Estimate(value=mean)
    half = t_halfwidth(len(errors), float(errors.std(ddof=1)))
    return combined_interval(Estimate(value=mean, low=mean - half, high=mean + half), images)


def _on_the_same_images(first: pd.DataFrame, second: pd.DataFrame) -> CellComparison | None:
    ours, theirs = _predictions(first), _predictions(second)
    if not ours.size or ours.shape[1] != theirs.shape[1]:
        return None
    found = image_difference(ours, theirs)
    return CellComparison(
        first=str(first["genotype_digest"].iloc[0]),
        second=str(second["genotype_digest"].iloc[0]),
        difference=found.difference,
        p_value=found.p_value,
        images=ours.shape[1],
    )
