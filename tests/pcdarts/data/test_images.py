"""Images in memory: resizing, statistics, and the stratified order."""

import numpy as np
import pytest
import torch

from pcdarts.data.images import fifth, resize, statistics, stratified_order


def test_stratified_order():
    labels = torch.tensor([0] * 40 + [1] * 10 + [2] * 50)
    order = stratified_order(labels)
    assert order.sort().values.tolist() == list(range(100))
    assert torch.equal(order, stratified_order(labels))
    for count in (10, 20, 50, 90):
        shares = labels[order[:count]].bincount(minlength=3) - count * torch.tensor([0.4, 0.1, 0.5])
        assert shares.abs().max() <= 1
    assert order[:40].tolist() != sorted(order[:40].tolist())


def test_the_stratified_order_is_the_same_for_ever():
    labels = torch.tensor([0] * 6 + [1] * 3 + [2] * 5)
    assert stratified_order(labels).tolist() == [3, 13, 6, 4, 11, 0, 8, 10, 2, 9, 5, 7, 12, 1]


def test_statistics_are_exact():
    images = torch.randint(0, 256, (1500, 2, 3, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = statistics(images)
    np.testing.assert_allclose(mean, (images.double() / 255).mean(dim=(0, 2, 3)), rtol=1e-14)
    np.testing.assert_allclose(std, (images.double() / 255).std(dim=(0, 2, 3), correction=0), rtol=1e-14)
    assert statistics(torch.full((3, 1, 2, 2), 51, dtype=torch.uint8)) == ((0.2,), (1 / 255,))  # no division by zero


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (2, 1), (7, 1), (8, 2), (10, 2), (100, 20)])
def test_a_fifth_is_at_least_one(count, expected):
    assert fifth(count) == expected


def test_resized_images_keep_plain_areas_and_are_cropped_in_the_center():
    images = torch.full((2, 1, 4, 16), 7, dtype=torch.uint8)
    images[..., 12:] = 255
    small = resize(images, 2)
    assert small.shape == (2, 1, 2, 2) and small.unique().tolist() == [7]
