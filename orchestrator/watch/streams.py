"""One study that pages look at: refreshed while somebody looks, and what each page has not yet received.

Reading and computing happen on one thread for each study, so that the event loop always answers.
"""

import asyncio
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from analysis.storage.storage_retry import first_line
from orchestrator.watch.changes import changes
from orchestrator.watch.panels import panels
from orchestrator.watch.reading.snapshot import Snapshot, StudyReader
from orchestrator.watch.view import View

T = TypeVar("T")
LOCAL_SECONDS, REMOTE_SECONDS = 1.0, 5.0
"""Seconds between two looks at a study on a disk or in an object store."""
KEPT = 256
"""States of pages that are kept for those that come back."""
Json = dict[str, Any]


class LiveStudy:
    """A study, as pages see it."""

    def __init__(self, root: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.root, self.clock = root, clock
        self.interval = REMOTE_SECONDS if "://" in root else LOCAL_SECONDS
        self.error = ""
        """Why the study cannot be read at the moment; empty if it can."""
        self._reader: StudyReader | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="watch")
        self._looked_at = float("-inf")
        self._looking: asyncio.Future[None] | None = None
        self._start = secrets.token_hex(4)
        self._states: OrderedDict[str, tuple[View, Json]] = OrderedDict()
        """What a page had after an answer, by the id of the answer."""
        self._made: OrderedDict[tuple[View, int, str], Json] = OrderedDict()
        """Panels by view, revision and error."""

    async def refresh(self) -> None:
        """Look at the study unless that happened just now; several pages share one look."""
        if self._looking is None:
            if self.clock() - self._looked_at < self.interval:
                return
            self._looking = asyncio.ensure_future(self.call(self._look))
        try:
            await asyncio.shield(self._looking)
        finally:
            if self._looking is not None and self._looking.done():
                self._looking = None

    async def call(self, work: Callable[[], T]) -> T:
        """The result of some work on the study's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def snapshot(self) -> Snapshot:
        """The study now."""
        await self.refresh()
        return await self.call(lambda: self.reader.snapshot)

    @property
    def reader(self) -> StudyReader:
        """What reads the study; only for the study's thread.  Raises OSError while that cannot be opened."""
        if self._reader is None:
            self._reader = StudyReader(self.root)
        return self._reader

    async def answer(self, view: View, since: str = "") -> Json | None:
        """What a page with this view has not yet received; None if it has everything.

        `since` is the id of its last answer.  An unknown one gets everything, as after a restart of the server.
        """
        await self.refresh()
        now = await self.call(partial(self._panels, view))
        _, before = self._states.get(since, (view, None))
        if before is now:
            return None
        change = {"value": now} if before is None else changes(before, now)
        answer_id = f"{self._start}-{secrets.token_hex(6)}"
        if change is None:
            self._states[since] = (view, now)
            return None
        self._states[answer_id] = (view, now)
        while len(self._states) > KEPT:
            self._states.popitem(last=False)
        return {"id": answer_id, "change": change}

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _look(self) -> None:
        try:
            self.reader.refresh()
            self.error = ""
        except (OSError, ValueError) as error:
            self.error = first_line(error) or type(error).__name__
        self._looked_at = self.clock()

    def _panels(self, view: View) -> Json:
        if self._reader is None:
            return {"error": self.error}
        key = (view, self._reader.snapshot.revision, self.error)
        if key not in self._made:
            made = panels(self._reader.snapshot, view)
            self._made[key] = made | ({"error": self.error} if self.error else {})
            while len(self._made) > KEPT:
                self._made.popitem(last=False)
        self._made.move_to_end(key)
        return self._made[key]


def message(answer: Json) -> bytes:
    """An answer as a server-sent event."""
    text = json.dumps(answer["change"], allow_nan=False, separators=(",", ":"))
    return f"id: {answer['id']}\ndata: {text}\n\n".encode()
