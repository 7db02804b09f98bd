"""Storage that fails for a while: try again, and give up with one clear error."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
LONGEST_PAUSE = 5.0
"""Seconds between two tries, at most."""


class StorageError(OSError):
    """The storage failed for longer than one was ready to wait."""


def patiently(
    action: Callable[[], T],
    seconds: float,
    *,
    told: Callable[[str], None] = lambda trouble: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """What `action` returns, tried again for so many seconds while it raises OSError, as on a full disk.

    `told` is told of a trouble once it is over.  What waiting does not mend (a file that is absent, a folder that may
    not be read) is raised at once, and all errors are where `seconds` is 0.  Raises StorageError when time is up.
    """
    started, pause = clock(), 0.1
    first: OSError | None = None

    def over() -> None:
        if first:
            told(f"{_line(first)}; it worked again after {clock() - started:.1f} s")

    while True:
        try:
            result = action()
        except (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError):
            over()
            raise
        except OSError as error:
            if not seconds:
                raise
            if clock() - started + pause > seconds:
                raise StorageError(f"the storage failed for {seconds:g} s: {_line(error)}") from None
            first = first or error
            sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        else:
            over()
            return result


def _line(error: OSError) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
