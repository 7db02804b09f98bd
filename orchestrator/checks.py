"""`pcdarts check`: find out before a long run whether it can work, and what it will cost."""

import dataclasses
import math
import time
from collections.abc import Callable
from datetime import timedelta

import torch
from pcdarts.data import check_dataset

from cluster.connect import slots
from orchestrator.config import StudyConfig
from orchestrator.storage import check_writable, join
from orchestrator.study import RunOptions, prepare_trials
from pcdarts.config import SearchConfig, learning_rate_advice
from pcdarts.search import SearchState, weight_step

PROBE_IMAGES = 8
"""Images in the step that the cost is estimated from."""


def check(
    study: StudyConfig, storage: str, data_dir: str | None, options: RunOptions, say: Callable[[str], None] = print
) -> int:
    """Print a line for every check of a study and the estimated cost; the number of checks that failed."""
    search = dataclasses.replace(study.search, data_dir=data_dir or study.search.data_dir)
    searches = study.searches()
    say(f"{study.name}: {len(searches)} searches of {search.epochs} epochs on {search.dataset}")
    checks: dict[str, Callable[[], str]] = {
        "data": lambda: check_dataset(search.dataset, search.data_dir),
        "storage": lambda: _storage(join(storage, study.name)),
        "cluster": lambda: _cluster(search, options),
        "learning rate": lambda: learning_rate_advice(search) or "follows the batch size",
    }
    failed = []
    for name, run in checks.items():
        try:
            say(f"  ok      {name}: {run()}")
        except ValueError as error:
            failed.append(name)
            say(f"  failed  {name}: {error}")
    if failed:
        say("  cost: not estimated before the failed checks pass")
    else:
        say(f"  cost: {_cost(search, len(searches), options)}")
    return len(failed)


def _storage(root: str) -> str:
    check_writable(root)
    return f"{root} can be written to"


def _cluster(config: SearchConfig, options: RunOptions) -> str:
    wanted = prepare_trials(config, options)
    return f"{slots(wanted)} searches at once, each with {wanted.cpus} CPUs and {wanted.gpus:g} GPUs"


def _cost(config: SearchConfig, searches: int, options: RunOptions) -> str:
    """Time of all searches, from one step on a few images on this machine; other machines differ."""
    state = SearchState(dataclasses.replace(config, batch_size=PROBE_IMAGES))
    batches = state.train.stream(PROBE_IMAGES, torch.Generator().manual_seed(0))
    batch = next(batches)
    seconds = []
    for step in (
        lambda: weight_step(state, *batch),
        lambda: state.architect.step(batch, batch, 0.0),
    ):
        step()  # the first call pays for set-up
        seconds.append(_seconds(step, state.device))
    images = len(state.train)
    epochs_with_alpha = config.epochs - config.warmup_epochs
    one = images / PROBE_IMAGES * (seconds[0] * config.epochs + seconds[1] * epochs_with_alpha)
    at_once = max(1, min(searches, slots(prepare_trials(config, options))))
    total = one * math.ceil(searches / at_once)
    return (
        f"about {_span(one)} a search, {_span(total)} in all with {at_once} at once "
        f"(from steps of {PROBE_IMAGES} images on {state.device}; larger batches are faster, validation comes on top)"
    )


def _seconds(step: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _span(seconds: float) -> str:
    return str(timedelta(seconds=max(1, round(seconds))))
