"""`pcdarts check`: check before a long run whether it can work, and estimate its cost."""

import dataclasses
import heapq
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch

from analysis.conclusions.power import fewest_pairs
from analysis.storage.study_files import StudyFiles, join
from cluster.resources import TrialResources, fitting
from cluster.wording import counted, gigabytes
from orchestrator.config import SOURCE, StudyConfig, StudyImages, source
from orchestrator.more_seeds import with_added_seeds
from orchestrator.options import RunOptions
from orchestrator.queue.costs import most_cells, stage_costs
from orchestrator.storage.lease import open_lease
from orchestrator.storage.steering_log import SteeringLog
from orchestrator.storage.study_folder import check_storage, validate_storage
from orchestrator.trials.image_descriptions import look_at, require_networks, with_absolute_paths
from orchestrator.trials.placement import (
    pack_searches,
    predicted_bytes,
    prepare_trials,
    searches_per_gpu,
    sharing_note,
    smallest_gpu,
    with_own_threads,
)
from orchestrator.trials.progress import image_progress
from orchestrator.trials.shared_images import require_shared
from orchestrator.trials.worker_team import make_team
from pcdarts.config import OWN_IMAGES, RetrainConfig, SearchConfig, learning_rate_advice
from pcdarts.data.datasets import dataset_info, fits_memory
from pcdarts.search import SearchState, weight_step

PROBES = (4, 16)
"""Images in the steps that the cost is estimated from: a step takes a fixed time and a time per image."""


def check(study: StudyConfig, storage: str, options: RunOptions, say: Callable[[str], None] = print) -> int:
    """Print a line for every check of a study and the estimated cost; returns the number of failed checks."""
    study, failed = with_absolute_paths(study), []

    def run(checks: Mapping[str, Callable[[], str]]) -> None:
        for name, run_check in checks.items():
            try:
                say(f"  ok      {name}: {run_check()}")
            except ValueError as error:
                failed.append(name)
                say(f"  failed  {name}: {error}")

    search, searches, images = study.search, study.searches(), list[StudyImages]()
    say(f"{study.name}: {counted(len(searches), 'search')} of {counted(search.epochs, 'epoch')} on {search.dataset}")
    run({what: partial(_images, group, images) for what, group in _data(study).items()})
    study = study.with_images(images)
    searches = study.searches()
    root = join(storage, study.name)
    run({"storage": lambda: _storage(study, root, options, described=not failed)})
    if not failed or search.dataset not in OWN_IMAGES:  # otherwise the size of the networks is not known
        run(
            {
                "networks": lambda: _networks(study),
                "memory": lambda: _memory(searches),
                "shared memory": lambda: _shared_memory(study),
                "cluster": lambda: _cluster(searches, root, options),
            }
        )
        if options.retrain:
            run({"cluster for trainings": lambda: _trainings_fit(study, root, options)})
    run({"learning rate": lambda: learning_rate_advice(search) or "follows the batch size"})
    if failed:
        say("  cost: not estimated until all checks pass")
    else:
        say(f"  cost: {_cost(study, options)}; searches only")
    for line in _trainings(study):
        say(line)
    if seeds := _seeds(study):
        say(f"  seeds: {seeds}")
    return len(failed)


def _storage(study: StudyConfig, root: str, options: RunOptions, *, described: bool) -> str:
    """Whether the study can start or resume there; one whose images could not be described is not compared."""
    stored = check_storage(root)
    if described:
        added = SteeringLog(StudyFiles(join(root, "steering"))).added_seeds()
        validate_storage(with_added_seeds(study, added), root)
    if not options.wait and open_lease(root, options, "study").held_elsewhere():
        raise ValueError(f"another process works on the study at {root}; wait for it with --set run.wait=true")
    return f"{root} can be written to" + ("; the study there would be resumed" if stored else "")


