"""What a page shows, as the query of its address: the page, its stream, its fallback and its downloads share it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, get_args

Tab = Literal["overview", "searches", "trainings", "failures", "report"]
PAGE_SIZES = (25, 50, 100, 200)


@dataclass(frozen=True, kw_only=True)
class View:
    """What a page shows.  Raises ValueError for values that mean nothing."""

    tab: str = "overview"
    """The tab."""
    setting: str = ""
    """Only this setting, in all tables and charts; empty: all."""
    seed: str = ""
    """Only this seed; empty: all."""
    search: str = ""
    """The search whose details are shown, and whose curves stand out."""
    job: str = ""
    """The retraining job whose details are shown."""
    q: str = ""
    """Only rows that contain this text."""
    state: str = ""
    """Only rows in this state."""
    at: str = "result"
    """Which value of a measure counts: result, last, best, or the number of an epoch."""
    sort: str = ""
    """Column that a table is sorted by, with - in front for descending; empty: as is usual for the table."""
    columns: str = ""
    """Columns of the table, separated by commas; empty: the usual ones."""
    page: int = 1
    """Page of the table, counted from 1."""
    size: int = 50
    """Rows of a page."""
    lines: str = ""
    """Whether the curves show single searches: yes, no, or empty for what suits their number."""

    def __post_init__(self) -> None:
        _one_of("tab", self.tab, get_args(Tab))
        _one_of("lines", self.lines, ("", "yes", "no"))
        _one_of("size", self.size, PAGE_SIZES)
        if self.page < 1:
            raise ValueError(f"page is {self.page}, but must be at least 1")
        if self.at not in ("result", "last", "best") and not re.fullmatch("[0-9]{1,6}", self.at):
            raise ValueError(f"at is {self.at!r}, but must be result, last, best or the number of an epoch")
        if self.seed and not re.fullmatch("[0-9]{1,18}", self.seed):
            raise ValueError(f"seed is {self.seed!r}, but must be a number")

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "View":
        """The view of a query; other parameters are ignored."""
        given = {field.name: query[field.name] for field in fields(cls) if query.get(field.name)}
        numbers = {}
        for name in ("page", "size"):
            if name in given:
                if not re.fullmatch("[0-9]{1,9}", given[name]):
                    raise ValueError(f"{name} is {given[name]!r}, but must be a number")
                numbers[name] = int(given.pop(name))
        return cls(**given, **numbers)  # type: ignore[arg-type]

    @property
    def column_names(self) -> list[str]:
        """The chosen columns."""
        return [name for name in self.columns.split(",") if name]


def _one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise ValueError(
            f"{name} is {value!r}, but must be one of {', '.join(str(each) or 'empty' for each in allowed)}"
        )
