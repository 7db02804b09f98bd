"""How errors of gradients are judged."""

import math

import pytest
import torch

from pcdarts.selftest import gradients
from pcdarts.selftest.bench import SMALL, Bench
from pcdarts.selftest.gradients import STRICT, Step, fresh_memory_is_nan, relative, step_of
from pcdarts.supernet import Supernet


@pytest.fixture
def bench():
    return Bench(torch.device("cpu"), SMALL, deadline=math.inf)


def errors_of(monkeypatch, *errors):
    """In each draw, the device finds gradients (1, error) and the CPU (1, 0)."""
    truth = Step(1.0, torch.tensor([1.0, 0.0], dtype=torch.float64))
    found = {draw: Step(1.0, torch.tensor([1.0, error], dtype=torch.float64)) for draw, error in enumerate(errors)}
    monkeypatch.setattr(gradients, "_truth", lambda size, options, draw: truth)
    monkeypatch.setattr(gradients, "step_of", lambda *args, device, draw=0: found[draw])


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ((1e-5,), (1e-5, 1)),
        ((1e-2, 1e-5), (1e-5, 2)),
        ((1e-2, 1e-1, 1e-3), (1e-3, 3)),
        ((math.nan, math.nan, math.nan), (math.inf, 3)),
    ],
)
def test_a_comparison_that_fails_is_repeated(bench, monkeypatch, errors, expected):
    errors_of(monkeypatch, *errors)
    found = gradients._smallest_error(bench, STRICT, Supernet, {}, torch.float32)
    assert found == (pytest.approx(expected[0]), expected[1])


def test_a_wrong_kernel_fails_and_is_named(bench, monkeypatch):
    errors_of(monkeypatch, *[0.5] * gradients.DRAWS)
    verdict, reason = gradients.run(bench)
    assert verdict == "fail" and "C = 8, fast, K = 1, float64: 5.0e-01" in reason


@pytest.mark.parametrize(("error", "verdict"), [(0.05, "pass"), (0.2, "fail"), (math.nan, "fail")])
def test_bf16_is_judged_by_its_worst_setting(bench, monkeypatch, error, verdict):
    errors_of(monkeypatch, error)
    assert gradients.run_bf16(bench)[0] == verdict


def test_equal_draws_are_equal_and_others_are_not():
    cpu = torch.device("cpu")
    one, same, other = (step_of(STRICT, Supernet, {"k": 8}, torch.float64, device=cpu, draw=draw) for draw in (0, 0, 1))
    assert relative(one, same) == 0 and one.loss == same.loss
    assert relative(one, other) > 0.1


def test_fresh_memory_is_nan_only_inside():
    with fresh_memory_is_nan():
        assert torch.empty(5).isnan().all()
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
