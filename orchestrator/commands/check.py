"""`pcdarts check`: check before a long run whether it can work, and estimate its cost."""

import dataclasses
import heapq
import math
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

import torch

from analysis.conclusions.power import fewest_pairs
from analysis.storage.study_files import join
from cluster.resources import TrialResources, fitting
from cluster.wording import counted, gigabytes
from orchestrator.config import StudyConfig
from orchestrator.options import RunOptions
from orchestrator.queue.costs import most_cells, stage_costs
from orchestrator.storage.study_folder import check_writable
from orchestrator.trials.placement import (
    pack_searches,
    predicted_bytes,
    prepare_trials,
    searches_per_gpu,
    smallest_gpu,
    with_own_threads,
)
from pcdarts.config import RetrainConfig, SearchConfig, learning_rate_advice
from pcdarts.data.batches import check_dataset
from pcdarts.search import SearchState, weight_step

PROBES = (4, 16)
"""Images in the steps that the cost is estimated from: a step takes a fixed time and a time per image."""


def check(study: StudyConfig, storage: str, options: RunOptions, say: Callable[[str], None] = print) -> int:
    """Print a line for every check of a study and the estimated cost; returns the number of failed checks."""
    search, searches = study.search, study.searches()
    say(f"{study.name}: {counted(len(searches), 'search')} of {counted(search.epochs, 'epoch')} on {search.dataset}")
    checks: dict[str, Callable[[], str]] = {
        **{what: partial(check_dataset, config) for what, config in _data(study).items()},
        "storage": lambda: _storage(join(storage, study.name)),
        "memory": lambda: _memory(searches),
        "cluster": lambda: _cluster(searches, options),
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
        say("  cost: not estimated until all checks pass")
    else:
        say(f"  cost: {_cost(study, options)}; searches only")
    for line in _trainings(study):
        say(line)
    if seeds := _seeds(study):
        say(f"  seeds: {seeds}")
    return len(failed)


def _storage(root: str) -> str:
    check_writable(root)
    return f"{root} can be written to"


def _data(study: StudyConfig) -> dict[str, SearchConfig | RetrainConfig]:
    """Configurations of all that a study trains, with different data sets; by what uses each."""
    users: list[tuple[str, SearchConfig | RetrainConfig]] = [("data", study.search)]
    users += [(f"data of {stage.name}", stage.recipe) for stage in study.stages()]
    wanted: dict[tuple[str, str, int], tuple[str, SearchConfig | RetrainConfig]] = {}
    for what, config in users:
        wanted.setdefault((config.dataset, config.data_dir, config.image_size), (what, config))
    return dict(wanted.values())


def _memory(searches: list[SearchConfig]) -> str:
    """Predicted memory of the searches."""
    predicted = predicted_bytes(searches, gpu=False).values()
    if not predicted:
        return "random cells need none"
    least, most = gigabytes(min(predicted)), gigabytes(max(predicted))
    return f"about {most if least == most else f'{least} to {most}'} a search on a CPU"


def _cluster(searches: list[SearchConfig], options: RunOptions) -> str:
    """Room for trials; raises ValueError if no trial fits."""
    wanted, predicted = pack_searches(searches, prepare_trials(searches, options), options)
    least = min(config.threads for config in searches)
    most = "at most " if least < wanted.cpus else ""
    text = f"{counted(_at_once(searches, wanted), 'search')} at once, each with {most}{wanted}"
    if wanted.memory:
        text += f", for which {gigabytes(wanted.memory)} of a node's memory are reserved"
    if wanted.gpus and options.gpus_per_trial < 0 and predicted and (memory := smallest_gpu()):
        need = max(predicted.values())
        holds = searches_per_gpu(need, memory)
        text += f"; about {gigabytes(need)} a search, of which a GPU of {gigabytes(memory)} holds {holds}"
    return text


def _at_once(searches: Sequence[SearchConfig], wanted: TrialResources) -> int:
    """How many of the searches the cluster can hold at once, if the one with the most threads reserves `wanted`."""
    return fitting(with_own_threads(wanted, config) for config in searches)


def _cost(study: StudyConfig, options: RunOptions) -> str:
    """Time of all searches, from a few steps of every setting on this machine; other machines differ."""
    searches = [config for config in study.searches() if config.method != "random"]
    if not searches:
        return "random cells cost nothing"
    settings = {dataclasses.replace(config, seed=0): study.setting(config) for config in searches}
    seconds = {config: _search_seconds(config) for config in settings}
    wanted, _ = pack_searches(study.searches(), prepare_trials(study.searches(), options), options)
    at_once = max(1, min(_at_once(searches, wanted), options.max_concurrent or len(searches)))
    total = _makespan([seconds[dataclasses.replace(config, seed=0)] for config in searches], at_once)
    each = ", ".join(f"{_span(seconds[config])} ({setting})" for config, setting in settings.items())
    one = each if len(settings) > 1 else _span(*seconds.values())
    return (
        f"about {one} a search, {_span(total)} in all with {at_once} at once "
        f"(extrapolated from steps of {PROBES[0]} and {PROBES[1]} images on this machine, without validation)"
    )


def _search_seconds(config: SearchConfig) -> float:
    """Time of all steps of a search."""
    state = SearchState(config)
    weights: list[float] = []
    alpha: list[float] = []
    for images in PROBES:
        batch = next(state.train.stream(images, torch.Generator().manual_seed(0)))
        weights.append(_seconds(partial(weight_step, state, *batch), state.device))
        alpha.append(_seconds(partial(state.architect.step, batch, batch, 0.0), state.device))
    steps = math.ceil(len(state.train) / config.batch_size)
    epochs_with_alpha = config.epochs - config.warmup_epochs
    weight_step_seconds, alpha_step_seconds = (_extrapolated(times, config.batch_size) for times in (weights, alpha))
    return steps * (weight_step_seconds * config.epochs + alpha_step_seconds * epochs_with_alpha)


def _makespan(seconds: Sequence[float], at_once: int) -> float:
    """When the last of some jobs ends that start in this order, each as soon as there is room."""
    ends = [0.0] * at_once
    for duration in seconds:
        heapq.heappush(ends, heapq.heappop(ends) + duration)
    return max(ends)


def _seeds(study: StudyConfig) -> str:
    """Whether the retrained cells can decide which setting is better."""
    cells = most_cells(study)
    if len(cells) < 2:
        return ""
    comparisons = math.comb(len(cells), 2)
    pairs, wanted = min(cells.values()), fewest_pairs(comparisons)
    what = f"{counted(comparisons, 'comparison')} between {len(cells)} settings"
    if not pairs:
        return f"no cell is retrained (selection.top={study.selection.top}), so no setting can be called better"
    if pairs < wanted:
        return (
            f"at most {counted(pairs, 'retrained cell')} per setting, but to decide {what} takes at least {wanted}: "
            f"use {wanted} seeds and --set selection.top={wanted}, or treat the result as a trial"
        )
    return f"up to {pairs} retrained cells per setting, enough to decide {what} (at least {wanted})"


def _trainings(study: StudyConfig) -> list[str]:
    """The trainings of every stage after the searches, lines of text."""
    cells = most_cells(study)
    costs = [cost for cost in stage_costs(study, sum(cells.values()), len(cells)) if cost.cells]
    return ["  then, at most:", *(f"    {cost}" for cost in costs)] if costs else []


def _extrapolated(seconds: list[float], images: int) -> float:
    """Time of a step on a number of images, linear through the two measured steps."""
    per_image = max(0.0, (seconds[1] - seconds[0]) / (PROBES[1] - PROBES[0]))
    return seconds[0] + per_image * (images - PROBES[0])


def _seconds(step: Callable[[], object], device: torch.device) -> float:
    step()  # the first call pays for set-up
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _span(seconds: float) -> str:
    return str(timedelta(seconds=max(1, round(seconds))))
