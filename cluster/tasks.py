"""Functions that run on chosen nodes of the connected cluster."""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.resources import TrialResources, holds

Result = TypeVar("Result")


def keep_on_worker(function: Callable[[Any], Any], argument: Any, resources: TrialResources) -> "ray.ObjectRef[Any]":
    """Call a function on a node that can hold a trial, and keep its result in the object store there.

    If that node is lost, Ray computes the result again.  Raises the function's ValueError; other errors stay Ray's.
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


def on_gpus(function: Callable[[], Result]) -> list[Result]:
    """Call a function on every node with a GPU; it sees one GPU."""
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0) > 0]
    return list(run_on_nodes(lambda _: function(), None, nodes, gpus=0.001).values())


def other_nodes(wanted: TrialResources) -> dict[str, str]:
    """Ids and addresses of the other nodes that can hold a trial."""
    here = ray.get_runtime_context().get_node_id()
    return {
        node["NodeID"]: node["NodeManagerAddress"]
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] != here and holds(node["Resources"], wanted)
    }


def run_on_nodes(
    function: Callable[[Any], Any], argument: Any, nodes: Iterable[str], *, gpus: float = 0.0
) -> dict[str, Any]:
    """Call a function once on each node; results by node id.

    A node that is lost, or too busy to answer within a minute, has no result.
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
