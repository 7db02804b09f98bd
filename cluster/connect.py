"""Connect to a running Ray cluster, or start Ray on this machine, and refuse work that no node can hold."""

import contextlib
import dataclasses
import logging
import os
import socket
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
from ray._private import ray_constants, services
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.authentication import private_token


@dataclass(frozen=True, kw_only=True)
class TrialResources:
    """What one trial reserves."""

    cpus: int
    """CPUs."""
    gpus: float = 0.0
    """GPUs; a fraction shares one."""
    memory: int = 0
    """Memory of the node, bytes; 0: none is reserved."""

    def __str__(self) -> str:
        """CPUs and GPUs in words."""
        return f"{counted(self.cpus, 'CPU')} and {counted(self.gpus, 'GPU')}"


def connect(address: str = "") -> None:
    """Connect this process to Ray, once.

    `address` is host:port, `auto` (a cluster that runs here) or `local` (start one for this process alone).  Empty: the
    environment's RAY_ADDRESS, else a cluster that runs here, else a local one.  Raises ValueError where none answers.
    """
    if ray.is_initialized():
        return
    # Ray's own tables and warnings would drown the progress display; errors of trials reach the tables instead.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1e9")  # no snapshots of Tune's state: nothing restores them
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl-C ends the study, not only its first half
    os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # a relative --data-dir means the same to trials
    warnings.filterwarnings("ignore", module=r"ray\..*")
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    _require_answer(address)
    private_token()
    try:
        _join_or_start(address)
    except (ConnectionError, ValueError) as error:
        raise ValueError(
            f"no Ray cluster answers at {address or os.environ.get('RAY_ADDRESS', 'this machine')!r} "
            f"({str(error).splitlines()[0]}); give --address host:port, or --address local to start one here"
        ) from None


def _join_or_start(address: str) -> None:
    # Ray listens on all interfaces, unless it believes that there can be no other machine, as on a desktop.
    alone = "://" not in address and services.canonicalize_bootstrap_address(address or None) is None  # type: ignore[arg-type]
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = before and not alone
    try:
        ray.init(
            address=address or None,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env=None if alone else {"py_modules": _checkout_packages()},
        )
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _checkout_packages() -> list[str]:
    """Packages of a checkout, which Ray sends to the nodes, so that all run the driver's code; none where installed."""
    checkout = Path(__file__).resolve().parent.parent
    if not (checkout / "pyproject.toml").is_file():
        return []
    return [str(path.parent) for path in sorted(checkout.glob("*/__init__.py")) if path.parent.name != "tests"]


def _require_answer(address: str) -> None:
    """Raise ValueError where nobody listens at host:port; Ray itself would try for two minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "://" in address:
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"no Ray cluster answers at {address!r} ({error}); give --address host:port, or local to start one here"
        ) from None


def has_gpus() -> bool:
    """Whether a node of the connected cluster has a GPU."""
    return any(node["Alive"] and node["Resources"].get("GPU", 0) > 0 for node in ray.nodes())


def require_fit(wanted: TrialResources, *, autoscaling: bool = False) -> None:
    """Raise ValueError where no node can hold a trial: Ray would let it wait for ever.

    With `autoscaling` the nodes of today say nothing about those of tomorrow, and nothing is refused.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if autoscaling or any(_holds(node, wanted) for node in nodes):
        return
    if others := [node for node in nodes if _holds(node, dataclasses.replace(wanted, memory=0))]:
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


def keep_on_worker(function: Callable[[Any], Any], argument: Any, resources: TrialResources) -> "ray.ObjectRef[Any]":
    """Call a function once where trials will run, and leave its result in the object store there.

    If that node is lost later, Ray computes the result again.  A ValueError of the function is one here; other errors
    stay Ray's.
    """

    def attempt(argument: Any) -> tuple[str | None, Any]:
        try:
            return None, function(argument)
        except ValueError as error:
            return str(error), None

    remote: Any = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus)(attempt)
    problem, result = remote.options(num_returns=2).remote(argument)
    # Of the two the small one is fetched: the other would be copied to this node.
    if (message := ray.get(problem)) is not None:
        raise ValueError(message)
    return result


def on_gpus(function: Callable[[], int]) -> list[int]:
    """Call a function on every node that has a GPU, where it sees one of them."""
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0) > 0]
    return list(run_on_nodes(lambda _: function(), None, nodes, gpus=0.001).values())


def other_nodes(wanted: TrialResources) -> dict[str, str]:
    """Ids and addresses of the nodes, beside this one, that can hold a trial."""
    here = ray.get_runtime_context().get_node_id()
    return {
        node["NodeID"]: node["NodeManagerAddress"]
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] != here and _holds(node["Resources"], wanted)
    }


def run_on_nodes(
    function: Callable[[Any], Any], argument: Any, nodes: Iterable[str], *, gpus: float = 0.0
) -> dict[str, Any]:
    """Call a function once on each of some nodes, by their ids.

    A node that is lost meanwhile, or too busy to answer within a minute, gives no result.
    """
    remote: Any = ray.remote(num_cpus=0, num_gpus=gpus)(function)
    tasks = {
        node: remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(argument)
        for node in nodes
    }
    results = {}
    for node, task in tasks.items():
        with contextlib.suppress(
            ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError, ray.exceptions.GetTimeoutError
        ):
            results[node] = ray.get(task, timeout=60)
    return results


def _holds(node: dict[str, float], wanted: TrialResources) -> bool:
    asked = {"CPU": wanted.cpus, "GPU": wanted.gpus, "memory": wanted.memory}
    return all(node.get(name, 0) >= amount for name, amount in asked.items())


def largest_memory() -> int:
    """Memory that Ray gives out on the node that has most of it, bytes."""
    return int(max((node["Resources"].get("memory", 0) for node in ray.nodes() if node["Alive"]), default=0))


def gigabytes(count: int) -> str:
    """Bytes as people read them."""
    return f"{count / 1e9:.1f} GB"


def counted(count: float, noun: str) -> str:
    """So many of a thing in words, in the singular for one: 1 GPU, 2 searches."""
    number = str(int(count)) if count == int(count) else f"{count:g}"
    return f"{number} {noun}" + ("" if count == 1 else "es" if noun.endswith("search") else "s")


def slots(wanted: TrialResources) -> int:
    """How many trials of this size the nodes of the connected cluster can hold at once."""
    total = 0
    for node in ray.nodes():
        if node["Alive"]:
            by_cpu = node["Resources"].get("CPU", 0) / wanted.cpus
            gpus = node["Resources"].get("GPU", 0)
            shares = int(gpus) * int(1 / wanted.gpus + 1e-9) if 0 < wanted.gpus < 1 else 0  # a part is of one GPU
            by_gpu = (shares or gpus / wanted.gpus) if wanted.gpus else by_cpu
            by_memory = node["Resources"].get("memory", 0) / wanted.memory if wanted.memory else by_cpu
            total += int(min(by_cpu, by_gpu, by_memory))
    return total
