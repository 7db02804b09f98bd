"""Published results, for orientation next to the results of a study."""

import math
from dataclasses import dataclass, replace

from analysis.conclusions.levels import Level


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """A published result."""

    method: str
    """Method, with its variant."""
    dataset: str
    """Data set of the test error."""
    test_error: float
    """Test error (ImageNet: top-1, on the validation set); percent."""
    deviation: float = math.nan
    """Published deviation; NaN if none was published."""
    top5_error: float = math.nan
    """Top-5 error; NaN if none was published."""
    parameters: float = math.nan
    """Parameters; millions."""
    gpu_days: float = math.nan
    """Published search cost, without training the cell; GPU-days."""
    source: str
    """Paper."""
    differs: str = ""
    """In what the protocol of the papers differs from the level it is shown with; empty if it does not."""


CIFAR, IMAGENET = (600, 50_000), (250, 1_281_167)
"""Epochs and training images of the papers: all images, the last epoch."""
_DARTS = "Liu et al., DARTS, ICLR 2019"
_ICLR = "Xu et al., PC-DARTS, ICLR 2020"
_JOURNAL = "Xu et al., IEEE TPAMI 43(9), 2021"
PUBLISHED_ROWS = (
    PublishedRow(
        method="random search",
        dataset="cifar10",
        test_error=3.29,
        deviation=0.15,
        parameters=3.2,
        gpu_days=4,
        source=_DARTS,
    ),
    PublishedRow(
        method="DARTS, first order",
        dataset="cifar10",
        test_error=3.00,
        deviation=0.14,
        parameters=3.3,
        gpu_days=1.5,
        source=_DARTS,
    ),
    PublishedRow(
        method="DARTS, second order",
        dataset="cifar10",
        test_error=2.76,
        deviation=0.09,
        parameters=3.3,
        gpu_days=4,
        source=_DARTS,
    ),
    PublishedRow(
        method="PC-DARTS",
        dataset="cifar10",
        test_error=2.57,
        deviation=0.07,
        parameters=3.6,
        gpu_days=0.1,
        source=_ICLR,
    ),
    PublishedRow(method="PC-DARTS, journal", dataset="cifar10", test_error=2.55, gpu_days=0.07, source=_JOURNAL),
    PublishedRow(
        method="DARTS, second order, searched on CIFAR-10",
        dataset="imagenet",
        test_error=26.7,
        top5_error=8.7,
        parameters=4.7,
        gpu_days=4,
        source=_DARTS,
    ),
    PublishedRow(
        method="PC-DARTS, searched on ImageNet",
        dataset="imagenet",
        test_error=24.2,
        top5_error=7.3,
        parameters=5.3,
        gpu_days=3.8,
        source=_ICLR,
    ),
    PublishedRow(
        method="PC-DARTS, journal, searched on ImageNet",
        dataset="imagenet",
        test_error=24.1,
        gpu_days=2.8,
        source=_JOURNAL,
    ),
)
"""Published test errors of chosen cells: of the best of several searches, so they do not estimate an average search."""


def published_rows(level: Level | None) -> tuple[PublishedRow, ...]:
    """The published results on the data set of a level, with what differs in their protocol."""
    if level is None:
        return ()
    return tuple(replace(row, differs=_differences(level)) for row in PUBLISHED_ROWS if row.dataset == level.dataset)


def _differences(level: Level) -> str:
    epochs, images = CIFAR if level.dataset == "cifar10" else IMAGENET
    found = []
    if level.epochs != epochs:
        found.append(f"{epochs} epochs, here {'unknown' if level.epochs is None else f'{level.epochs:,}'}")
    if level.validation_images != 0:
        here = "an unknown number" if level.training_images is None else f"{level.training_images:,}"
        picked = "picked in an unknown way" if level.validation_images is None else "picked on validation images"
        found.append(f"trained on all {images:,} images, here on {here}; last epoch, here {picked}")
    return "; ".join(found)
