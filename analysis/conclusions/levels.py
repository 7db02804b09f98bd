"""Levels of training: which retrainings of a study can be compared with each other.

Retrainings are of one level if they are of the same stage and rung and differ in nothing but the cell and the seed.
"""

from dataclasses import dataclass

from analysis.records import Stage


@dataclass(frozen=True, kw_only=True)
class Level:
    """Retrainings that differ in nothing but the cell and the seed, and how their numbers came about."""

    stage: Stage
    """Stage of the queue."""
    rung: int | None
    """Rung of the race, counted from 1; None for other stages."""
    recipe: str
    """Short name of the recipe, such as "cifar10, 600 epochs"."""
    dataset: str
    """Data set of the retrainings."""
    epochs: int
    """Epochs of a training."""
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
        """The level in a sentence after "after", such as "25 epochs on cifar10 (rung 1 of the race)"."""
        stages = {"rung": f"rung {self.rung} of the race", "final": "final training", "published": "published protocol"}
        return f"{self.epochs:,} epochs on {self.dataset} ({stages.get(self.stage, f'recipe {self.recipe}')})"

    @property
    def protocol(self) -> str:
        """How many images were trained on, and what picked the epoch, in one sentence."""
        trained = "an unrecorded number of" if self.training_images is None else f"{self.training_images:,}"
        if self.validation_images:
            picked = f"{self.validation_images:,} validation images picked the epoch"
        else:
            picked = "the last epoch was taken" if self.validation_images == 0 else "what picked the epoch is unknown"
        tested = "the test images" if self.test_images is None else f"{self.test_images:,} test images"
        return f"After {self.name}: trained on {trained} images; {picked}; tested once, on {tested}."
