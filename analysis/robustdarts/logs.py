"""Read published search logs of RobustDARTS, file by file, and collect their problems.

Source of the format: github.com/automl/RobustDARTS, src/search/train_search.py.  A job's folder is named
{drop path}_{L2}-{job} and lies in {space}/{data set}; the number in a file's name is the seed.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from pcdarts.genotype import Genotype

FOLDER = re.compile(r"(\d+(?:\.\d+)?)_(\d+(?:\.\d+)?(?:e-?\d+)?)-(\d+)")
FILE = re.compile(r"(?:(log)_(\d+)\.txt|(errors|derivatives)_(\d+)\.json|(arch)_(\d+))")
LISTS = ("train_acc", "train_loss", "valid_acc", "valid_loss")
PRINTED_DIGITS = 2e-6
"""Largest difference of a percentage to the same one printed with six digits."""

_STAMPED = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) (.*)")
_NUMBER = r"([-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|nan|inf))"
_EPOCH = re.compile(rf"epoch (\d+) lr {_NUMBER}(?: drop_prob {_NUMBER} cutout_prob {_NUMBER})?")
_VALUE = re.compile(rf"(train_acc|valid_acc) {_NUMBER}")
_STEP = re.compile(rf"(train|valid) (\d+) {_NUMBER} {_NUMBER} {_NUMBER}")
_SIZE = re.compile(r"param size = (\d+(?:\.\d+)?)MB")
_OTHER = ("gpu device = ", "Args: ", "STARTING ITERATION: ", "EPOCHS TO TRAIN: ", "CURRENT EV: ")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem with the logs."""

    kind: str
    """malformed line, malformed file, missing file, contradiction, unknown file or failed search."""
    path: str
    """File or run, relative to the folder that is imported."""
    detail: str
    """Description."""


class Problems(list[Problem]):
    """Problems found while reading files."""

    def add(self, kind: str, path: str, detail: str) -> None:
        """Add one problem; for its fields see `Problem`."""
        self.append(Problem(kind=kind, path=path, detail=detail))


@dataclass(frozen=True, kw_only=True)
class Run:
    """One seed of one job: its files and the fields in their names."""

    folder: Path
    """Folder of the job."""
    name: str
    """The folder, relative to the one that is imported."""
    seed: int
    """Seed, the number in the files' names."""
    space: str
    """Name of the folder of the search space."""
    dataset: str
    """Name of the folder of the data set."""
    drop_path: float | None
    """Drop-path probability of the last epoch; None if it is not in the folder's name."""
    weight_decay: float | None
    """L2 of the weights; None if it is not in the folder's name."""

    @property
    def search_id(self) -> str:
        """Name of the search in the tables."""
        return f"{self.space}-{self.dataset}-{self.folder.name}-seed{self.seed}"

    def path(self, kind: str) -> Path:
        """Path of its log, errors, arch or derivatives file."""
        suffix = {"log": ".txt", "arch": ""}.get(kind, ".json")
        return self.folder / f"{kind}_{self.seed}{suffix}"

    def file(self, kind: str) -> str:
        """The same path, relative to the imported folder."""
        return f"{self.name}/{self.path(kind).name}"


@dataclass(kw_only=True)
class LogEpoch:
    """An epoch of a log; None for missing values."""

    epoch: int
    """Epoch, counted from 0."""
    learning_rate: float
    """SGD learning rate."""
    drop_path: float | None
    """Drop-path probability."""
    started: datetime
    """Time of the first line, in the local time of the machine."""
    ended: datetime
    """Time of the last line."""
    train_accuracy: float | None = None
    """Accuracy on the training half; percent."""
    valid_accuracy: float | None = None
    """One-shot accuracy on the validation half, with the training transform; percent."""
    genotype: Genotype | None = None
    """Cells after the epoch."""
    not_finite: str = ""
    """The first step whose loss is not finite."""


@dataclass(kw_only=True)
class Log:
    """Content of log_N.txt."""

    epochs: list[LogEpoch] = field(default_factory=list)
    """Epochs in the order of the file."""
    parameters: int | None = None
    """Weights of the super-network."""
    contradiction: str = ""
    """Why the file as a whole is inconsistent; empty if it is not."""


def read_log(path: Path, name: str, problems: Problems) -> Log:
    """Read log_N.txt; lines that cannot be read are added to `problems` and left out."""
    log = Log()
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        stamped = _STAMPED.fullmatch(line.strip())
        reason = _read_line(log, stamped[1], stamped[2]) if stamped else "no time stamp"
        if reason:
            problems.add("malformed line", name, f"line {number}: {reason}")
    for before, after in zip(log.epochs, log.epochs[1:], strict=False):
        if after.epoch <= before.epoch and not log.contradiction:
            log.contradiction = f"epoch {after.epoch} follows epoch {before.epoch}"
        elif after.epoch > before.epoch + 1:
            detail = f"epochs {before.epoch + 1} to {after.epoch - 1} are not in the log"
            problems.add("malformed file", name, detail)
    if log.epochs and log.epochs[0].epoch:
        log.contradiction = log.contradiction or f"the log starts at epoch {log.epochs[0].epoch}"
    return log


