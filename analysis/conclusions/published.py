"""Published results, for orientation next to the results of a study."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from analysis.conclusions.levels import Level
from pcdarts import presets
from pcdarts.config import RetrainConfig


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
    """In what the retrainings it is shown with differ from `OFFICIAL`; empty if in nothing."""


OFFICIAL = {
    "cifar10": replace(presets.retrain_cifar10(), validation_portion=0.0),
    "imagenet": replace(presets.retrain_imagenet(), validation_portion=0.0),
}
"""Retraining in the official code of PC-DARTS: all training images, the last epoch.  That of DARTS has a drop path of
0.2 on CIFAR-10, and 0.1 as learning rate for batches of 128 on ImageNet."""
PROTOCOL = (
    "epochs",
    "validation_portion",
    "channels",
    "layers",
    "batch_size",
    "learning_rate",
    "schedule",
    "weight_decay",
    "auxiliary_weight",
    "drop_path",
    "label_smoothing",
    "cutout",
    "ema_decay",
    "image_size",
    "max_images",
)
"""Fields that are compared with OFFICIAL."""
MAX_NAMED = 4
"""Fields that are named; of more, the number of the others follows."""
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


def published_rows(level: Level | None, done: pd.DataFrame) -> tuple[PublishedRow, ...]:
    """The published results on the data set of a level, with what differs in its retrainings; `done`: `trainings`."""
    if level is None or level.dataset not in OFFICIAL:
        return ()
    first = done[done["level"] == level.number].iloc[0]
    differs = _differences(first.to_dict(), OFFICIAL[level.dataset])
    return tuple(replace(row, differs=differs) for row in PUBLISHED_ROWS if row.dataset == level.dataset)


def _differences(row: Mapping[Any, Any], official: RetrainConfig) -> str:
    found, unknown = [], []
    for name in PROTOCOL:
        value, theirs = row[name], getattr(official, name)
        if pd.isna(value):
            unknown.append(name)
        elif name == "validation_portion" and value:
            found.append(
                f"{100 * value:g} % of the training images only pick the epoch (papers: all trained on, last epoch)"
            )
        elif value != theirs:
            found.append(f"{name} {value:g} (papers: {theirs:g})" if name != "schedule" else f"{name} {value}")
    if unknown:
        found.append(f"unknown: {_named(unknown)}")
    return _named(found) if len(found) > MAX_NAMED else "; ".join(found)


def _named(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
