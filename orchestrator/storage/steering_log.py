"""What people ask of the driver of a study, and what it answers: small JSON files in the study's folder `steering`.

Every request and every answer is a file that is written once and never changed.  The driver lists the folder every few
seconds; without a driver, requests wait for the next run.

    steering/TIME-ID.json           a request
    steering/TIME-ID.answer.json    its answer
    stops/KEY.json                  the search or job KEY is to end after its present epoch; its process looks for it
"""

import getpass
import json
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

from analysis.storage.study_files import StudyFiles, join

RequestKind = Literal["stop", "seeds", "add", "drop", "retry", "up"]
"""stop: end a search early; seeds: add seeds; add, drop, retry, up: of a retraining job."""
Verdict = Literal["taken up", "refused"]
ANSWER = ".answer.json"


@dataclass(frozen=True, kw_only=True)
class Request:
    """Something that the driver is asked for."""

    id: str
    """Name of its file without the ending; sorts by time."""
    kind: RequestKind
    """What is asked for."""
    target: str = ""
    """The search or the retraining job; empty for seeds."""
    seeds: tuple[int, ...] = ()
    """The seeds to add."""
    asked_at: str
    """When, ISO 8601 in UTC."""
    asked_by: str = ""
    """User and machine."""

    def __post_init__(self) -> None:
        named = isinstance(self.target, str) and bool(self.target) != bool(self.seeds)
        if self.kind not in get_args(RequestKind) or not named or not all(type(seed) is int for seed in self.seeds):
            raise ValueError(f"a request to {self.kind!r} {self.target!r} {self.seeds} has no meaning; remove its file")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of a request."""

    request: str
    """Id of the request."""
    verdict: Verdict
    """Whether the driver does what it is asked for."""
    reason: str
    """Why it was refused, or when it takes effect; can be empty."""
    answered_at: str
    """When, ISO 8601 in UTC."""
    answered_by: str = ""
    """Process and machine of the driver."""


class SteeringLog:
    """The requests of a study and their answers.  Files are read once: they never change."""

    def __init__(self, files: StudyFiles, clock: Callable[[], float] = time.time) -> None:
        self.files, self.clock = files, clock
        self.broken: list[str] = []
        """Files that are no requests or answers; they are left out."""
        self._requests: dict[str, Request] = {}
        self._answers: dict[str, Answer] = {}
        self._skipped: set[str] = set()

    def ask(self, kind: RequestKind, target: str = "", seeds: tuple[int, ...] = ()) -> Request:
        """Write a request."""
        now = self.clock()
        name = f"{int(now * 1000):015d}-{uuid.uuid4().hex[:12]}"
        request = Request(id=name, kind=kind, target=target, seeds=seeds, asked_at=_iso(now), asked_by=_who())
        self.files.write_text(f"{name}.json", json.dumps(asdict(request)))
        self._requests[name] = request
        return request

    def answer(self, request: Request, *, reason: str = "", refused: bool = False) -> Answer:
        """Write the answer to a request."""
        answer = Answer(
            request=request.id,
            verdict="refused" if refused else "taken up",
            reason=reason,
            answered_at=_iso(self.clock()),
            answered_by=_who(),
        )
        self.files.write_text(f"{request.id}{ANSWER}", json.dumps(asdict(answer)))
        self._answers[request.id] = answer
        return answer

    def read(self) -> list[tuple[Request, Answer | None]]:
        """All requests with their answers, the earliest first."""
        for name in self.files.names():
            is_answer, stem = name.endswith(ANSWER), name.removesuffix(ANSWER).removesuffix(".json")
            known: dict[str, Request] | dict[str, Answer] = self._answers if is_answer else self._requests
            if stem in known or name in self._skipped:
                continue
            try:
                plain = json.loads(self.files.read_text(name) or "")
                if is_answer:
                    self._answers[stem] = Answer(**plain)
                else:
                    self._requests[stem] = Request(**plain | {"seeds": tuple(plain["seeds"])})
            except (ValueError, TypeError, KeyError) as error:
                self._skipped.add(name)
                self.broken.append(f"{name}: {error}")
        return [(request, self._answers.get(name)) for name, request in sorted(self._requests.items())]

    def unanswered(self) -> list[Request]:
        """Requests without an answer, the earliest first."""
        return [request for request, answer in self.read() if answer is None]

    def added_seeds(self) -> list[int]:
        """The seeds that were asked for and not refused, each once."""
        granted = [request for request, answer in self.read() if answer is None or answer.verdict != "refused"]
        return list(dict.fromkeys(seed for request in granted for seed in request.seeds))


class StopFlags:
    """Flags that end searches and jobs after their present epoch."""

    def __init__(self, files: StudyFiles) -> None:
        self.files = files

    @classmethod
    def of(cls, root: str, patience: float = 0.0) -> "StopFlags":
        """The flags of a study folder."""
        return cls(StudyFiles(join(root, "stops"), patience))

    def raise_flag(self, key: str) -> None:
        """Ask a search or job to end."""
        self.files.write_text(f"{key}.json", "{}")

    def take_down(self, key: str) -> None:
        """Take the flag away, if there is one."""
        self.files.delete_text(f"{key}.json")

    def names(self) -> set[str]:
        """The searches and jobs that are to end, or have."""
        return {name.removesuffix(".json") for name in self.files.names()}

    def is_set(self, key: str) -> bool:
        """Whether a search or job is to end; False while the storage fails, as it is asked again after every epoch."""
        try:
            return self.files.read_bytes(f"{key}.json") is not None
        except OSError:
            return False


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "?"
    return f"{user}@{socket.gethostname()}"