def _data(study: StudyConfig) -> dict[str, list[SearchConfig | RetrainConfig]]:
    """What reads each data set of a study, by the name of its check."""
    stages = {source(stage.recipe): stage.name for stage in reversed(study.stages())}
    swept = [name for name in SOURCE if len(study.sweep.get(name, ())) > 1]
    checks = {}
    for group in study.readers():
        first = group[0]
        values = [f"{name}={getattr(first, name)}" for name in swept]
        user = ", ".join(values) if isinstance(first, SearchConfig) else stages[source(first)]
        checks[f"data of {user}" if user else "data"] = group
    return checks


def _images(configs: list[SearchConfig | RetrainConfig], found: list[StudyImages]) -> str:
    """The images that these configurations read, in words; what a study keeps of them goes into `found`."""
    with image_progress(f"images in {configs[0].data_dir}") as on_progress:
        images, description = look_at(configs, processes=os.cpu_count() or 1, on_progress=on_progress)
    found.append(images)
    digest = description.fingerprint.rpartition(", ")[2]
    return f"{description.summary}; digest {digest}" if digest else description.summary


def _networks(study: StudyConfig) -> str:
    require_networks(study)
    return "all can be trained on these images"


def _memory(searches: list[SearchConfig]) -> str:
    """Predicted memory of the searches."""
    predicted = predicted_bytes(searches, gpu=False).values()
    if not predicted:
        return "random cells need none"
    least, most = gigabytes(min(predicted)), gigabytes(max(predicted))
    return f"about {most if least == most else f'{least} to {most}'} a search on a CPU"


def _shared_memory(study: StudyConfig, folder: str = "/dev/shm") -> str:
    """Room on this machine for the batches that reading processes pass on; raises ValueError if there is too little."""
    needed = max((_passed_bytes(config) for group in study.readers() for config in group), default=0)
    if not needed or not os.path.isdir(folder):
        return "not needed"
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ValueError(
            f"{folder} has {gigabytes(free)} free, but processes that read images pass on up to {gigabytes(needed)} "
            "there; give the container more (docker run --shm-size, or on Kubernetes an emptyDir of medium Memory at "
            f"{folder}), or set search.threads and retrain.threads to 1"
        )
    return f"{folder} has {gigabytes(free)} free, of which a trial uses up to {gigabytes(needed)}"


def _passed_bytes(config: SearchConfig | RetrainConfig) -> int:
    """Batches in shared memory at once: every process that reads image files is two ahead."""
    if fits_memory(config):
        return 0
    info = dataset_info(config)
    return 2 * (config.threads - 1) * config.batch_size * info.image_channels * math.prod(info.image_size)


def _cluster(searches: list[SearchConfig], root: str, options: RunOptions) -> str:
    """Room for searches; raises ValueError if none fits, or if a node does not see the study's folder."""
    wanted, predicted = pack_searches(searches, prepare_trials(searches, options), options)
    require_shared(_present(root), wanted)
    least = min(config.threads for config in searches)
    most = "at most " if least < wanted.cpus else ""
    text = f"{counted(_at_once(searches, wanted), 'search')} at once, each with {most}{wanted}"
    if wanted.memory:
        text += f", for which {gigabytes(wanted.memory)} of a node's memory are reserved"
    if wanted.gpus and options.gpus_per_trial < 0 and predicted and (memory := smallest_gpu()):
        need = max(predicted.values())
        holds = searches_per_gpu(need, memory)
        text += f"; about {gigabytes(need)} a search, of which a GPU of {gigabytes(memory)} holds {holds}"
    if note := sharing_note(wanted):
        text += f"; {note}"
    return text


def _trainings_fit(study: StudyConfig, root: str, options: RunOptions) -> str:
    """Room for the trainings of every stage; raises ValueError as `_cluster` does."""
    for stage in study.stages():
        wanted = prepare_trials(stage.recipes(), options)
        require_shared(_present(root), wanted)
        if stage.stage != "rung":
            make_team(wanted, options)
    return "every stage has room"


def _present(root: str) -> str:
    """The folder, or the nearest one above it that exists; a URI unchanged."""
    if "://" in root:
        return root
    path = Path(root).absolute()
    return str(next(folder for folder in (path, *path.parents) if folder.is_dir()))


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
