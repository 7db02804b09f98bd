"""A driver's link to people: a thread writes `live.json` and looks for requests, off the driver's way.

The thread only ever holds up itself.  While the storage fails the file gets old, and requests wait.
"""

import contextlib
import shlex
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from types import TracebackType

from analysis.storage.storage_retry import first_line
from analysis.storage.study_files import StudyFiles, join
from orchestrator.storage.lease import Lease, LeaseError
from orchestrator.storage.live_board import LiveBoard
from orchestrator.storage.live_status import ENDED, LiveStatus, ResourceUse, read_live_status, write_live_status
from orchestrator.storage.steering_log import Request, RequestKind, SteeringLog

INTERVAL = 5.0
"""Seconds from one look, and one file, to the next."""
LAST_WRITE = 10.0
"""Longest time that the last file may take, seconds."""
QUEUE_KINDS: tuple[RequestKind, ...] = ("add", "drop", "retry", "up")
"""Requests about the retraining queue."""
STUDY_KINDS: tuple[RequestKind, ...] = ("stop", "seeds")
"""Requests about the searches."""
ALL_KINDS: tuple[RequestKind, ...] = (*STUDY_KINDS, *QUEUE_KINDS)


class LiveDriver:
    """Shows what a driver does, and hands it what it is asked for.  Use as a context manager, while the lease is held.

    `kinds` are the requests that this driver answers now, asked at every look.  A driver of the queue alone, `pcdarts
    retrain`, answers those about the queue, and shows nothing while a driver of the whole study shows itself.
    """

    def __init__(
        self,
        root: str,
        command: Sequence[str],
        lease: Lease,
        *,
        kinds: Callable[[], Collection[RequestKind]] = lambda: ALL_KINDS,
        whole: bool = True,
        patience: float = 0.0,
        interval: float = INTERVAL,
        resources: Callable[[], ResourceUse | None] = lambda: None,
    ) -> None:
        self.board = LiveBoard(shlex.join(command))
        self.lease, self.kinds, self.interval, self.resources = lease, kinds, interval, resources
        self.log = SteeringLog(StudyFiles(join(root, "steering"), patience))
        self._files = StudyFiles(root)
        self._watched = SteeringLog(StudyFiles(join(root, "steering")))
        """To look for requests: never waits for the storage."""
        self._seen: set[str] = set()
        self._new: deque[Request] = deque()
        self._looking = threading.Lock()
        self.whole, self._gave_way = whole, False
        self._last: LiveStatus | None = None
        self._asks_ray = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="live status", daemon=True)

    def take(self, look: bool = False) -> list[Request]:
        """The requests that came since the last call and are this driver's to answer, the earliest first.

        The thread has looked for them; with `look` this does so now.
        """
        if look:
            self._look()
        found = []
        while self._new:
            found.append(self._new.popleft())
        return found

    def answer(self, request: Request, reason: str = "", *, refused: bool = False) -> None:
        """Answer a request; raises LeaseLostError if it is another driver's by now."""
        with self.log.files.guarded(self.lease.confirm):
            self.log.answer(request, reason=reason, refused=refused)

    def __enter__(self) -> "LiveDriver":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.board.begin("finished")
        elif isinstance(error, KeyboardInterrupt):
            self.board.begin("interrupted")
        else:
            self.board.begin("failed", first_line(error) if isinstance(error, Exception) else "")
        if isinstance(error, LeaseError):
            self._gave_way = True  # another driver shows itself by now
        self._stop.set()
        self._thread.join(LAST_WRITE)
        if self._asks_ray:  # which never answers while it ends
            self._show()

    def _keep(self) -> None:
        ended = False
        while not ended:
            self._look()
            self._show()
            ended = self._stop.wait(self.interval)
        self._show()

    def _show(self) -> None:
        if self.lease.lost or self._gave_way:
            return
        with contextlib.suppress(OSError):
            if self.whole or not self._another_shows():
                self._last = self.board.snapshot(None if self._stop.is_set() else self._resources())
                write_live_status(self._files, self._last)

    def _another_shows(self) -> bool:
        """Whether another driver has shown itself lately."""
        other = read_live_status(self._files)
        if other is None or other.driver.phase in ENDED or other.stale():
            return False
        return other != self._last

    def _look(self) -> None:
        with self._looking, contextlib.suppress(OSError):
            kinds = self.kinds()
            for request in self._watched.unanswered():
                if request.id not in self._seen and request.kind in kinds:
                    self._seen.add(request.id)
                    self._new.append(request)

    def _resources(self) -> ResourceUse | None:
        self._asks_ray = True
        try:
            return self.resources()
        except Exception:  # Ray is starting, stopping or lost: the driver itself finds out
            return None
        finally:
            self._asks_ray = False
