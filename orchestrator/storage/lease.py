"""A lease, which lets one process at a time drive a study or dispatch its queue.

Every lease has a term, one more than the last.  Its files are in one folder:

    00000007.json       who has term 7: created once (`StudyFiles.create_text`) and never changed
    00000007.renewed    rewritten by that process every quarter of the time-out
    00000007.released   that process is done
    00000007.failed     before that: because the storage failed; both are empty, as a full disk takes empty files

Whoever creates the file of term 8 has taken over from term 7: of several processes the storage lets one do so.  That is
what safety rests on; no clock plays a part.  The process of term 7 learns of it by `confirm`, which lists the folder
and which the holder has called before every change of the study's files (`StudyFiles.guarded`).  A process may be
stopped between this and the change, so one change that was in flight may still land: docs/queue.md says what of it
counts.

When to take over is a matter of politeness: once the term was released, its process is dead, or it was not renewed
within the time-out.  The time that has passed is the difference between two stamps of the storage, so that the clocks
of two machines are never compared.  If it is judged wrongly, the holder stops with one line, and nothing is lost.
"""

import contextlib
import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal

from analysis.storage.storage_retry import StorageError
from analysis.storage.study_files import StudyFiles, join
from orchestrator.options import RunOptions

CLOCK = "clock"
"""A file that is written to learn the time by the clock of the storage."""


class LeaseError(RuntimeError):
    """Another process works on this study or queue."""


class LeaseHeldError(LeaseError):
    """Another process holds the lease."""


class LeaseLostError(LeaseError):
    """Another process took the lease over."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """Who has a term of a lease."""

    term: int
    """One more than that of the lease before."""
    id: str
    """Unique to the Lease that took it."""
    who: str
    """Host and process, for people."""
    machine: str
    """Boot id and process namespace of the machine; empty if unknown."""
    process: str
    """Process id and start time within the machine."""
    since: float
    """When it was acquired, seconds since 1970, for people."""
    timeout: float
    """Seconds after which it expires unless renewed."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The term that is held."""

    term: Term
    """The term."""
    seconds_left: float
    """Seconds until it expires unless renewed."""


class LeaseReader:
    """Reads who holds a lease.  The file of a term is read once: it never changes."""

    def __init__(self, files: StudyFiles, is_dead: Callable[[Term], bool] | None = None) -> None:
        self.files, self._is_dead = files, is_dead or process_is_dead
        self.last = 0
        """Number of the last term at the last look; 0 if there was none."""
        self.unreleased: Term | None = None
        """The last term at the last look, unless it was released; its process may be dead."""
        self.failed: Term | None = None
        """The last term at the last look, if it was released because the storage failed."""
        self._read: dict[str, Term] = {}

    def look(self, now: Callable[[], float]) -> Holder | None:
        """The last term, unless it was released, its process is dead, or it expired.

        `now` gives the time by the clock that stamps the files.
        """
        stamps = self.files.file_stamps()
        self.last = _last(stamps)
        is_released = _name(self.last, "released") in stamps
        self.unreleased = term = None if is_released else self.term(self.last)
        self.failed = self.term(self.last) if is_released and _name(self.last, "failed") in stamps else None
        if term is None or self._is_dead(term):
            return None
        renewed = stamps.get(_name(term.term, "renewed")) or stamps[_name(term.term)]
        left = renewed.written_at + term.timeout - now()
        return Holder(term=term, seconds_left=left) if left > 0 else None

    def term(self, number: int) -> Term | None:
        """A term; None if its file is missing, or says, as those of earlier versions do, that it was released.

        Raises ValueError if it is broken.
        """
        name = _name(number)
        if name not in self._read:
            text = self.files.read_text(name)
            if text is None:
                return None
            try:
                plain = json.loads(text)
                if plain.get("state") == "released":
                    return None
                self._read[name] = Term(**{field.name: plain[field.name] for field in fields(Term)})
            except (ValueError, TypeError, KeyError):
                raise ValueError(
                    f"lease {self.files.root}/{name} is broken; remove it if no other process works on this study"
                ) from None
        return self._read[name]


