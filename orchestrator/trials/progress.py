"""The progress display of a study: one changing line on a terminal, elsewhere a line every 30 seconds.

Elsewhere, the first epoch has a line of its own.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

INTERVAL = 30.0
"""Seconds between lines if the output is not a terminal."""


class Progress:
    """Counts trials and epochs, and shows them.  Use as a context manager."""

    def __init__(
        self,
        what: str,
        epochs: dict[str, int],
        *,
        done: int = 0,
        failed: int = 0,
        best: float | None = None,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what, self.epochs, self.clock = what, epochs, clock
        self.total = len(epochs) + done + failed
        self.done, self.failed, self.best = done, failed, best
        self.reached: dict[str, int] = {}
        self._ended: set[str] = set()
        self.console = console or Console()
        self.started_at, self.last_line = clock(), float("-inf")
        self._live = Live(console=self.console, refresh_per_second=2) if self.console.is_terminal else None

    def __enter__(self) -> "Progress":
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.show(force=True)
        if self._live:
            self._live.stop()

    def expect(self, key: str, epochs: int) -> None:
        """Expect a trial of this many epochs; one that is known and has not ended stays as it is."""
        if key not in self.epochs or key in self._ended:
            self.epochs[key] = epochs
            self.total += 1
            self._ended.discard(key)
            self.reached.pop(key, None)

    def forget(self, key: str) -> None:
        """A trial will not run, or not to its end."""
        if self.epochs.pop(key, None) is not None:
            self.total -= 1
            self.reached.pop(key, None)
            self.show()

    def start(self, key: str) -> None:
        """A trial starts."""
        self.reached.setdefault(key, 0)
        self.show()

    def advance(self, key: str, epochs: int, accuracy: float | None) -> None:
        """A trial has trained `epochs` epochs; `accuracy` is its validation accuracy in percent, if measured."""
        first = not any(self.reached.values())
        self.reached[key] = epochs
        if accuracy is not None:
            self.best = accuracy if self.best is None else max(self.best, accuracy)
        self.show(force=first)

    def finish(self, key: str, failed: bool = False) -> None:
        """A trial ended."""
        self.reached[key] = self.epochs[key]
        self._ended.add(key)
        if failed:
            self.failed += 1
        else:
            self.done += 1
        self.show()

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self.console.print(Text(text), soft_wrap=True)

    def line(self) -> str:
        """The state in one line."""
        running = len(self.reached) + (self.total - len(self.epochs)) - self.done - self.failed
        parts = [
            f"{self.what}: {self.done} done, {running} running, {self.failed} failed of {self.total}",
            f"epoch {sum(self.reached.values())} of {sum(self.epochs.values())} in all",
        ]
        if self.best is not None:
            kind = "one-shot" if self.what == "searches" else "validation"
            parts.append(f"{kind} accuracy up to {self.best:.2f} %")
        left = self._seconds_left()
        if left is not None:
            parts.append(f"{timedelta(seconds=round(left))} left")
        return " | ".join(parts)

    def show(self, force: bool = False) -> None:
        """Draw the line if it is due, or at once with `force`."""
        if self._live:
            self._live.update(Text(self.line(), overflow="ellipsis"))
        elif force or self.clock() - self.last_line >= INTERVAL:
            self.last_line = self.clock()
            self.console.print(Text(self.line()), soft_wrap=True)

    def _seconds_left(self) -> float | None:
        reached, total = sum(self.reached.values()), sum(self.epochs.values())
        if not reached or reached == total:
            return None
        return (self.clock() - self.started_at) / reached * (total - reached)


@contextmanager
def image_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, which vanishes at the end; it takes the numbers of files looked at and of all files."""
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
