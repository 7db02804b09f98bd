"""The logic of `tests.benchmarks.parity`; the official code itself only where a checkout is given."""

import argparse
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torchvision.transforms import Compose, Normalize, ToTensor

from pcdarts.data.datasets import DATASETS, Images, ImageSet
from pcdarts.training.schedules import cosine_rate
from tests.benchmarks import parity, parity_images, parity_report
from tests.benchmarks.official_scripts import Cosine
from tests.benchmarks.parity import (
    RETRAIN_MEASURES,
    SEARCH_MEASURES,
    TOLERANCE,
    Settings,
    compare_steps,
    our_retrain,
    our_search,
    train_all,
)
from tests.benchmarks.parity_report import difference, largest_t, permutation_test, report, values


def drawn_images(count):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    part = Images(images, torch.arange(count) % 10)
    return ImageSet(DATASETS["cifar10"], part, part)


def training(part, code, seed, losses):
    epochs = [dict.fromkeys(parity_report.MEASURES, loss) | {"learning_rate": 0.1} for loss in losses]
    about = {"settings": {"warmup": 1}, "seconds": 2.0, "processor": "CPU", "torch": "2"}
    return {"part": part, "code": code, "seed": seed, "epochs": epochs} | about


def test_difference_is_that_of_welch():
    found = difference(np.array([1.0, 2, 3]), np.array([2.0, 4, 6, 8]))
    assert (found.official, found.ours, found.mean) == (2, 5, 3)
    assert found.error == pytest.approx(math.sqrt(1 / 3 + 5 / 3))
    freedom = 2**2 / ((1 / 3) ** 2 / 2 + (5 / 3) ** 2 / 3)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(2)
    assert (found.low, found.high) == pytest.approx((3 - half, 3 + half))


def test_t_values_of_all_labelings_at_once():
    table = np.random.default_rng(0).normal(size=(7, 3))
    table[:, 2] = 1
    labelings = np.array([[True] * 3 + [False] * 4, [False, True] * 3 + [False]])
    found = largest_t(table, labelings)
    for row, ours in zip(found, labelings, strict=True):
        expected = np.abs(stats.ttest_ind(table[ours, :2], table[~ours, :2], equal_var=False).statistic)
        assert row == pytest.approx([*expected, 0])


def test_a_different_epoch_is_found_among_equal_ones():
    generator = np.random.default_rng(0)
    table = generator.normal(size=(8, 5))
    ours = np.arange(8) >= 4
    table[ours, 3] += 100
    adjusted, _ = permutation_test(table, ours, generator)
    assert adjusted[3] == pytest.approx(2 / math.comb(8, 4), abs=0.005)  # only the true labels and their opposite
    assert (np.delete(adjusted, 3) > 0.2).all()


def test_equal_codes_are_rarely_called_different(monkeypatch):
    monkeypatch.setattr(parity_report, "RELABELINGS", 199)
    generator = np.random.default_rng(0)
    ours = np.arange(12) >= 6
    tables = generator.normal(size=(400, 12, 1)) + 0.5 * generator.normal(size=(400, 12, 6))  # correlated epochs
    false = sum(permutation_test(table, ours, generator).adjusted.min() <= 0.05 for table in tables)
    assert false <= stats.binom.ppf(0.999, 400, 0.05)


def test_report_has_a_table_of_every_part_and_its_figures(tmp_path):
    rows = [
        training(part, code, seed, (2 + 0.1 * seed, 1 + 0.1 * seed + shift))
        for part in ("search", "retrain")
        for code, shift in (("official", 0.0), ("ours", 0.5))
        for seed in range(3)
    ]
    text = report(rows, str(tmp_path))
    assert text.count("3 official trainings and 3 of ours; CPU, torch 2") == 2
    assert "| Train loss | 1.1000 | 1.6000 | +0.5000 |" in text and "equal to the bit" in text
    drawn = {f"{part}-{name.replace('_', '-')}.svg" for part in ("search", "retrain") for name in parity_report.DRAWN}
    assert {path.name for path in tmp_path.iterdir()} == drawn
    assert values(rows[:3], "train_loss").tolist() == [[2, 1], [2.1, 1.1], [2.2, 1.2]]


def test_the_official_schedule_begins_at_the_full_rate():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    schedule = Cosine(optimizer, 3.0, eta_min=0.01)
    for epoch in range(3):
        schedule.step()
        assert optimizer.param_groups[0]["lr"] == schedule.get_lr()[0] == cosine_rate(epoch, 3, 0.1, 0.01)


def test_a_training_that_is_there_is_not_repeated(monkeypatch, tmp_path):
    settings, seeds = Settings(images=1, batch=1, epochs=1), []

    def run(seed):
        seeds.append(seed)
        return [{"train_loss": 1.0, "valid_accuracy": 10.0}]

    monkeypatch.setattr(parity, "runs", lambda args: iter([("search", "ours", settings, run)]))
    for count in (1, 3, 3):
        train_all(argparse.Namespace(results=str(tmp_path / "results"), seeds=count))
    assert seeds == [0, 1, 2]
    assert [json.loads(line)["seed"] for line in (tmp_path / "results").read_text().splitlines()] == [0, 1, 2]


def test_our_trainings_have_all_measures():
    settings = Settings(images=8, batch=4, epochs=1, channels=4, layers=3)
    (searched,) = our_search(drawn_images(8), settings)(0)
    (retrained,) = our_retrain(drawn_images(8), settings)(0)
    assert all(math.isfinite(searched[name]) for name in SEARCH_MEASURES)
    assert all(math.isfinite(retrained[name]) for name in RETRAIN_MEASURES)


def test_our_augmentation_has_all_results_of_torchvision_equally_often(monkeypatch):
    pixels = drawn_images(1).train.images[0]
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    info = DATASETS["cifar10"]
    possible = parity_images.outcomes(image, Compose([ToTensor(), Normalize(info.mean, info.std)]))
    assert len(possible) == 162 and parity_images.drawn(parity_images.our_draws(pixels), possible).equal
    assert not parity_images.drawn(possible + 0.1, possible).equal
    assert parity_images.drawn(possible[1:], possible).missing == 1
    monkeypatch.setattr(parity_images, "MASK_DRAWS", 1024)
    assert parity_images.drawn(parity_images.our_squares(), parity_images.squares()).distance == 0


def test_steps_of_both_codes_agree(request, monkeypatch):
    folder = request.config.getoption("--official")
    if not folder:
        pytest.skip("needs a checkout of the official code: --official DIR")
    monkeypatch.setattr(parity, "STEPS", 2)
    monkeypatch.setattr(parity, "first_images", lambda config, images: drawn_images(images))
    assert max(compare_steps(folder, "", "fast").values()) <= TOLERANCE
