"""What search and retraining share."""

import math
import time
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional

from pcdarts.training import (
    Clock,
    Meter,
    cosine_rate,
    evaluate,
    linear_rate,
    peak_memory_bytes,
    resolve_device,
    warmup_rate,
)

CPU = torch.device("cpu")


def test_cosine_rate():
    assert [cosine_rate(epoch, 4, 1.0) for epoch in range(4)] == pytest.approx(
        [1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]
    )
    assert cosine_rate(4, 4, 1.0, 0.1) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("epochs", "shares"),
    [
        (1, [1]),
        (4, [1, 0.75, 0.5, 0.25]),
        (5, [1, 0.8, 0.6, 0.4, 0.2]),
        (6, [1, 1, 0.8, 0.6, 0.4, 0.2]),
        (9, [1, 0.75, 0.5, 0.25, 0.25, 0.2, 0.15, 0.1, 0.05]),
    ],
)
def test_linear_rate(epochs, shares):
    assert [linear_rate(epoch, epochs, 0.5) for epoch in range(epochs)] == pytest.approx([0.5 * s for s in shares])


def test_linear_rate_of_the_official_retraining():
    rates = [linear_rate(epoch, 250, 0.5) for epoch in range(250)]
    steps = [before - after for before, after in pairwise(rates)]
    assert steps[:244] == pytest.approx([0.5 / 245] * 244)
    assert rates[244] == pytest.approx(rates[245]) == pytest.approx(0.5 / 245)  # the official code pauses here
    assert [*steps[245:], rates[-1]] == pytest.approx([0.1 / 245] * 5)


def test_warmup_rate():
    assert [warmup_rate(epoch, 4, 2.0) for epoch in range(4)] == [0.5, 1.0, 1.5, 2.0]


def test_meter_weighs_batches_by_their_images():
    meter = Meter(CPU)
    meter.add(torch.tensor(1.0), torch.eye(2), torch.tensor([0, 1]))
    meter.add(torch.tensor(4.0), torch.eye(2)[:1], torch.tensor([1]))
    assert meter.score()[:2] == pytest.approx((2.0, 100 * 2 / 3)) and meter.score().top5 is None
    assert math.isnan(Meter(CPU).score().loss)


def test_top5_in_closed_form():
    logits = torch.arange(7.0).repeat(4, 1)  # the five largest are classes 2 to 6
    meter = Meter(CPU, top5=True)
    meter.add(torch.tensor(0.0), logits, torch.tensor([6, 2, 1, 0]))
    meter.add(torch.tensor(0.0), logits[:1], torch.tensor([3]))
    assert (meter.score().accuracy, meter.score().top5) == pytest.approx((100 * 1 / 5, 100 * 3 / 5))


def test_evaluate_uses_evaluation_mode_and_leaves_the_mode_as_it_was():
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(4, 2)).train()
    images, labels = torch.ones(3, 1, 2, 2), torch.tensor([0, 1, 0])
    score = evaluate(model, [(images, labels)], CPU)
    assert model.training and model[0].num_batches_tracked == 0
    assert score.loss == pytest.approx(functional.cross_entropy(model.eval()(images), labels).item())


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:99", "mps", "meta"])
def test_an_impossible_device_is_named(name):
    with pytest.raises(ValueError, match=f"device is '{name}', but"):
        resolve_device(name)
    assert resolve_device("cpu") == CPU


def test_peak_memory_is_a_plausible_size():
    assert 10**7 < peak_memory_bytes(CPU) < 10**12


def test_clock_adds_up_parts_and_starts_anew():
    clock = Clock(CPU)
    for _ in range(2):
        with clock.part("a"):
            time.sleep(0.01)

    def slow():
        for item in "xy":
            time.sleep(0.01)
            yield item

    assert list(clock.over("b", slow())) == ["x", "y"]
    seconds = clock.seconds()
    assert set(seconds) == {"a", "b"} and all(0.02 <= value < 1 for value in seconds.values())
    assert clock.seconds() == {}
