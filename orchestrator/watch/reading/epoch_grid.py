"""The epochs of all searches as arrays of shape (searches, epochs), in which NaN stands for what was not measured."""

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd

MEASURES = (
    "valid_accuracy",
    "train_accuracy",
    "valid_loss",
    "train_loss",
    "alpha_entropy_normal",
    "alpha_entropy_reduce",
    "dominant_eigenvalue",
    "skip_connections_normal",
    "skip_connections_reduce",
    "seconds",
)
"""Columns of the table `epochs` that are kept."""
BEST_BY = "valid_accuracy"
"""The best epoch of a search or training is that with the highest value of this measure."""
Array = np.ndarray


class EpochGrid:
    """Measures by search and epoch; grows with both."""

    def __init__(self, measures: Sequence[str] = MEASURES, key: str = "search_id") -> None:
        self.measures, self.key = tuple(measures), key
        self.place: dict[str, int] = {}
        """Row of each search."""
        self._values = {name: np.full((0, 0), np.nan, np.float32) for name in measures}
        self._done = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self.place)

    @property
    def epochs(self) -> int:
        """Epochs of the longest search."""
        return int(self._done[: len(self)].max(initial=0))

    def update(self, rows: pd.DataFrame) -> None:
        """Replace all epochs of the searches in these rows of the table `epochs`."""
        searches = list(rows[self.key].unique())
        for search in searches:
            self.place.setdefault(search, len(self.place))
        self._grow(len(self.place), int(rows["epoch"].max()) + 1 if len(rows) else 0)
        cleared = [self.place[search] for search in searches]
        self._done[cleared] = 0
        index = rows[self.key].map(self.place).to_numpy(np.int64), rows["epoch"].to_numpy(np.int64)
        for name, values in self._values.items():
            values[cleared] = np.nan
            values[index] = rows[name].to_numpy(np.float32, na_value=np.nan)
        np.maximum.at(self._done, index[0], index[1] + 1)

    def places(self, searches: Sequence[str]) -> Array:
        """Rows of some searches; -1 for those without epochs."""
        return np.array([self.place.get(search, -1) for search in searches], np.int64)

    def values(self, measure: str, places: Array) -> Array:
        """A measure of the searches at some `places`, shape (searches, epochs)."""
        grid = self._values[measure][: len(self), : self.epochs]
        found = np.full((len(places), self.epochs), np.nan, np.float32)
        known = places >= 0
        found[known] = grid[places[known]]
        return found

    def done(self, places: Array) -> Array:
        """Epochs that each of these searches has reported."""
        return np.where(places >= 0, self._done[places] if len(self) else 0, 0)

    def _grow(self, searches: int, epochs: int) -> None:
        rows, columns = self._values[self.measures[0]].shape
        if searches <= rows and epochs <= columns:
            return
        shape = (max(rows, searches + searches // 4), max(columns, epochs))
        for name, old in self._values.items():
            new = np.full(shape, np.nan, np.float32)
            new[:rows, :columns] = old
            self._values[name] = new
        self._done = np.concatenate([self._done, np.zeros(shape[0] - len(self._done), np.int64)])


def last(grid: Array) -> Array:
    """The last measured value of each row; NaN if there is none."""
    return _at(grid, grid.shape[1] - 1 - np.argmax(np.isfinite(grid)[:, ::-1], axis=1)) if grid.size else _nothing(grid)


def best_epochs(grid: Array) -> Array:
    """The epoch with the highest value of each row, the first of equal ones; -1 if there is none."""
    if not grid.size:
        return np.full(len(grid), -1)
    epochs = np.argmax(np.where(np.isfinite(grid), grid, -np.inf), axis=1)
    return np.where(np.isfinite(grid).any(axis=1), epochs, -1)


def at_each(grid: Array, epochs: Array) -> Array:
    """The value of each row after an epoch of its own; NaN for epoch -1 and where it was not measured."""
    return np.where(epochs >= 0, _at(grid, epochs), np.nan) if grid.size else _nothing(grid)


def at(grid: Array, epoch: int) -> Array:
    """The values measured after an epoch; NaN where it was not measured."""
    return grid[:, epoch].astype(float) if 0 <= epoch < grid.shape[1] else _nothing(grid)


def medians(grid: Array) -> Array:
    """Median of each row over what was measured; NaN if there is nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # rows without values
        return np.nanmedian(grid, axis=1).astype(float) if grid.size else _nothing(grid)


def _at(grid: Array, epochs: Array) -> Array:
    return grid[np.arange(len(grid)), epochs].astype(float)


def _nothing(grid: Array) -> Array:
    return np.full(len(grid), np.nan)
