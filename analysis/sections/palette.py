"""Which settings figures show, and in which colors."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from analysis.drawing.svg import COLORS, color
from analysis.sections.blocks import Legend

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

    def legend(self) -> Legend:
        """The colors of the settings."""
        return Legend(entries=tuple((name, color(n)) for name, n in self.series.items()))
