"""Whether the files of a published search of RobustDARTS agree, with each other and with the names of their folders."""

import math
from collections import Counter
from typing import Any

from analysis.robustdarts.logs import Log, LogEpoch, Problems, Run, list_meaning
from pcdarts.genotype import Genotype

EPOCHS_PLANNED = 50
"""Epochs of all published runs."""


def compare_lists(
    run: Run, epochs: list[LogEpoch], lists: dict[str, list[float]], problems: Problems, meanings: Counter[str]
) -> None:
    """Find out what the lists hold, and empty the accuracies on which log and list disagree."""
    for name, attribute in (("train_acc", "train_accuracy"), ("valid_acc", "valid_accuracy")):
        logged = {e.epoch: value for e in epochs if (value := getattr(e, attribute)) is not None}
        meaning, wrong = list_meaning(logged, lists[name])
        meanings[meaning] += 1
        for epoch in epochs:
            if epoch.epoch in wrong:
                setattr(epoch, attribute, None)
        if wrong:
            what = "neither accuracy nor error" if meaning == "unknown" else f"otherwise {meaning}"
            detail = f"{name} ({what}) contradicts the log in epochs {wrong}; these accuracies are left empty"
            problems.add("contradiction", run.file("errors"), detail)


def why_broken(run: Run, log: Log, lists: dict[str, list[float]] | None, final: Genotype | None) -> str:
    """Why a search is not completed; empty if it is."""
    if log.contradiction:
        return f"the log contradicts itself: {log.contradiction}"
    reasons = []
    last = log.epochs[-1] if log.epochs else None
    not_finite = next((epoch.not_finite for epoch in log.epochs if epoch.not_finite), "")
    if not_finite:
        reasons.append(not_finite)
    missing = [kind for kind in ("log", "errors", "arch") if not run.path(kind).is_file()]
    if missing:
        reasons.append(f"no {', '.join(run.path(kind).name for kind in missing)}")
        reasons += [f"the log ends in epoch {last.epoch} of 0 to {EPOCHS_PLANNED - 1}"] if last else []
    if run.path("log").is_file() and last is None:
        reasons.append("the log has no epoch")
    if run.path("errors").is_file() and lists is None:
        reasons.append(f"{run.path('errors').name} cannot be read")
    if run.path("arch").is_file() and final is None:
        reasons.append(f"{run.path('arch').name} cannot be read")
    if run.drop_path is None:
        reasons.append("the folder's name does not tell the setting")
    if last and lists is not None and final is not None:
        reasons += _disagreements(run, last, lists, final)
    return "; ".join(reasons)


def _disagreements(run: Run, last: LogEpoch, lists: dict[str, list[float]], final: Genotype) -> list[str]:
    """On what the files of a search that ended disagree."""
    reasons, n = [], len(lists["train_acc"])
    if n != last.epoch + 1:
        reasons.append(f"the log has {last.epoch + 1} epochs, but {run.path('errors').name} has {n}")
    absent = [name for name in ("train_accuracy", "valid_accuracy", "genotype") if getattr(last, name) is None]
    if absent:
        reasons.append(f"the last epoch has no {', '.join(absent)} that log and lists agree on")
    if last.genotype is not None and last.genotype != final:
        reasons.append(f"{run.path('arch').name} is not the last genotype of the log")
    if not all(math.isfinite(lists[name][-1]) for name in ("train_loss", "valid_loss") if lists[name]):
        reasons.append("the last loss is not finite")
    # Drop path grows linearly from 0 to the value that names the folder, and is not printed where that is 0.
    if run.drop_path is not None and (last.drop_path or 0.0) != run.drop_path:
        reasons.append(
            f"the last drop path of the log is {last.drop_path or 0.0:g}, but the folder says {run.drop_path:g}"
        )
    return reasons


def report_repeated(searches: list[dict[str, Any]], problems: Problems) -> None:
    """Name the seeds that completed a setting more than once: statistics over seeds count them more than once."""
    completed = Counter((row["setting"], row["seed"]) for row in searches if row["status"] == "completed")
    for (setting, seed), count in sorted(completed.items()):
        if count > 1:
            problems.add("contradiction", setting, f"seed {seed} completed {count} times; all are kept")
