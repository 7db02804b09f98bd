"""What the searches of all nodes share: the images, in memory, and the storage folder.

Images are read once, by a task on a worker.  They stay in Ray's object store, which keeps one copy a node, and searches
compute from views into it.  ImageNet is a tree of image files and is read from there instead.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import ray
import ray.exceptions
import torch

from cluster.connect import TrialResources, keep_on_worker
from pcdarts.config import SearchConfig
from pcdarts.data import search_batches
from pcdarts.sources import Images, Parts, load

SharedData = dict[tuple[str, str], Any]
"""References to arrays in the object store, by data set and data folder."""
PATIENCE = 60.0
"""Seconds in which the images must have come to a node; a node that was lost may never send them."""


def share_data(configs: Sequence[SearchConfig], resources: TrialResources) -> SharedData:
    """Read the images of some searches where trials will run.

    A missing file raises ValueError here, and stops the study instead of every trial.
    """
    first = {_key(config): config for config in reversed(configs) if config.method != "random"}
    return {key: keep_on_worker(_arrays, config, resources) for key, config in first.items()}


def images_of(config: SearchConfig, shared: SharedData) -> Parts | None:
    """The shared images of a search, read-only and without a copy of them; None where it must read files itself."""
    reference = shared.get(_key(config))
    if config.method == "random" or reference is None:
        return None
    try:
        arrays = ray.get(reference, timeout=PATIENCE)
    except (ray.exceptions.ObjectLostError, ray.exceptions.GetTimeoutError):
        return None
    return arrays and _tensors(arrays)


def _key(config: SearchConfig) -> tuple[str, str]:
    return config.dataset, config.data_dir


def _arrays(config: SearchConfig) -> list[Any] | None:
    """Images and labels of both parts as NumPy arrays, which Ray hands out as views; None of ImageNet."""
    data = None if config.dataset == "imagenet" else load(config.dataset, config.data_dir)
    search_batches(config, torch.device("cpu"), data=data)  # refuses what a trial would refuse
    return data and [tuple(tensor.contiguous().numpy() for tensor in part) for part in data]


def _tensors(arrays: list[Any]) -> Parts:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they cannot be written to, and nobody does
        train, test = (Images(*map(torch.from_numpy, part)) for part in arrays)
    return train, test
