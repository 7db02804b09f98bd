"""Storage that fails for a while: retry, and give up with one clear error."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
LONGEST_PAUSE = 5.0
"""Longest time between two tries, seconds."""


class StorageError(OSError):
    """The study's storage failed, and waiting did not help."""

    remedy = "progress is saved, rerun this command to resume"
    """What a user can do."""


def patiently(
    action: Callable[[], T],
    seconds: float,
    *,
    on_recovery: Callable[[str], None] = lambda error: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Return what `action` returns, retrying for `seconds` while it raises OSError, as on a full disk.

    `on_recovery` is called with an error that a retry survived.  Raises FileNotFoundError at once, and StorageError
    once time is up, or at once for what waiting does not mend, such as a missing permission.
    """
    started, pause = clock(), 0.1
    first: OSError | None = None

    def over() -> None:
        if first:
            on_recovery(f"{first_line(first)}; it worked again after {clock() - started:.1f} s")

    while True:
        try:
            result = action()
        except FileNotFoundError:
            over()
            raise
        except (PermissionError, NotADirectoryError, IsADirectoryError) as error:
            raise StorageError(f"the storage failed: {first_line(error)}") from None
        except OSError as error:
            if clock() - started + pause > seconds:
                lasting = f" for {seconds:g} s" if seconds else ""
                raise StorageError(f"the storage failed{lasting}: {first_line(error)}") from None
            first = first or error
            sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        else:
            over()
            return result


def first_line(error: Exception) -> str:
    """The first line of an error's message, at most 300 characters; the error's type if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
