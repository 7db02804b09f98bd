"""What a trial reserves: CPUs, and a GPU or memory, which searches share by what each of them is predicted to need.

Never run on a GPU: what was tried are the arithmetic, with invented sizes of GPUs, and the memory of nodes.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import torch

from cluster.connect import connect
from cluster.resources import TrialResources, has_gpus, largest_memory, require_fit, slots
from cluster.tasks import on_gpus
from cluster.wording import gigabytes
from orchestrator.options import RunOptions
from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.diagnostics.memory import predict_memory

MARGIN = 0.8
"""Share of a GPU's memory that predictions may fill: kernels' workspaces and fragments of the allocator come on top."""


def prepare_trials(config: SearchConfig | RetrainConfig, options: RunOptions) -> TrialResources:
    """Connect, and find out before the first trial whether trials fit."""
    gpus = 0.0 if config.device == "cpu" else options.gpus_per_trial
    if gpus < 0 and options.autoscaling:
        raise ValueError("with run.autoscaling=true give --gpus-per-trial: nodes that are not there yet cannot tell")
    connect(options.address)
    if gpus < 0:
        gpus = 1.0 if has_gpus() else 0.0
    resources = TrialResources(cpus=config.threads, gpus=gpus)
    require_fit(resources, autoscaling=options.autoscaling)
    return resources


def pack_searches(
    configs: Sequence[SearchConfig], resources: TrialResources, options: RunOptions
) -> tuple[TrialResources, dict[str, int]]:
    """What searches reserve that share GPUs and nodes by their predicted memory; and that, by search id."""
    predicted = predicted_bytes(configs, gpu=resources.gpus > 0)
    return pack(resources, max(predicted.values(), default=0), len(configs), options), predicted


def with_fewer_neighbors(resources: TrialResources, options: RunOptions, trials: int) -> tuple[TrialResources, int]:
    """Twice the share of a GPU or the memory of a node, up to a whole one; without either, half as many at once.

    What each of `trials` reserves, and how many may run at once, 0 for any number.
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


def predicted_bytes(configs: Iterable[SearchConfig], *, gpu: bool) -> dict[str, int]:
    """Predicted peak memory of searches by their ids; those that train nothing are left out."""
    predictions = {config.search_id: predict_memory(config, gpu=gpu) for config in configs}
    return {key: prediction.total for key, prediction in predictions.items() if prediction}


def pack(resources: TrialResources, wanted: int, searches: int, options: RunOptions) -> TrialResources:
    """What each of so many searches of `wanted` predicted bytes reserves: a part of a GPU, or memory of a node.

    No more share a GPU than have to: Ray would fill one before it opens the next, and neighbours take turns on it.
    run.gpus_per_trial and run.memory_per_trial replace the prediction.  Raises ValueError where a search fits nowhere.
    """
    if resources.gpus:
        memory = smallest_gpu() if wanted and options.gpus_per_trial < 0 else 0
        if not memory:
            return resources
        at_once = min(searches, options.max_concurrent or searches)
        needed = math.ceil(at_once / max(1, slots(dataclasses.replace(resources, gpus=1.0))))
        return dataclasses.replace(resources, gpus=gpu_share(min(needed, searches_per_gpu(wanted, memory))))
    if options.memory_per_trial >= 0:
        wanted = round(options.memory_per_trial * 1e9)
    elif options.autoscaling:  # node types may not tell their memory, and would never be started
        wanted = 0
    resources = dataclasses.replace(resources, memory=wanted)
    require_fit(resources, autoscaling=options.autoscaling)
    return resources


def searches_per_gpu(wanted: int, memory: int) -> int:
    """How many searches of `wanted` predicted bytes share a GPU of `memory` bytes.

    Raises ValueError where not even one fits.
    """
    if wanted > memory:
        raise ValueError(
            f"a search is predicted to need {gigabytes(wanted)}, but the smallest GPU has {gigabytes(memory)}; lower "
            "search.batch_size, search.eigenvalue_batch or search.channels, raise search.k, or give --gpus-per-trial 1 "
            "to try it anyway"
        )
    return max(1, math.floor(MARGIN * memory / wanted))


def gpu_share(searches: int) -> float:
    """Part of a GPU that each of so many searches reserves."""
    # Ray counts in ten-thousandths and rounds: six sixths must not be more than one.
    return math.floor(10_000 / searches) / 10_000


def smallest_gpu() -> int:
    """Memory of the smallest GPU of the connected cluster, bytes; 0 where its GPUs are none that PyTorch knows."""
    return min((memory for memory in on_gpus(_gpu_memory) if memory), default=0)


def _gpu_memory() -> int:
    return torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0
