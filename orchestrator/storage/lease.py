"""A lease, which lets one process at a time drive a study or dispatch its queue; it expires unless renewed.

Every lease has a term, one more than the last.  Events carry it, so that those of a process that lost the lease can be
ignored.  Guarantees:

- On a local or shared disk with hard links, the file of a term is created once: of two processes one gets it.
- On object stores pyarrow cannot create a file conditionally.  Each process writes its own claim, waits `settle`
  seconds, and the lowest id wins, unless another process holds the term already.  That is safe as long as no process
  pauses for longer than `settle` between two of these steps, and listings show what was written (S3's do).  If two hold
  the lease nevertheless, one notices at its next renewal and stops; results are stored under the job's name, so a job
  that ran twice has one row.
- Clocks of different machines must agree to well within the time-out.  A process that dies on this machine is noticed
  at once.
"""

import contextlib
import dataclasses
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal

from analysis.storage.study_files import StudyFiles, join
from orchestrator.options import RunOptions


class LeaseError(RuntimeError):
    """Another process works on this study or queue."""


class LeaseHeldError(LeaseError):
    """Another process holds the lease."""


class LeaseLostError(LeaseError):
    """The lease could not be renewed in time, or another process took it over."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A lease, or a claim to one."""

    term: int
    """One more than that of the lease before."""
    id: str
    """Unique to the process that claims it."""
    who: str
    """Host and process, for people."""
    machine: str
    """Boot id and process namespace of the machine; empty if unknown."""
    process: str
    """Process id and start time within the machine."""
    since: float
    """When it was acquired, seconds since 1970."""
    renewed_at: float
    """When it was last renewed, seconds since 1970."""
    timeout: float
    """Seconds after which it expires unless renewed."""
    state: Literal["claimed", "held", "released"]
    """A `claimed` one counts only if nobody holds the term."""

    def seconds_left(self, now: float) -> float:
        """Seconds until it expires."""
        return self.renewed_at + self.timeout - now


def holder(claims: Iterable[Claim], now: float, is_dead: Callable[[Claim], bool]) -> Claim | None:
    """The holder: of the highest term, the lowest id among those that hold it, else among those that claim it."""
    claims = list(claims)
    top = max((claim.term for claim in claims), default=0)
    live = [c for c in claims if c.term == top and c.state != "released" and c.seconds_left(now) > 0 and not is_dead(c)]
    rivals = [claim for claim in live if claim.state == "held"] or live
    return min(rivals, key=lambda claim: claim.id, default=None)


