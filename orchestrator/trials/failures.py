"""Why a trial failed, read from the text of its error: the only module that knows the messages of Ray and PyTorch."""

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["out of memory", "memory monitor", "process lost", "other code", "error"]

OUT_OF_MEMORY = ("MemoryError", "out of memory", "can't allocate memory", "ALLOC_FAILED", "unable to find an engine")
"""Parts of the errors of Python, PyTorch, NumPy, cuBLAS and cuDNN for a failed allocation."""
MEMORY_MONITOR = "running low on memory"
"""Part of Ray's error for a process that its memory monitor killed."""
PROCESS_LOST = "The actor died unexpectedly"
"""Start of Ray's error for a process that ended, alone or with its node; the last line has the reason."""
OTHER_CODE = "OtherCodeError"
"""Part of the error of a trial that would run other code than its driver."""
MOST_CHARACTERS = 500
_HEADER = re.compile(r"^Failure # \d+ .*\n", re.MULTILINE)
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_ERROR = re.compile(r"[\w.]+(Error|Exception|Interrupt|Exit)\b")


@dataclass(frozen=True, kw_only=True)
class TrialFailure:
    """Why a trial failed."""

    kind: Kind
    """`out of memory`: an allocation failed; `memory monitor`: Ray killed the process to save its node; `process lost`:
    it ended, or its node did; `other code`: it would have run other code than the driver; `error`: anything else."""
    message: str
    """The error on one line of at most 500 characters."""
    traceback_text: str
    """The full text."""

    @property
    def out_of_memory(self) -> bool:
        """Whether the trial may succeed with more memory."""
        return self.kind in ("out of memory", "memory monitor")


def classify(text: str) -> TrialFailure:
    """The failure that a text describes: a traceback, or the file to which Ray Tune writes a trial's errors."""
    text = _HEADER.split(_COLOR.sub("", text))[-1]
    kind: Kind = "error"
    message = _error_line(text)
    if MEMORY_MONITOR in text:
        kind, message = (
            "memory monitor",
            "OutOfMemoryError: killed by Ray's memory monitor, as its node ran out of memory",
        )
    elif PROCESS_LOST in text:
        kind, message = "process lost", f"process lost: {_last_line(text).partition(' Some common causes')[0]}"
    elif OTHER_CODE in message:
        kind = "other code"
    elif any(sign in message for sign in OUT_OF_MEMORY):
        kind = "out of memory"
    return TrialFailure(kind=kind, message=message[:MOST_CHARACTERS], traceback_text=text)


def _error_line(text: str) -> str:
    """The line with the type and message of the error that a traceback ends in, else its last line."""
    named = [line.strip() for line in text.splitlines() if _ERROR.match(line.strip())]
    return (named[-1] if named else _last_line(text)).removeprefix("ray.exceptions.")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "unknown error"
