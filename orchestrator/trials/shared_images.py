"""What the trials on all nodes share: the images, in memory, and the storage folder.

Images are read once, by a task on a worker.  They stay in Ray's object store, which keeps one copy per node, and trials
use views into it.  ImageNet and larger trees of image files are read by every trial itself; the searches on a node
share a file of decoded images, see `pcdarts.data.decoding.squares`.
"""

import os
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
import torch

from cluster.resources import TrialResources
from cluster.tasks import keep_on_worker, other_nodes, run_on_nodes
from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.data.batches import check_parts
from pcdarts.data.datasets import Images, ImageSet, fits_memory
from pcdarts.data.sources import load

Config = SearchConfig | RetrainConfig
"""What a trial runs."""
Look = Callable[[Callable[[str], bool], str, Iterable[str]], dict[str, bool]]
"""Calls a function with a path on some nodes, as `run_on_nodes` does."""
SharedData = dict[tuple[Any, ...], Any]
"""References to data sets in the object store, by `_key`."""
PATIENCE = 60.0
"""Seconds to wait for the images on a node; a node that was lost may never send them."""
_kept: dict[tuple[str, str], SharedData] = {}
"""What this driver has read, by its node and job in the Ray session.

Functions with such references stay in Ray until the driver ends, and so do the images.
"""


def share_data(configs: Sequence[Config], resources: TrialResources) -> SharedData:
    """Read the images of some trials on a node that can run them, once per session.

    Raises ValueError for what every trial would refuse, such as a missing file.
    """
    groups: dict[tuple[Any, ...], list[Config]] = {}
    for config in configs:
        if _reads(config):
            groups.setdefault(_key(config), []).append(config)
    context = ray.get_runtime_context()
    kept = _kept.setdefault((context.get_node_id(), context.get_job_id()), {})
    for key, group in groups.items():
        if key in kept:
            try:
                keep_on_worker(_check_kept, (group, [kept[key]]), resources)
                continue
            except ray.exceptions.RayError:  # lost for good: they are read again
                pass
        kept[key] = keep_on_worker(_arrays, group, resources)
    return {key: kept[key] for key in groups}


def images_of(config: Config, shared: SharedData) -> ImageSet | None:
    """The shared images of a trial, read-only and not copied; None if it must read files itself."""
    reference = shared.get(_key(config)) if _reads(config) else None
    if reference is None:
        return None
    try:
        arrays = ray.get(reference, timeout=PATIENCE)
    except ray.exceptions.RayError:  # lost, late, or not read again
        return None
    return None if arrays is None else _tensors(arrays)


def _key(config: Config) -> tuple[Any, ...]:
    """What decides which images are in memory, and how they are augmented."""
    return config.dataset, config.data_dir, config.image_size, config.flip, config.data_fingerprint


def _reads(config: Config) -> bool:
    return isinstance(config, RetrainConfig) or config.method != "random"


def _arrays(configs: Sequence[Config]) -> list[Any] | None:
    """What the data set is, and images and labels of both parts as NumPy arrays, which Ray hands out as views.

    None for images that are read in batches.
    """
    data = load(configs[0]) if fits_memory(configs[0]) else None
    check_parts(configs, data)
    if data is None:
        return None
    return [data.info, *(tuple(tensor.contiguous().numpy() for tensor in part) for part in (data.train, data.test))]


def _check_kept(given: tuple[Sequence[Config], list[Any]]) -> None:
    """Check with images that were read before.  Their reference is in a list, or Ray would wait for it."""
    configs, (reference,) = given
    arrays = ray.get(reference, timeout=PATIENCE)
    check_parts(configs, None if arrays is None else _tensors(arrays))


def _tensors(arrays: list[Any]) -> ImageSet:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are read-only, and nobody writes to them
        info, *parts = arrays
        train, test = (Images(*map(torch.from_numpy, part)) for part in parts)
    return ImageSet(info, train, test)


def require_shared(root: str, wanted: TrialResources, look: Look = run_on_nodes) -> None:
    """Raise ValueError if a node that can hold a trial does not see the study folder of this process.

    Object stores, named by a URI, are the same everywhere.
    """
    nodes = {} if "://" in root else other_nodes(wanted)
    if not nodes:
        return
    probe = Path(root, f".seen-{uuid.uuid4().hex}").absolute()
    probe.touch()
    try:
        seen = look(_appears, str(probe), nodes)
    finally:
        probe.unlink()
    if blind := sorted(nodes[node] for node, sees in seen.items() if not sees):
        raise ValueError(
            f"storage {root!r} is not the same folder on the nodes {', '.join(blind)}, where trials would lose their "
            "checkpoints; give --storage a folder that all nodes mount, or a URI such as s3://bucket/studies"
        )


def _appears(path: str, seconds: float = 5.0) -> bool:
    """Whether a file exists, or appears within `seconds`: network file systems may be late."""
    end = time.monotonic() + seconds
    while not (found := os.path.exists(path)) and time.monotonic() < end:
        time.sleep(0.2)
    return found
