"""What trials reserve, and how many fit on the nodes of the connected cluster."""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass

import ray

from cluster.wording import counted, gigabytes


@dataclass(frozen=True, kw_only=True)
class TrialResources:
    """What one trial reserves."""

    cpus: int
    """CPUs."""
    gpus: float = 0.0
    """GPUs; a fraction shares one."""
    memory: int = 0
    """Memory of the node, bytes; 0: none is reserved."""

    def bundle(self) -> dict[str, float]:
        """The amounts by Ray's resource names."""
        return {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory}

    def __str__(self) -> str:
        """CPUs and GPUs in words."""
        return f"{counted(self.cpus, 'CPU')} and {counted(self.gpus, 'GPU')}"


def has_gpus() -> bool:
    """Whether a node of the connected cluster has a GPU."""
    return any(node["Alive"] and node["Resources"].get("GPU", 0) > 0 for node in ray.nodes())


def in_use() -> tuple[dict[str, float], dict[str, float], int]:
    """What the nodes of the connected cluster have and what of it is free, by Ray's names, and how many are up."""
    return ray.cluster_resources(), ray.available_resources(), sum(bool(node["Alive"]) for node in ray.nodes())


def largest_memory() -> int:
    """Memory for Ray on the node that has most of it, bytes."""
    return int(max((node["Resources"].get("memory", 0) for node in ray.nodes() if node["Alive"]), default=0))


def require_fit(wanted: TrialResources, *, autoscaling: bool = False) -> None:
    """Raise ValueError if no node can hold a trial: Ray would let it wait forever.

    With `autoscaling` nothing is refused, as nodes may be added.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if autoscaling or any(holds(node, wanted) for node in nodes):
        return
    if others := [node for node in nodes if holds(node, dataclasses.replace(wanted, memory=0))]:
        most = int(max(node.get("memory", 0) for node in others))
        raise ValueError(
            f"a search is to reserve {gigabytes(wanted.memory)} of memory, but no node has more than "
            f"{gigabytes(most)} for Ray; lower search.batch_size, search.eigenvalue_batch or search.channels, raise "
            "search.k, or reserve less with run.memory_per_trial"
        )
    largest: dict[str, float] = max(nodes, key=lambda node: (node.get("GPU", 0), node.get("CPU", 0)), default={})
    raise ValueError(
        f"a trial wants {wanted}, but the largest of {counted(len(nodes), 'node')} has "
        f"{counted(largest.get('CPU', 0), 'CPU')} and {counted(largest.get('GPU', 0), 'GPU')}; lower "
        "--gpus-per-trial, or search.threads (of a retraining retrain.threads)"
    )


def slots(wanted: TrialResources) -> int:
    """How many trials of this size the nodes of the connected cluster can hold at once."""
    cpus = sum(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"])
    return fitting([wanted] * int(cpus / wanted.cpus))


def fitting(trials: Iterable[TrialResources]) -> int:
    """How many of these trials the nodes of the connected cluster can hold at once, taken in their order."""
    nodes = [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]
    gpus = [[1.0] * int(node.pop("GPU", 0)) for node in nodes]
    return sum(any(_take(node, free, wanted) for node, free in zip(nodes, gpus, strict=True)) for wanted in trials)


def _take(node: dict[str, float], gpus: list[float], wanted: TrialResources) -> bool:
    """Take what a trial reserves off a node's CPUs, memory and GPUs, if it fits there."""
    share = min(1.0, wanted.gpus)  # a part is of one GPU
    chosen = [index for index, free in enumerate(gpus) if free >= share - 1e-9][: math.ceil(wanted.gpus)]
    others = {name: amount for name, amount in wanted.bundle().items() if name != "GPU"}
    if len(chosen) < wanted.gpus or any(node.get(name, 0) < amount for name, amount in others.items()):
        return False
    for index in chosen:
        gpus[index] -= share
    for name, amount in others.items():
        node[name] = node.get(name, 0) - amount
    return True


def holds(node: dict[str, float], wanted: TrialResources) -> bool:
    """Whether a node with these resources, by Ray's names, can hold a trial."""
    return all(node.get(name, 0) >= amount for name, amount in wanted.bundle().items())
