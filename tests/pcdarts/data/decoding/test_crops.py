"""Boxes against torchvision's and closed forms, and what is cut out against Pillow."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import v2

from pcdarts.data.decoding.crops import DRAWS, Box, center_box, cut_out, random_box, shorter_side


@pytest.mark.parametrize("size", [(375, 500), (500, 375), (224, 224), (60, 900), (900, 60), (3, 2), (1, 1)])
def test_random_boxes_are_those_of_torchvision_for_the_same_draws(size, monkeypatch):
    image = Image.new("L", size[::-1])
    numbers = random.Random(0)
    for _ in range(200):
        draws = [numbers.random() for _ in range(DRAWS)]
        tries, places = iter(draws[2:]), iter(draws[:2])
        monkeypatch.setattr(
            torch.Tensor, "uniform_", lambda x, low, high, t=tries: x.fill_(low + (high - low) * next(t))
        )
        monkeypatch.setattr(torch, "randint", lambda low, high, size, p=places: torch.tensor([int(next(p) * high)]))
        monkeypatch.setattr(torch, "empty", lambda n: torch.zeros(n, dtype=torch.float64))
        expected = transforms.RandomResizedCrop.get_params(image, (0.08, 1.0), (3 / 4, 4 / 3))
        monkeypatch.undo()
        assert random_box(size, draws) == expected


def test_the_center_is_what_remains_of_the_resized_image():
    assert center_box((256, 256), (224, 224)) == (16, 16, 224, 224)
    assert center_box((512, 1024), (224, 224)) == (32, 288, 448, 448)
    assert center_box((1024, 512), (112, 224)) == (400, 32, 224, 448)
    assert (shorter_side((224, 224)), shorter_side((32, 64))) == (256, 73)


def test_scaled_boxes_have_whole_pixels_and_at_least_one():
    assert Box(0, 0, 30, 50).scaled((30, 50), (7, 9)) == (0, 0, 7, 9)
    assert Box(10, 20, 10, 10).scaled((30, 50), (60, 25)) == (20, 10, 20, 5)
    assert Box(29, 49, 1, 1).scaled((30, 50), (3, 5)) == (2, 4, 1, 1)
    assert Box(10, 20, 10, 10).scaled((30, 50), (30, 50)) == (10, 20, 10, 10)


@pytest.mark.parametrize("box", [Box(3, 5, 60, 41), Box(0, 0, 90, 120), Box(50, 60, 7, 9)])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_cut_out_is_what_pillow_crops_and_resizes(box, channels):
    pixels = np.random.default_rng(0).integers(256, size=(90, 120, channels), dtype=np.uint8)
    image = Image.fromarray(pixels.squeeze())
    cropped = v2.functional.resized_crop(image, *box, (32, 24), antialias=True)
    found = cut_out(torch.from_numpy(pixels).permute(2, 0, 1), box, (32, 24))
    expected = torch.from_numpy(np.array(cropped).reshape(32, 24, channels)).permute(2, 0, 1)
    assert found.shape == (channels, 32, 24) and (found.int() - expected.int()).abs().max() <= 1
