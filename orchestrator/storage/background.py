"""What is asked of the storage in the background: a trial trains while slow storage takes its checkpoint, and a driver
hears the reports of other trials.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from types import TracebackType

from analysis.storage.storage_retry import StorageError
from analysis.storage.study_files import StudyFiles
from orchestrator.storage.lease import LeaseError

GRACE = 0.05
"""Seconds for which a trial waits: a disk then has the file, or the answer, before the trial goes on."""


class BackgroundFile:
    """A file of a study that is written on a thread.  Use as a context manager: its end waits for the last write.

    An error of a write, such as StorageError, is raised by the next read or write, or at the end.
    """

    def __init__(self, files: StudyFiles, name: str) -> None:
        self.files, self.name = files, name
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"writer of {name}")
        self._running: Future[None] | None = None

    def read(self) -> bytes | None:
        """The content after the last write; None if the file does not exist."""
        self._finish()
        return self.files.read_bytes(self.name)

    def write(self, data: bytes) -> None:
        """Begin to replace the content, once the write before is done."""
        self._finish()
        self._running = self._executor.submit(self.files.write_bytes, self.name, data)
        wait([self._running], timeout=GRACE)

    def _finish(self) -> None:
        running, self._running = self._running, None
        if running:
            running.result()

    def __enter__(self) -> "BackgroundFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:  # else that error counts
                self._finish()
        finally:
            self._executor.shutdown()


class BackgroundQuestion:
    """A question, such as whether to stop, that is asked on a thread; until it is answered, the answer is False.

    Use as a context manager.  Slow storage answers at the next call: a search ends one epoch later.
    """

    def __init__(self, ask: Callable[[], bool]) -> None:
        self.ask = ask
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="question")
        self._running: Future[bool] | None = None
        self._answer = False

    def __call__(self) -> bool:
        """The last answer; once it is True, it stays so."""
        self._take()
        if not self._answer and self._running is None:
            self._running = self._executor.submit(self.ask)
            wait([self._running], timeout=GRACE)
            self._take()
        return self._answer

    def _take(self) -> None:
        if self._running and self._running.done():
            self._answer, self._running = self._running.result(), None

    def __enter__(self) -> "BackgroundQuestion":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown()


class BackgroundWork:
    """Steps that a driver does not wait for, one after the other on a thread.

    Use as a context manager: its end waits for the steps, unless storage or lease are lost.  Nothing follows a step
    that failed: its error is raised by every later `tick` or `finish`, and at the end.
    """

    def __init__(self, executor: Executor | None = None) -> None:
        self._executor = executor or ThreadPoolExecutor(max_workers=1, thread_name_prefix="driver's work")
        self._steps: deque[tuple[Future[None], Callable[[], None]]] = deque()
        self._error: BaseException | None = None

    def add(self, step: Callable[[], object], then: Callable[[], None] = lambda: None) -> None:
        """Take up a step; `then` is called in this thread once it is done."""
        self._steps.append((self._executor.submit(self._do, step), then))

    @property
    def is_idle(self) -> bool:
        """Whether all steps are done."""
        return all(future.done() for future, _ in self._steps)

    def tick(self) -> None:
        """Call what follows the steps that are done, without waiting."""
        while self._steps and self._steps[0][0].done():
            future, then = self._steps[0]
            future.result()
            self._steps.popleft()
            then()

    def finish(self) -> None:
        """Wait for all steps."""
        while self._steps:
            wait([self._steps[0][0]])
            self.tick()

    def _do(self, step: Callable[[], object]) -> None:
        if self._error:
            raise self._error
        try:
            step()
        except BaseException as error:
            self._error = error
            raise

    def __enter__(self) -> "BackgroundWork":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not isinstance(error, (StorageError, LeaseError)):
                self._finish_despite_ctrl_c()
        finally:
            self._executor.shutdown(cancel_futures=True)

    def _finish_despite_ctrl_c(self) -> None:
        try:
            self.finish()
        except KeyboardInterrupt:  # a second one ends the process
            self.finish()
            raise
