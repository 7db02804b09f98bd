"""A search that runs out of memory: it runs once more with fewer neighbors, and is then given up."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.resources import TrialResources
from orchestrator.options import RunOptions
from orchestrator.trials.placement import with_fewer_neighbors

STUDY = """
import dataclasses, functools, json, sys
import pandas as pd, ray, torch
from orchestrator import study
from orchestrator.trials import search_trials as searching
from orchestrator.options import RunOptions
from orchestrator.presets import smoke
from pcdarts.search import search

ray.init = functools.partial(ray.init, num_cpus=2, num_gpus=1)  # logical: nothing is computed there


def trial(given, shared):
    spec, root = given["spec"], given["spec"].root

    def searched(config, data, **others):
        with open(f"{root}/tries.txt", "a") as file:
            file.write(json.dumps([config.seed, spec.memory_fraction]) + "\\n")
        if config.seed == 2 or (config.seed == 1 and spec.memory_fraction < 1):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\\nmore")
        return search(dataclasses.replace(config, method="random"))

    searching.search = searched
    searching.search_trial(given, shared)  # in a worker the real one


searching.search_trial = trial
some = dataclasses.replace(smoke(), sweep={"seed": (0, 1, 2), "k": (2,)})
some = dataclasses.replace(some, search=dataclasses.replace(some.search, device="auto"))
options = RunOptions(address="local", gpus_per_trial=0.5)
failed = study.run_study(some, sys.argv[1], options=options, command=[], say=lambda line: print(line))
assert failed == 1
"""


@pytest.mark.slow
def test_searches_that_share_a_gpu_and_run_out_of_memory_get_a_whole_one(tmp_path):
    import pandas as pd

    root = tmp_path / "smoke"
    run = subprocess.run(
        [sys.executable, "-c", STUDY, str(root)],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"RAY_ADDRESS": ""},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    tries = sorted(json.loads(line) for line in (root / "tries.txt").read_text().splitlines())
    assert tries == [[0, 0.5], [1, 0.5], [1, 1.0], [2, 0.5], [2, 1.0]]  # Tune repeated none of them
    searches = pd.read_parquet(root / "searches").set_index("seed")
    assert searches["status"].to_dict() == {0: "completed", 1: "completed", 2: "failed"}
    error = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB."
    assert searches["error"].to_dict() == {0: "", 1: f"{error} (completed with fewer neighbors)", 2: error}
    assert run.stdout.count("ran out of memory, retrying with fewer neighbors") == 2


@pytest.mark.parametrize(("before", "after"), [(0.25, 0.5), (0.5, 1.0), (0.6, 1.0)])
def test_a_shared_gpu_is_shared_by_half_as_many(before, after):
    options = RunOptions(max_concurrent=3)
    wanted = TrialResources(cpus=1, gpus=before)
    assert with_fewer_neighbors(wanted, options, 8) == (TrialResources(cpus=1, gpus=after), 3)


@pytest.mark.parametrize(
    ("trials", "most", "room", "at_once"), [(8, 0, 6, 3), (8, 4, 6, 2), (2, 0, 6, 1), (1, 0, 0, 1)]
)
def test_without_a_shared_gpu_half_as_many_run_at_once(monkeypatch, trials, most, room, at_once):
    monkeypatch.setattr("orchestrator.trials.placement.slots", lambda wanted: room)
    for wanted in (TrialResources(cpus=1), TrialResources(cpus=1, gpus=1.0)):
        again = with_fewer_neighbors(wanted, RunOptions(max_concurrent=most), trials)
        assert again == (wanted, at_once)
