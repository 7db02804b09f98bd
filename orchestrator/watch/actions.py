"""What the buttons of the page do: the same calls as those of the command line."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pcdarts.genotype import PUBLISHED

if TYPE_CHECKING:
    from analysis.store import ResultStore
    from orchestrator.config import StudyConfig


def act(root: str, action: str, target: str) -> str:
    """Carry out an action on a study; returns what was done.

    Raises ValueError for unknown actions, and for those that are impossible.
    """
    if action not in ACTIONS:
        raise ValueError(f"action is {action!r}, but must be one of {', '.join(ACTIONS)}")
    if not target.strip():
        raise ValueError(f"{action} needs a target")
    from orchestrator.storage.study_folder import open_study  # imports PyTorch, as do the actions

    study, store = open_study(root)
    return ACTIONS[action](study, store, target.strip())


def _add(study: "StudyConfig", store: "ResultStore", text: str) -> str:
    from orchestrator.queue.retrain_queue import RetrainQueue

    if text not in PUBLISHED and "Genotype(" not in text:  # `queue add` would read a file of this name
        raise ValueError(
            f"cell is {text[:60]!r}, but must be one of {', '.join(PUBLISHED)}, or a text Genotype(normal=...)"
        )
    return f"Added job {RetrainQueue(study, store).add(text)}"


def _drop(study: "StudyConfig", store: "ResultStore", name: str) -> str:
    from orchestrator.queue.retrain_queue import RetrainQueue

    return f"Dropped job {RetrainQueue(study, store).drop(name)}"


def _retry(study: "StudyConfig", store: "ResultStore", name: str) -> str:
    from orchestrator.queue.retrain_queue import RetrainQueue

    return f"Queued job {RetrainQueue(study, store).retry(name)} again"


def _up(study: "StudyConfig", store: "ResultStore", name: str) -> str:
    from orchestrator.steering import move_up

    return f"Moved job {move_up(study, store, name).target} up"


def _stop(study: "StudyConfig", store: "ResultStore", name: str) -> str:
    from orchestrator.steering import stop_search

    return f"Asked search {stop_search(study, store, name).target} to stop"


def _seeds(study: "StudyConfig", store: "ResultStore", text: str) -> str:
    from orchestrator.steering import add_seeds

    words = text.replace(",", " ").split()
    if not all(word.isdecimal() for word in words):
        raise ValueError(f"seeds are {text[:60]!r}, but must be integers from 0, such as 7 8 9")
    seeds = add_seeds(study, store, [int(word) for word in words]).seeds
    return f"Asked for the {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"


ACTIONS: Mapping[str, Callable[["StudyConfig", "ResultStore", str], str]] = {
    "add": _add,
    "drop": _drop,
    "retry": _retry,
    "up": _up,
    "stop": _stop,
    "seeds": _seeds,
}
"""What can be done."""