def _read_line(log: Log, stamp: str, message: str) -> str:
    """Add one line to the log; returns the problem with it, or an empty text."""
    try:
        time = datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f")
    except ValueError:
        return f"time stamp {stamp!r}"
    if found := _EPOCH.fullmatch(message):
        drop_path = None if found[3] is None else float(found[3])
        log.epochs.append(
            LogEpoch(epoch=int(found[1]), learning_rate=float(found[2]), drop_path=drop_path, started=time, ended=time)
        )
        return ""
    if found := _SIZE.fullmatch(message):
        log.parameters = round(float(found[1]) * 1e6)
        return ""
    if message.startswith(_OTHER):
        return ""
    if not log.epochs:
        return f"before the first epoch: {message[:60]!r}"
    epoch = log.epochs[-1]
    epoch.ended = max(epoch.ended, time)
    if found := _STEP.fullmatch(message):
        if not epoch.not_finite and not math.isfinite(float(found[3])):
            epoch.not_finite = f"{found[1]} loss {found[3]} at step {int(found[2])} of epoch {epoch.epoch}"
        return ""
    if found := _VALUE.fullmatch(message):
        return _set_accuracy(epoch, found[1], float(found[2]))
    if message.startswith("genotype = "):
        return _set_genotype(epoch, message.removeprefix("genotype = "))
    return f"unknown: {message[:60]!r}"


def _set_accuracy(epoch: LogEpoch, name: str, value: float) -> str:
    attribute = "train_accuracy" if name == "train_acc" else "valid_accuracy"
    if not 0 <= value <= 100:
        return f"{name} is {value}, but must be between 0 and 100"
    if getattr(epoch, attribute) is not None:
        return f"a second {name} in epoch {epoch.epoch}; the first one is kept"
    setattr(epoch, attribute, value)
    return ""


def _set_genotype(epoch: LogEpoch, text: str) -> str:
    if epoch.genotype is not None:
        return f"a second genotype in epoch {epoch.epoch}; the first one is kept"
    try:
        epoch.genotype = Genotype.parse(text)
    except ValueError as error:
        return str(error)
    return ""


def read_genotype(path: Path, name: str, problems: Problems) -> Genotype | None:
    """Read arch_N; None if it cannot be parsed."""
    try:
        return Genotype.parse(_text(path))
    except ValueError as error:
        problems.add("malformed file", name, str(error))
        return None


def read_lists(path: Path, name: str, problems: Problems) -> dict[str, list[float]] | None:
    """Read errors_N.json: four lists of equal length; None if they are not."""
    try:
        found = json.loads(_text(path))
        lists = {key: [float(value) for value in found[key]] for key in LISTS}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reason = f"no list {error}" if isinstance(error, KeyError) else str(error)
        problems.add("malformed file", name, reason)
        return None
    lengths = {key: len(values) for key, values in lists.items()}
    if len(set(lengths.values())) > 1:
        text = ", ".join(f"{key} {length}" for key, length in lengths.items())
        problems.add("contradiction", name, f"lists of different lengths: {text}")
        return None
    return lists


def list_meaning(logged: dict[int, float], listed: list[float]) -> tuple[str, list[int]]:
    """Content of a list named train_acc or valid_acc according to the log, and the epochs in which both disagree.

    `logged` maps epochs to accuracies in percent.  The content is "accuracy", "error", or "unknown" if the list agrees
    with neither, or with both in different epochs.
    """
    distances = {e: (abs(listed[e] - a), abs(100 - listed[e] - a)) for e, a in logged.items() if e < len(listed)}
    as_accuracy = {e for e, (accuracy, _) in distances.items() if accuracy <= PRINTED_DIGITS}
    as_error = {e for e, (_, error) in distances.items() if error <= PRINTED_DIGITS}
    if bool(as_accuracy - as_error) == bool(as_error - as_accuracy):
        return "unknown", sorted(distances)
    meaning, agreeing = ("accuracy", as_accuracy) if as_accuracy - as_error else ("error", as_error)
    return meaning, sorted(set(distances) - agreeing)


def read_eigenvalues(path: Path, name: str, problems: Problems) -> dict[int, float]:
    """Largest algebraic eigenvalue of the Hessians in derivatives_N.json, by epoch.

    Lines that cannot be read are left out, and so is an epoch that has two different Hessians.
    """
    found: dict[int, float] = {}
    contradicted: set[int] = set()
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            epoch, value = _eigenvalue(json.loads(line))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            problems.add("malformed line", name, f"line {number}: {reason}")
            continue
        if found.setdefault(epoch, value) != value:
            contradicted.add(epoch)
    for epoch in sorted(contradicted):
        del found[epoch]
        problems.add("contradiction", name, f"epoch {epoch} has two different Hessians")
    return dict(sorted(found.items()))


def _eigenvalue(entry: Any) -> tuple[int, float]:
    epoch, hessian = entry["epoch"], np.array(entry["H"], dtype=float)
    if type(epoch) is not int or epoch < 0:
        raise ValueError(f"epoch is {epoch!r}, but must be a whole number from 0")
    if hessian.ndim != 2 or hessian.shape[0] != hessian.shape[1] or not hessian.size:
        raise ValueError(f"H has shape {hessian.shape}, but must be square")
    if not np.isfinite(hessian).all():
        raise ValueError("H has entries that are not finite")
    if np.abs(hessian - hessian.T).max() > 1e-2 * np.abs(hessian).max():
        raise ValueError("H is not symmetric")
    return epoch, float(np.linalg.eigvalsh((hessian + hessian.T) / 2)[-1])


def job_folders(root: Path) -> Iterator[Path]:
    """Folders that hold files of the format, sorted by path."""
    folders = {path.parent for path in root.rglob("*") if FILE.fullmatch(path.name) and path.is_file()}
    return iter(sorted(folders))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
