"""Which settings figures show, and in which colors."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

COLORS = (
    *("#2563a8", "#c2570c", "#2a7d4f", "#7a4bb0", "#b3273d", "#0f7c86", "#8a6a00", "#666666"),
    *("#c94fa0", "#6d9a1a", "#9c6b4e", "#6f7fb8"),  # readable on light and on dark paper
)
"""Colors of the settings on light paper, used cyclically; pages replace them with CSS variables."""
UNFINISHED = "not finished"
"""Setting of searches without a result in figures."""
GRAY = "#8b95a1"
"""Color of UNFINISHED."""
MAX_SETTINGS = 12
"""Settings that a figure shows; the tables list all."""


@dataclass(frozen=True, kw_only=True)
class Palette:
    """The settings of a figure, in `setting_order`, with the numbers of their colors."""

    settings: tuple[str, ...]
    """Names of the settings, at most MAX_SETTINGS."""
    places: Mapping[str, int]
    """Places of all settings in `setting_order`."""
    total: int
    """Settings that could be shown."""

    @classmethod
    def of(cls, names: Iterable[str], places: Mapping[str, int]) -> "Palette":
        """The first MAX_SETTINGS of the settings."""
        ordered = sorted(names, key=places.__getitem__)
        return cls(settings=tuple(ordered[:MAX_SETTINGS]), places=places, total=len(ordered))

    @property
    def series(self) -> dict[str, int]:
        """Name of each setting to the number of its color, the same in all figures while the settings are few."""
        few = len(self.places) <= len(COLORS)
        return {name: self.places[name] if few else index for index, name in enumerate(self.settings)}

    @property
    def cut(self) -> str:
        """Says which settings are shown; empty if all are."""
        if self.total <= MAX_SETTINGS:
            return ""
        return f"Figures show the first {MAX_SETTINGS} of {self.total} settings; the tables list all."

    def numbered(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with a column `series`, the number of the color of its setting; -1 for UNFINISHED."""
        return frame.assign(series=frame["setting"].map({**self.series, UNFINISHED: -1}).astype(int))


def colors_of(frame: pd.DataFrame) -> dict[str, str]:
    """Each setting of a frame with columns `setting` and `series`, and its color, in the order of the series."""
    pairs = frame[["setting", "series"]].drop_duplicates().sort_values(["series", "setting"])
    pairs = pd.concat([pairs[pairs["series"] >= 0], pairs[pairs["series"] < 0]])
    return {
        str(name): COLORS[number % len(COLORS)] if number >= 0 else GRAY
        for name, number in zip(pairs["setting"], pairs["series"], strict=True)
    }
