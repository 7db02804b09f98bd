"""Levels of training: which retrainings of a study can be compared with each other.

Retrainings are of one level if they are of the same stage and rung and differ in nothing but the cell and the seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd

from analysis.conclusions.older_rows import comparable
from analysis.records import Stage
from analysis.statistics.retrained_cells import RECIPE_COLUMNS, chosen, is_average
from pcdarts.config import OWN_IMAGES

COMPARED: tuple[Stage, ...] = ("rung", "final")
"""Stages that compare settings and choose cells; the others only train cells of the final stage once more."""
MAX_FIELDS = 4
"""Fields of a recipe that its name holds; of more, the number of the others follows."""
ORDER: tuple[Stage, ...] = ("rung", "recipe", "final", "published")
"""Stages in the order of `levels`."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """Retrainings that differ in nothing but the cell and the seed, and how their numbers came about."""

    number: int
    """Value of the column `level` in the rows of `trainings`."""
    stage: Stage
    """Stage of the queue."""
    rung: int | None
    """Rung of the race, counted from 1; None for other stages."""
    recipe: str
    """Name of the recipe, such as "600 epochs on cifar10"; fields in which recipes of a stage differ follow."""
    dataset: str
    """Data set of the retrainings."""
    epochs: int | None
    """Epochs of a training; None if not recorded."""
    cells: int
    """Distinct cells with a completed training."""
    trainings: int
    """Completed trainings."""
    training_images: int | None
    """Images that each network was trained on; None if not recorded."""
    validation_images: int | None
    """Images that picked the epoch; 0 if the last epoch was taken, None if not recorded."""
    test_images: int | None
    """Images of the test set; None if not recorded."""

    @property
    def name(self) -> str:
        """The level in words, such as "25 epochs on cifar10 (rung 1 of the race)"."""
        stages = {"rung": f"rung {self.rung} of the race", "final": "final training", "published": "published protocol"}
        return f"{self.recipe} ({stages.get(self.stage, 'another recipe')})"

    @property
    def protocol(self) -> str:
        """How many images were trained on, and what picked the epoch, in one sentence."""
        trained = (
            "an unrecorded number of images" if self.training_images is None else f"{self.training_images:,} images"
        )
        if self.validation_images:
            picked = f"the epoch picked on {self.validation_images:,} other training images"
        else:
            picked = "the last epoch taken" if self.validation_images == 0 else "how the epoch was picked not recorded"
        tested = "the test images" if self.test_images is None else f"{self.test_images:,} test images"
        return f"{self.name[0].upper()}{self.name[1:]}: trained on {trained}, {picked}, tested on {tested}."


def trainings(retrains: pd.DataFrame) -> pd.DataFrame:
    """One row for each completed training, its last completed attempt, with its level and errors.

    Columns: those of `retrains`, with the accuracies of the chosen weights, and in addition `level` (the number of the
    level), `test_error` and `test_top5_error` (percent).
    """
    done = comparable(retrains[retrains["status"] == "completed"]).sort_values(["job_id", "attempt"])
    done = chosen(done.drop_duplicates("job_id", keep="last"))
    top5 = done["test_top5"].mask(is_average(done), done["ema_test_top5"]).astype(float)
    done = done.assign(test_error=100 - done["test_accuracy"], test_top5_error=100 - top5)
    done = done[np.isfinite(done["test_error"]) & (done["stage"].isin(ORDER))]
    return done.assign(level=done.groupby(["stage", "rung", *RECIPE_COLUMNS], dropna=False, sort=True).ngroup())


def levels(done: pd.DataFrame) -> tuple[Level, ...]:
    """The levels of `trainings`: rungs, recipes, final, published; the more cells and epochs, the later."""
    rows = [group for _, group in done.groupby("level")]
    named = [(group, _names(group.iloc[0], [other.iloc[0] for other in rows])) for group in rows]
    found = [_level(group, name) for group, name in named]
    return tuple(
        sorted(found, key=lambda each: (ORDER.index(each.stage), each.rung or 0, each.cells, each.epochs or 0))
    )


def data_name(row: Mapping[Any, Any]) -> str:
    """What the images of a row are called: the built-in data set, or the folder or file of own images."""
    own = row["dataset"] in OWN_IMAGES and isinstance(row["data_dir"], str)
    return (PurePath(row["data_dir"]).name if own else "") or str(row["dataset"])


def _level(rows: pd.DataFrame, recipe: str) -> Level:
    first = rows.iloc[0]
    return Level(
        number=int(first["level"]),
        stage=first["stage"],
        rung=None if pd.isna(first["rung"]) else int(first["rung"]),
        recipe=recipe,
        dataset=str(first["dataset"]),
        epochs=None if pd.isna(first["epochs"]) else int(first["epochs"]),
        cells=int(rows["genotype_digest"].nunique()),
        trainings=len(rows),
        training_images=_recorded(rows["training_images"]),
        validation_images=0 if first["validation_portion"] == 0 else _recorded(rows["validation_images"]),
        test_images=_recorded(rows["test_images"]),
    )


def _names(row: Mapping[Any, Any], rows: Sequence[Mapping[Any, Any]]) -> str:
    """Data set and epochs of a recipe, and the fields in which such recipes of the same stage differ.

    Another recipe is also named by the fields in which it differs from that of the final training.
    """
    same = ("stage", "rung", "dataset", "epochs")
    alike = [other for other in rows if all(_text(other[name]) == _text(row[name]) for name in same)]
    if row["stage"] == "recipe":
        alike += [other for other in rows if other["stage"] == "final"]
    varied = [name for name in RECIPE_COLUMNS if len({_text(other[name]) for other in alike}) > 1 and name not in same]
    epochs = "an unrecorded number of" if pd.isna(row["epochs"]) else f"{row['epochs']:,.0f}"
    details = "".join(f", {name} {_text(row[name])}" for name in varied[:MAX_FIELDS])
    if len(varied) > MAX_FIELDS:
        more = len(varied) - MAX_FIELDS
        details += f" and {more} other field{'' if more == 1 else 's'}"
    return f"{epochs} epoch{'' if epochs == '1' else 's'} on {data_name(row)}{details}"


def _text(value: Any) -> str:
    """A value of a recipe; numbers are floats where another row of the column is missing."""
    if pd.isna(value):
        return "unknown"
    return f"{value:g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def _recorded(images: "pd.Series[Any]") -> int | None:
    known = images.dropna()
    return int(known.iloc[0]) if len(known) else None