class Lease:
    """The right to work on a queue or a study.  `with lease:` acquires it, renews it from a thread, and releases it."""

    def __init__(
        self,
        root: str,
        *,
        what: str = "queue",
        timeout: float = 60.0,
        settle: float = 2.0,
        least_term: int = 0,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        is_dead: "Callable[[Claim], bool] | None" = None,
    ) -> None:
        self.folder, self.what, self.timeout, self.settle = StudyFiles(root), what, timeout, settle
        self.least_term = least_term
        """The next term is higher than this one, whatever claims are left."""
        self.clock, self.sleep, self.is_dead = clock, sleep, is_dead or process_is_dead
        self.id = uuid.uuid4().hex
        self.claim: Claim | None = None
        self.left_behind: Claim | None = None
        """The claim of an earlier holder that died, as it did not release the lease."""
        self._name = ""
        self._lost = ""
        self._lock = threading.RLock()  # the threads that renew and check may both find it expired
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def term(self) -> int:
        """Number of this lease; 0 before it is held."""
        return self.claim.term if self.claim else 0

    def acquire(self) -> None:
        """Take the lease; raises LeaseHeldError, which names the holder, if another process has it."""
        claims = self._claims()
        self._refuse(holder(claims.values(), self.clock(), self.is_dead))
        term = max([self.least_term, *(claim.term for claim in claims.values())]) + 1
        now = self.clock()
        claim = Claim(
            term=term,
            id=self.id,
            who=f"process {os.getpid()} on {socket.gethostname()}",
            machine=machine(),
            process=process(os.getpid()),
            since=now,
            renewed_at=now,
            timeout=self.timeout,
            state="held",
        )
        name = f"{term:08d}.json"
        created = self.folder.create_text(name, _text(claim))
        if created is None:
            name = f"{term:08d}-{self.id}.json"
            self.folder.write_text(name, _text(dataclasses.replace(claim, state="claimed")))
            self.sleep(self.settle)
        after = self._claims()
        winner = holder(after.values(), self.clock(), self.is_dead)
        if created is False or winner is None or winner.id != self.id:
            if created is not False:
                self.folder.delete_text(name)
            self._refuse(winner)
            raise LeaseHeldError(
                f"another process has just taken this {self.what}; wait for it with --set run.wait=true"
            )
        if created is None:
            claim = dataclasses.replace(claim, renewed_at=self.clock())
            self.folder.write_text(name, _text(claim))
        self.claim, self._name, self._lost = claim, name, ""
        dead = (other for other in claims.values() if other.state == "held" and other.id != self.id)
        self.left_behind = max(dead, key=lambda other: other.term, default=None)
        for old, other in after.items():
            if other.term < term:
                self.folder.delete_text(old)

    def wait(self, poll: float = 5.0, say: Callable[[str], None] = print) -> None:
        """Take the lease once other processes have released it; checks every `poll` seconds."""
        announced = False
        while True:
            try:
                self.acquire()
                return
            except LeaseHeldError as error:
                if not announced:
                    say(f"waiting: {error}")
                    announced = True
                self.sleep(poll)

    def renew(self) -> None:
        """Renew the lease; raises LeaseLostError if another process has a later one.

        A lease that expired, as on a computer that slept, is acquired again if nobody took it meanwhile.
        """
        with self._lock:
            self._renew()

    def _renew(self) -> None:
        assert self.claim, "acquire comes first"
        now = self.clock()
        if self.claim.seconds_left(now) <= 0:
            later = [claim for claim in self._claims().values() if claim.term > self.term and claim.id != self.id]
            if later:
                self._lose(f"{later[0].who} took over")
            try:
                self.acquire()
            except LeaseHeldError as error:
                self._lose(str(error))
            return
        renewed = dataclasses.replace(self.claim, renewed_at=now)
        winner = holder([*(c for c in self._claims().values() if c.id != self.id), renewed], now, self.is_dead)
        if winner is None or winner.id != self.id:
            self._lose(f"{winner.who if winner else 'another process'} took over")
        self.folder.write_text(self._name, _text(renewed))
        self.claim = renewed

    def check(self) -> None:
        """Raise LeaseLostError if the lease is lost: work must stop."""
        with self._lock:
            if self._lost:
                self._lose(self._lost)
            if self.claim and self.claim.seconds_left(self.clock()) <= 0:
                try:
                    self._renew()
                except OSError:
                    self._lose("it could not be renewed in time")

    def release(self) -> None:
        """Release the lease, so that the next process need not wait."""
        if self.claim and not self._lost:
            with contextlib.suppress(OSError):  # it expires by itself
                self.folder.write_text(self._name, _text(dataclasses.replace(self.claim, state="released")))
        self.claim = None

    def __enter__(self) -> "Lease":
        if not self.claim:
            self.acquire()
        self._stop.clear()
        self._thread = threading.Thread(target=self._keep, name=f"{self.what} lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()
        self.release()

    def _keep(self) -> None:
        while not self._stop.wait(self.timeout / 4):
            try:
                self.renew()
            except LeaseLostError:
                return  # `check` raises it in the thread that works
            except OSError:
                continue  # the storage may come back before the lease expires

    def _lose(self, reason: str) -> None:
        self._lost = reason
        raise LeaseLostError(
            f"this process lost the lease of the {self.what}: {reason}; progress is saved; rerun this command to resume"
        )

    def _refuse(self, other: Claim | None) -> None:
        if other is not None and other.id != self.id:
            since = datetime.fromtimestamp(other.since, UTC).isoformat(timespec="seconds")
            left = max(0, round(other.seconds_left(self.clock())))
            raise LeaseHeldError(
                f"another process, {other.who}, has been working on this {self.what} since {since}; "
                f"its lease expires in {left} s unless renewed; wait for it with --set run.wait=true"
            )

    def _claims(self) -> dict[str, Claim]:
        found = {}
        for name in self.folder.names():
            text = self.folder.read_text(name)
            if text is not None:  # else deleted since it was listed
                try:
                    found[name] = Claim(**json.loads(text))
                except (ValueError, TypeError):
                    raise ValueError(
                        f"lease {self.folder.root}/{name} is broken; remove it if no other process works on this study"
                    ) from None
        return found


def open_lease(root: str, options: RunOptions, what: Literal["queue", "study"] = "queue", least_term: int = 0) -> Lease:
    """The lease of a study or of its queue; its term is above `least_term`, the last one that an event names.

    It expires after at least twice `storage_patience`, so that waiting for the storage does not lose it.
    """
    timeout = max(options.lease_timeout, 2 * options.storage_patience)
    return Lease(join(root, f"{what}-lease"), what=what, timeout=timeout, least_term=least_term)


def _text(claim: Claim) -> str:
    return json.dumps(dataclasses.asdict(claim))


def machine() -> str:
    """Boot id and process namespace, within which a process id means one process; empty if unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def process(pid: int) -> str:
    """Id and start time of a process of this machine; empty if it does not run."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else f"{pid}/{fields[19]}"


def process_is_dead(claim: Claim) -> bool:
    """Whether the claim is of this machine and its process has ended; False if that is unknown."""
    if not claim.machine or claim.machine != machine():
        return False
    return process(int(claim.process.split("/")[0])) != claim.process
