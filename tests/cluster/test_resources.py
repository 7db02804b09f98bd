"""How many trials two nodes hold, by hand."""

import pytest

from cluster import resources
from cluster.resources import TrialResources, fitting, slots

GB = 10**9
NODES = [{"CPU": 4.0, "GPU": 2.0, "memory": 8.0 * GB}, {"CPU": 2.0, "memory": 2.0 * GB}]


@pytest.fixture
def two_nodes(monkeypatch):
    found = [{"Alive": True, "Resources": node} for node in NODES] + [{"Alive": False, "Resources": {"CPU": 64.0}}]
    monkeypatch.setattr(resources.ray, "nodes", lambda: found)


@pytest.mark.parametrize(
    ("trial", "number"),
    [
        (TrialResources(cpus=1), 6),
        (TrialResources(cpus=2), 3),
        (TrialResources(cpus=3), 1),
        (TrialResources(cpus=1, memory=GB), 6),
        (TrialResources(cpus=1, memory=2 * GB), 5),
        (TrialResources(cpus=1, gpus=1.0), 2),
        (TrialResources(cpus=1, gpus=2.0), 1),
        (TrialResources(cpus=1, gpus=0.6), 2),
        (TrialResources(cpus=1, gpus=0.3333), 4),
    ],
)
def test_trials_of_one_size_fit_as_often_as_there_are_slots(two_nodes, trial, number):
    assert slots(trial) == fitting([trial] * 100) == number


def test_trials_of_several_sizes_are_counted_in_their_order(two_nodes):
    one, two = TrialResources(cpus=1), TrialResources(cpus=2)
    assert fitting([one, two] * 4) == 4  # 1 + 2 + 1 on the first node, 2 on the second
    assert fitting([two] * 3 + [one]) == 3
    assert fitting([one] * 5 + [two] * 3) == 5
    assert fitting([TrialResources(cpus=1, gpus=share) for share in (0.5, 1.0, 0.5, 0.5)]) == 3
