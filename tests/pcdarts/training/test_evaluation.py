"""Loss and accuracy over images, and the time of the parts of an epoch."""

import itertools
import math
import time

import pytest
import torch
from torch import nn
from torch.nn import functional

from pcdarts.training.evaluation import Clock, Meter, evaluate

CPU = torch.device("cpu")


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


def test_another_forward_pass_takes_the_place_of_the_model():
    batches = [(torch.eye(2), torch.tensor([0, 1])), (torch.eye(2), torch.tensor([1, 0]))]
    model = nn.Linear(2, 2)  # not called
    score = evaluate(model, batches, torch.device("cpu"), forward=lambda images: (images,))
    assert score.accuracy == 50


def test_clock_adds_up_parts_and_starts_again_at_zero(monkeypatch):
    readings = itertools.count()  # a second passes between two looks at the clock
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(readings)))
    clock = Clock(CPU)
    for _ in range(2):
        with clock.part("a"):
            pass
    assert list(clock.over("b", "xy")) == ["x", "y"]
    assert clock.seconds() == {"a": 2.0, "b": 3.0}  # it waits for two items and for the end
    assert clock.seconds() == {}


def test_hits_are_in_the_order_of_the_batches():
    labels = torch.tensor([0, 0, 1, 0])
    batches = [(torch.eye(2), labels[:2]), (torch.eye(2)[:0], labels[:0]), (torch.eye(2), labels[2:])]
    score = evaluate(nn.Identity(), batches, CPU, lambda logits, labels: logits.sum(), hits=True)
    assert score.hits.tolist() == [True, False, False, False] and score.accuracy == 25
    assert evaluate(nn.Identity(), [], CPU, hits=True).hits.tolist() == []
    assert evaluate(nn.Identity(), [], CPU).hits is None
