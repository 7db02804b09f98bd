"""What a trial reserves: CPUs, and a GPU or memory, shared by searches according to their predicted memory.

Not run on a GPU: the tests cover the arithmetic with invented GPU sizes, and the memory of nodes.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from threading import Thread

import ray
import torch

from cluster.code import imported_code
from cluster.connect import connect
from cluster.resources import TrialResources, fitting, has_gpus, in_use, largest_memory, require_fit, slots
from cluster.tasks import on_gpus
from cluster.wording import gigabytes
from orchestrator.options import RunOptions
from orchestrator.storage.live_status import ResourceUse
from orchestrator.storage.provenance import git_revision
from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.diagnostics.memory import predict_memory
from pcdarts.training.device import mps_runs

MARGIN = 0.8
"""Share of a GPU's memory that predictions may fill; they leave out cuDNN's workspaces, among others."""


def prepare_trials(configs: Sequence[SearchConfig | RetrainConfig], options: RunOptions) -> TrialResources:
    """Connect, and return what the trial with the most threads reserves.

    Raises ValueError if no node can hold it.
    """
    gpus = 0.0 if all(config.device == "cpu" for config in configs) else options.gpus_per_trial
    if gpus < 0 and options.autoscaling:
        raise ValueError(
            "run.autoscaling=true cannot choose GPUs from nodes that do not run yet; give --gpus-per-trial"
        )
    imported_code(), git_revision()  # before Ray sends the code to the nodes; both are remembered
    connect(options.address)
    if gpus < 0:
        gpus = 1.0 if has_gpus() else 0.0
    resources = TrialResources(cpus=max(config.threads for config in configs), gpus=gpus)
    require_fit(resources, autoscaling=options.autoscaling)
    return resources


def resource_use() -> ResourceUse | None:
    """What the connected cluster has and uses; None before the driver has connected."""
    if not ray.is_initialized():
        return None
    total, free, nodes = in_use()
    return ResourceUse(
        cpus=total.get("CPU", 0.0),
        cpus_used=round(total.get("CPU", 0.0) - free.get("CPU", 0.0), 4),
        gpus=total.get("GPU", 0.0),
        gpus_used=round(total.get("GPU", 0.0) - free.get("GPU", 0.0), 4),
        nodes=nodes,
    )


def with_own_threads(resources: TrialResources, config: SearchConfig | RetrainConfig) -> TrialResources:
    """What this trial reserves if the one with the most threads reserves `resources`."""
    return dataclasses.replace(resources, cpus=config.threads)


def pack_searches(
    configs: Sequence[SearchConfig], resources: TrialResources, options: RunOptions
) -> tuple[TrialResources, dict[str, int]]:
    """What the search with the most threads reserves if searches share GPUs and nodes by their predicted memory.

    Also returns the predictions: bytes by search id.
    """
    predicted = predicted_bytes(configs, gpu=resources.gpus > 0)
    threads = [config.threads for config in configs]
    return pack(resources, max(predicted.values(), default=0), threads, options), predicted


def with_fewer_neighbors(resources: TrialResources, options: RunOptions, trials: int) -> tuple[TrialResources, int]:
    """Twice the share of a GPU or the memory of a node, up to a whole one; without either, half as many at once.

    Returns what each of `trials` reserves, and how many may run at once (0: any number).
    """
    if 0 < resources.gpus < 1:
        return dataclasses.replace(resources, gpus=min(1.0, 2 * resources.gpus)), options.max_concurrent
    if resources.memory:
        memory = min(2 * resources.memory, largest_memory())
        return dataclasses.replace(resources, memory=memory), options.max_concurrent
    at_once = min(trials, slots(resources), options.max_concurrent or trials)
    return resources, max(1, at_once // 2)


def memory_fraction(resources: TrialResources) -> float:
    """Share of a GPU's memory that a trial may allocate."""
    return resources.gpus if 0 < resources.gpus < 1 else 1.0


def sharing_note(resources: TrialResources) -> str | None:
    """What to know if searches share GPUs on nodes without NVIDIA's Multi-Process Service; None otherwise."""
    if not 0 < resources.gpus <= 0.5 or all(on_gpus(mps_runs)):
        return None
    return "searches share GPUs without MPS, so their kernels take turns; see docs/cluster.md, Sharing a GPU"


def predicted_bytes(configs: Iterable[SearchConfig], *, gpu: bool) -> dict[str, int]:
    """Predicted peak memory of searches by their ids, except those that train nothing."""
    predictions = {config.search_id: predict_memory(config, gpu=gpu) for config in configs}
    return {key: prediction.total for key, prediction in predictions.items() if prediction}


@contextlib.contextmanager
def predicting(configs: Sequence[SearchConfig]) -> Iterator[None]:
    """Predict the memory of searches in a thread while Ray starts; `predict_memory` caches what it finds."""

    def predict() -> None:
        with contextlib.suppress(Exception):  # `pack_searches` will raise it
            predicted_bytes(configs, gpu=torch.cuda.is_available())  # a guess about the nodes

    thread = Thread(target=predict, name="memory prediction")
    thread.start()
    try:
        yield
    finally:
        thread.join()


def pack(resources: TrialResources, wanted: int, threads: Sequence[int], options: RunOptions) -> TrialResources:
    """What searches with these threads and `wanted` predicted bytes reserve: a share of a GPU, or memory of a node.

    As few as possible share a GPU: Ray fills one GPU before the next, and neighbors take turns on it.
    run.gpus_per_trial and run.memory_per_trial replace the prediction.  Raises ValueError if a search fits nowhere.
    """
    if resources.gpus:
        memory = smallest_gpu() if wanted and options.gpus_per_trial < 0 else 0
        if not memory:
            return resources
        at_once = min(len(threads), options.max_concurrent or len(threads))
        alone = fitting(dataclasses.replace(resources, cpus=cpus, gpus=1.0) for cpus in threads)
        needed = math.ceil(at_once / max(1, alone))
        return dataclasses.replace(resources, gpus=gpu_share(min(needed, searches_per_gpu(wanted, memory))))
    if options.memory_per_trial >= 0:
        wanted = round(options.memory_per_trial * 1e9)
    elif options.autoscaling:  # node types may not declare their memory, and would never be started
        wanted = 0
    resources = dataclasses.replace(resources, memory=wanted)
    require_fit(resources, autoscaling=options.autoscaling)
    return resources


def searches_per_gpu(wanted: int, memory: int) -> int:
    """How many searches of `wanted` predicted bytes share a GPU of `memory` bytes.

    Raises ValueError if not even one fits.
    """
    if wanted > memory:
        raise ValueError(
            f"a search is predicted to need {gigabytes(wanted)}, but the smallest GPU has {gigabytes(memory)}; lower "
            "search.batch_size, search.eigenvalue_batch or search.channels, raise search.k, or give --gpus-per-trial 1 "
            "to try it anyway"
        )
    return max(1, math.floor(MARGIN * memory / wanted))


def gpu_share(searches: int) -> float:
    """Share of a GPU that each of `searches` reserves."""
    # Ray counts in ten-thousandths and rounds: six sixths must not be more than one.
    return math.floor(10_000 / searches) / 10_000


def smallest_gpu() -> int:
    """Memory of the smallest GPU of the connected cluster, bytes; 0 if PyTorch cannot use its GPUs."""
    return min((memory for memory in on_gpus(_gpu_memory) if memory), default=0)


def _gpu_memory() -> int:
    return torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0
