"""The device that a process computes on."""

import pytest
import torch

from pcdarts.training.device import peak_memory_bytes, resolve_device

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:99", "mps", "meta"])
def test_an_impossible_device_is_named(name):
    with pytest.raises(ValueError, match=f"device is '{name}', but"):
        resolve_device(name)
    assert resolve_device("cpu") == CPU


def test_peak_memory_is_a_plausible_size():
    assert 10**7 < peak_memory_bytes(CPU) < 10**12
