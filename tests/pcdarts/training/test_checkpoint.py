"""Checkpoints: whole or absent, refused where broken, foreign or dangerous."""

import os
import pickle

import pytest
import torch

from pcdarts.training.checkpoint import CheckpointFile, load_moments

CONFIG = {"k": 4, "seed": 0}


def test_what_is_saved_is_loaded(tmp_path):
    file = CheckpointFile(tmp_path / "deep" / "search.pt")
    assert file.load(CONFIG) is None
    state = {"config": CONFIG, "weights": torch.arange(3.0), "history": [{"epoch": 0, "alphas": ((1.0,), (2.0,))}]}
    file.save(state)
    loaded = file.load(CONFIG)
    assert torch.equal(loaded["weights"], state["weights"]) and loaded["history"] == state["history"]
    assert os.listdir(tmp_path / "deep") == ["search.pt"]


@pytest.mark.parametrize("cut", [0, 1, 100])
def test_a_truncated_file_is_named(tmp_path, cut):
    file = CheckpointFile(tmp_path / "search.pt")
    file.save({"config": CONFIG, "weights": torch.zeros(100)})
    (tmp_path / "search.pt").write_bytes((tmp_path / "search.pt").read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"search\.pt is broken .* remove it"):
        file.load(CONFIG)


def test_another_configuration_is_named(tmp_path):
    file = CheckpointFile(tmp_path / "search.pt")
    file.save({"config": CONFIG})
    with pytest.raises(ValueError, match=r"another configuration \(k differ\)"):
        file.load({"k": 8, "seed": 0})


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Dangerous:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/run",)

    torch.save({"config": Dangerous()}, tmp_path / "zip.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Dangerous()))
    for name in ("zip.pt", "plain.pt"):
        with pytest.raises(ValueError, match="broken"):
            CheckpointFile(tmp_path / name).load(CONFIG)
    assert not (tmp_path / "run").exists()


def test_a_crash_while_writing_keeps_the_old_file(tmp_path, monkeypatch):
    file = CheckpointFile(tmp_path / "search.pt")
    file.save({"config": CONFIG, "step": 1})
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        file.save({"config": CONFIG, "step": 2})
    assert file.load(CONFIG)["step"] == 1


def test_moments_are_loaded_and_hyper_parameters_stay():
    """As from a GPU, where the learning rate is a tensor, to a CPU."""
    weights = [torch.ones(2, requires_grad=True) for _ in range(2)]
    saved, other = (torch.optim.SGD([weight], lr=0.5, momentum=0.5) for weight in weights)
    saved.param_groups[0] |= {"lr": torch.tensor(0.25), "fused": True}
    weights[0].grad = torch.full((2,), 3.0)
    saved.step()
    load_moments(other, saved.state_dict())
    assert (other.param_groups[0]["lr"], other.param_groups[0]["fused"]) == (0.5, None)
    assert torch.equal(other.state[weights[1]]["momentum_buffer"], torch.full((2,), 3.0))


def test_a_learning_rate_that_is_a_tensor_stays_one():
    weight = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.5, momentum=0.5)
    saved = optimizer.state_dict()
    optimizer.param_groups[0]["lr"] = torch.tensor(0.25)
    load_moments(optimizer, saved)
    assert torch.equal(optimizer.param_groups[0]["lr"], torch.tensor(0.25))
