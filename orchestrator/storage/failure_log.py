"""The table `failures`: what failed while a study ran, whether or not a retry succeeded."""

import uuid
from typing import Literal

from analysis.store import ResultStore
from analysis.tables import FAILURES
from orchestrator.storage.lease import Lease
from orchestrator.storage.provenance import now


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
        """Add the storage errors that a retry survived; while they last, nothing can be written."""
        while self.store.troubles:
            self.record("storage", self.store.root.partition("?")[0], self.store.troubles.pop(0))


def record_last_driver(log: FailureLog, lease: Lease) -> None:
    """Record a driver that died while it held the lease, or that ended because the storage failed."""
    resumed = "this run resumed from what was stored"
    if lease.left_behind:
        log.record("driver", lease.left_behind.who, f"it died while the study ran; {resumed}")
    elif lease.failed_before:
        log.record("driver", lease.failed_before.who, f"it ended because the storage failed; {resumed}")