class Lease:
    """The right to work on a queue or a study.  `with lease:` acquires it, renews it from a thread, and releases it."""

    def __init__(
        self,
        root: str,
        *,
        what: str = "queue",
        timeout: float = 60.0,
        least_term: int = 0,
        sleep: Callable[[float], None] = time.sleep,
        is_dead: Callable[[Term], bool] | None = None,
    ) -> None:
        self.folder, self.what, self.timeout, self.sleep = StudyFiles(root), what, timeout, sleep
        self.least_term = least_term
        """The next term is higher than this one, whatever files are left."""
        self.id = uuid.uuid4().hex
        self.left_behind: Term | None = None
        """The term of an earlier holder that died, as it did not release the lease."""
        self.failed_before: Term | None = None
        """The term of an earlier holder that released the lease because the storage failed."""
        self.held: Term | None = None
        """The term of this lease, while it is held."""
        self._lost = ""
        self._reader = LeaseReader(self.folder, is_dead)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def term(self) -> int:
        """Number of this lease; 0 before it is held."""
        return self.held.term if self.held else 0

    @property
    def lost(self) -> bool:
        """Whether the lease was lost."""
        return bool(self._lost)

    def acquire(self) -> None:
        """Take the lease; raises LeaseHeldError, which names the holder, if another process has it."""
        self._refuse_if_held()
        before, failed = self._reader.unreleased, self._reader.failed
        number = max(self._reader.last, self.least_term) + 1
        mine = Term(
            term=number,
            id=self.id,
            who=f"process {os.getpid()} on {socket.gethostname()}",
            machine=machine(),
            process=process(os.getpid()),
            since=time.time(),
            timeout=self.timeout,
        )
        if not self.folder.create_text(_name(number), json.dumps(asdict(mine))):
            self._refuse_if_held()
            raise LeaseHeldError(
                f"another process has just taken this {self.what}; wait for it with --set run.wait=true"
            )
        self.held, self._lost = mine, ""
        self.left_behind, self.failed_before = before, failed

    def held_elsewhere(self) -> bool:
        """Whether another process holds the lease."""
        holder = self._reader.look(self._storage_time)
        return holder is not None and (holder.term.machine, holder.term.process) != (machine(), process(os.getpid()))

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
        """Show that this process lives; raises LeaseLostError as `confirm` does."""
        self.confirm()
        self.folder.write_text(_name(self.term, "renewed"), datetime.now(UTC).isoformat())

    def confirm(self) -> None:
        """Look at the storage whether the lease is still held; raises LeaseLostError if another process took over."""
        self.check()
        if self.term and (last := _last(self.folder.names())) != self.term:
            other = self._reader.term(last) if last > self.term else None
            self._lost = f"{other.who} took over" if other else "its files were removed"
            self.check()

    def check(self) -> None:
        """Raise LeaseLostError if the lease is known to be lost: work must stop."""
        if self._lost:
            raise LeaseLostError(
                f"this process lost the lease of the {self.what}: {self._lost}; progress is saved; "
                "rerun this command to resume"
            )

    def release(self, failed: bool = False) -> None:
        """Release the lease, so that the next process need not wait; `failed` tells it that the storage failed."""
        if self.held and not self._lost:
            with contextlib.suppress(OSError):  # it expires by itself
                if failed:
                    self.folder.write_text(_name(self.term, "failed"), "")
                self.folder.write_text(_name(self.term, "released"), "")
        self.held = None

    def __enter__(self) -> "Lease":
        if not self.held:
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
        self.release(failed=isinstance(error, StorageError))

    def _keep(self) -> None:
        while not self._stop.wait(self.timeout / 4):
            try:
                self.renew()
            except LeaseLostError:
                return  # `check` raises it in the thread that works
            except OSError:
                continue  # the storage may come back before the lease expires

    def _refuse_if_held(self) -> None:
        holder = self._reader.look(self._storage_time)
        if holder is not None:
            since = datetime.fromtimestamp(holder.term.since, UTC).isoformat(timespec="seconds")
            raise LeaseHeldError(
                f"another process, {holder.term.who}, has been working on this {self.what} since {since}; "
                f"its lease expires in {round(holder.seconds_left)} s unless renewed; "
                "wait for it with --set run.wait=true"
            )

    def _storage_time(self) -> float:
        """The time by the clock that stamps the files, seconds since 1970."""
        self.folder.write_text(CLOCK, "")
        stamp = self.folder.stamp(CLOCK)
        return stamp.written_at if stamp else 0.0


def open_lease(root: str, options: RunOptions, what: Literal["queue", "study"] = "queue", least_term: int = 0) -> Lease:
    """The lease of a study or of its queue; its term is above `least_term`, the last one that an event names.

    It expires after at least twice `storage_patience`, so that waiting for the storage does not lose it.
    """
    timeout = max(options.lease_timeout, 2 * options.storage_patience)
    return Lease(join(root, f"{what}-lease"), what=what, timeout=timeout, least_term=least_term)


def _last(names: Iterable[str]) -> int:
    """The number of the last term that has a file; 0 if there is none."""
    return max((int(name[:8]) for name in names if re.match(r"\d{8}\.", name)), default=0)


def _name(term: int, kind: Literal["json", "renewed", "released", "failed"] = "json") -> str:
    return f"{term:08d}.{kind}"


def machine() -> str:
    """Boot id and process namespace, within which a process id means one process; empty if unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def process(pid: int) -> str:
    """Id and start time of a process of this machine; empty if it does not run."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if stat[0] in "ZX" else f"{pid}/{stat[19]}"


def process_is_dead(term: Term) -> bool:
    """Whether the process of a term was on this machine and has ended; False if that is unknown."""
    if not term.machine or term.machine != machine():
        return False
    return process(int(term.process.split("/")[0])) != term.process
