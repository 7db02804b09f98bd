"""Numbers in words."""

from cluster.resources import TrialResources
from cluster.wording import counted, gigabytes


def test_one_is_in_the_singular():
    assert [counted(number, "network") for number in (1, 2)] == ["1 network", "2 networks"]
    assert counted(2, "epoch") == "2 epochs" and counted(0, "search") == "0 searches"
    assert str(TrialResources(cpus=1)) == "1 CPU and 0 GPUs"
    assert str(TrialResources(cpus=8, gpus=0.25)) == "8 CPUs and 0.25 GPUs"


def test_bytes_are_in_gigabytes():
    assert gigabytes(1_250_000_000) == "1.2 GB" and gigabytes(0) == "0.0 GB"
