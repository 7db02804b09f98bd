"""SIGTERM and SIGHUP end a command as Ctrl-C does, and a second signal ends it at once.

Schedulers end a driver that way: Kubernetes, Slurm, and clouds that take back a spot machine.
"""

import contextlib
import os
import signal
import stat
import threading
import time
from collections.abc import Iterator
from types import FrameType

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes after Ctrl-C, and after SIGTERM or SIGHUP."""
SAME_SECONDS = 0.3
"""Signals that come closer to the first are part of it: `timeout` and some shells send two."""


class Terminated(KeyboardInterrupt):
    """The process got SIGTERM or SIGHUP."""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt at SIGINT and Terminated at SIGTERM and SIGHUP within this context.

    A later signal ends the process without any cleaning up.  Signals that are ignored, as by `nohup`, stay so.
    """
    first: list[float] = []

    def handle(number: int, frame: FrameType | None) -> None:
        code = INTERRUPTED if number == signal.SIGINT else TERMINATED
        if first:
            if time.monotonic() - first[0] > SAME_SECONDS:
                os._exit(code)
            return
        first.append(time.monotonic())
        if number == signal.SIGHUP:
            _leave_terminal()
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        if not first:  # else the process is about to end, and a second signal ends it at once
            for number, handler in before.items():
                signal.signal(number, handler)


def _leave_terminal() -> None:
    """Let output go nowhere if it goes to a terminal that is gone, where writing fails."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
