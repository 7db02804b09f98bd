"""The table `failures`: what went wrong while a study ran, whether or not it was mended."""

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from analysis.store import ResultStore
from analysis.tables import FAILURES
from orchestrator.provenance import now

RUNNING = "running.txt"
"""Lies in the study's folder while a driver works there; found at the start, it was left by one that died."""


class FailureLog:
    """Adds rows to the table; they are never changed."""

    def __init__(self, study: str, store: ResultStore) -> None:
        self.study, self.store = study, store

    def record(self, kind: Literal["trial", "storage", "driver"], subject: str, error: str) -> None:
        """Add a row."""
        failure_id = uuid.uuid4().hex[:16]
        row = FAILURES.row(
            failure_id=failure_id, study=self.study, happened_at=now(), kind=kind, subject=subject, error=error
        )
        self.store.append(FAILURES, [row], failure_id)

    def flush(self) -> None:
        """Add what the store met with: while it lasts, nothing can be written."""
        while self.store.troubles:
            self.record("storage", self.store.root.partition("?")[0], self.store.troubles.pop(0))


@contextmanager
def noticed(log: FailureLog) -> Iterator[None]:
    """Do the work of a driver; one that died before is recorded, and if this one dies, the next will record it."""
    found = log.store.read_text(RUNNING)
    if found is not None:
        log.record("driver", found.strip(), "the driver ended in the middle; this run goes on from what was stored")
    log.store.write_text(RUNNING, f"process {os.getpid()} on {socket.gethostname()}, since {now()}")
    try:
        yield
    except (ValueError, KeyboardInterrupt):  # it says why it ends
        log.store.delete_text(RUNNING)
        raise
    log.store.delete_text(RUNNING)
    log.flush()
