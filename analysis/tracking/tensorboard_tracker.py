"""TensorBoard: one event file for each run, in DIR/STUDY/RUN.

What a run holds is read back from its file.  A file that ends in the middle of a record, as after a crash, is cut to
its last whole record before it grows; TensorBoard follows files that grow.  `tensorboardX` (Ray brings it) defines the
messages; its writer would start another file with every mirror.
"""

import os
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.tracking.tracker import EpochMetrics, Outcome, RunIdentity, TrackerError, Value

FILE = "events.out.tfevents.0.pcdarts"
"""Name of the event files; TensorBoard looks for `tfevents`."""
OUTCOME = "pcdarts/outcome"
"""Tag of a text that names the outcome."""
PARAMS = "_hparams_/session_start_info"
"""Tag under which TensorBoard keeps the parameters of a run."""
HEADER, CHECK = struct.Struct("<Q"), struct.Struct("<I")


class TensorBoardTracker:
    """A folder of event files."""

    def __init__(self, folder: str) -> None:
        try:
            import tensorboardX  # noqa: F401
        except ImportError:
            raise ValueError("this needs tensorboardX; pip install 'pcdarts-orchestrator[tensorboard]'") from None
        self._folder = Path(folder)

    def run(self, identity: RunIdentity) -> "TensorBoardRun":
        """The run in DIR/STUDY/KEY."""
        try:
            return TensorBoardRun(self._folder / identity.study / identity.key / FILE, identity.started)
        except OSError as error:
            raise _failure(self._folder, error) from None

    def close(self) -> None:
        """Nothing to do: files are closed after every write."""


class TensorBoardRun:
    """The event file of a run."""

    def __init__(self, path: Path, started: float | None) -> None:
        self._path = path
        self.epochs, self.outcome, self._has_params = 0, "", False
        path.parent.mkdir(parents=True, exist_ok=True)
        events, end = read_events(path) if path.exists() else ([], 0)
        if path.exists() and end < path.stat().st_size:
            os.truncate(path, end)
        self._started = events[0].wall_time if events else started or time.time()
        if not events:
            self._append(_event(self._started, file_version="brain.Event:2"))
        for event in events:
            for value in event.summary.value:
                self._has_params |= value.tag == PARAMS
                if value.tag == OUTCOME:
                    self.outcome = value.tensor.string_val[0].decode()
                elif event.step >= self.epochs and "/" not in value.tag:
                    self.epochs = event.step + 1

    def params(self, values: Mapping[str, Value]) -> None:
        """Write the parameters at the start of the run, so that a run that goes on has them."""
        if self._has_params or not values:
            return
        from tensorboardX.summary import hparams

        experiment, start, _ = hparams(dict(values), {"valid_accuracy": None, "result/test_accuracy": None})
        self._append(*(_event(self._started, summary=summary) for summary in (experiment, start)))
        self._has_params = True

    def metrics(self, epochs: Sequence[EpochMetrics]) -> None:
        """Write an event for each epoch."""
        self._append(
            *(
                _event(self._started + epoch.seconds, step=epoch.epoch, summary=_scalars(epoch.metrics))
                for epoch in epochs
            )
        )
        self.epochs = epochs[-1].epoch + 1

    def finish(self, outcome: Outcome) -> None:
        """Write results and texts, at last the name of the outcome."""
        from tensorboardX.summary import hparams, text

        end, step = self._started + outcome.seconds, max(0, self.epochs - 1)
        notes = "\n".join(
            f"**{name}**: {value}\n" for name, value in {"status": outcome.status, **outcome.notes}.items()
        )
        _, _, session_end = hparams({}, {})
        self._append(
            _event(end, step=step, summary=_scalars(outcome.metrics)),
            _event(end, step=step, summary=text("notes", notes)),
            _event(end, step=step, summary=session_end),
            _event(end, step=step, summary=_text(OUTCOME, outcome.name)),
        )
        self.outcome = outcome.name

    def _append(self, *events: Any) -> None:
        """Append events in one write."""
        try:
            with open(self._path, "ab") as file:
                file.write(b"".join(_framed(event.SerializeToString()) for event in events))
        except OSError as error:
            raise _failure(self._path, error) from None


def read_events(path: Path) -> tuple[list[Any], int]:
    """The events of a file, and the length of its whole records."""
    from tensorboardX.proto.event_pb2 import Event

    data, events, end = path.read_bytes(), [], 0
    for record in _records(data):
        events.append(Event.FromString(record))
        end += HEADER.size + 2 * CHECK.size + len(record)
    return events, end


def _records(data: bytes) -> Iterator[bytes]:
    start = 0
    while start + HEADER.size + CHECK.size <= len(data):
        (length,) = HEADER.unpack_from(data, start)
        first = start + HEADER.size + CHECK.size
        start = first + length + CHECK.size
        if start > len(data) or _check(data[first : first + length]) != data[first + length : start]:
            return
        yield data[first : first + length]


def _framed(record: bytes) -> bytes:
    """A record as in a file of TensorFlow: length, checksum of the length, record, checksum."""
    header = HEADER.pack(len(record))
    return header + _check(header) + record + _check(record)


def _check(data: bytes) -> bytes:
    """The checksum of TensorFlow's records: CRC-32C, rotated, plus a constant."""
    from tensorboardX.crc32c import crc32c

    value = crc32c(data)
    return CHECK.pack((((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _event(wall_time: float, **fields: Any) -> Any:
    from tensorboardX.proto.event_pb2 import Event

    return Event(wall_time=wall_time, **fields)


def _scalars(metrics: Mapping[str, float]) -> Any:
    from tensorboardX.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()])


def _text(tag: str, content: str) -> Any:
    from tensorboardX.summary import text

    summary = text(tag, content)
    summary.value[0].tag = tag
    return summary


def _failure(path: Path, error: OSError) -> TrackerError:
    return TrackerError(f"{path} cannot be written to ({error.strerror or error}); give another folder")
