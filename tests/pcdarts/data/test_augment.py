"""Augmentation against slices, mirrors and counts that are known in closed form."""

import pytest
import torch
from torchvision.transforms.v2 import functional

from pcdarts.data import augment
from pcdarts.data.augment import color_jitter, crop, cutout, normalize, random_crop, random_flip, turn_hue


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_crop_is_a_slice_at_every_offset():
    images = torch.arange(2 * 3 * 6 * 7).reshape(2, 3, 6, 7)
    result = crop(images, torch.tensor([[0], [2]]), torch.tensor([[3], [1]]), 4, 4)
    assert torch.equal(result[0], images[0, :, 0:4, 3:7])
    assert torch.equal(result[1], images[1, :, 2:6, 1:5])


def test_random_crop_draws_all_offsets_evenly():
    # One white pixel in the middle: where it lands tells the offset.
    images = torch.zeros(9000, 1, 5, 5, dtype=torch.uint8)
    images[:, :, 2, 2] = 255
    result = random_crop(images, 1, generator())
    assert result.dtype == torch.uint8 and result.shape == images.shape
    landed = (result[:, 0] == 255).sum(dim=0)
    assert landed.sum() == 9000 and landed[[0, -1]].sum() == landed[:, [0, -1]].sum() == 0
    assert (landed[1:4, 1:4] - 1000).abs().max() < 5 * 1000**0.5  # five standard deviations


def test_random_crop_shows_black_beyond_the_border():
    result = random_crop(torch.full((500, 1, 4, 4), 9, dtype=torch.uint8), 4, generator())
    visible = (result[:, 0] == 9).sum(dim=(1, 2))
    sides = {a * b for a in range(5) for b in range(5)}
    assert set(visible.tolist()) == sides


def test_random_flip_mirrors_about_half_and_leaves_the_others():
    images = torch.arange(6).reshape(1, 1, 2, 3).expand(1000, 1, 2, 3)
    result = random_flip(images, generator())
    mirrored = (result == images.flip(-1)).all(dim=(1, 2, 3))
    assert ((result == images).all(dim=(1, 2, 3)) ^ mirrored).all()
    assert abs(int(mirrored.sum()) - 500) < 5 * 250**0.5
    assert torch.equal(random_flip(result, generator()), images)  # the same draws again undo it


@pytest.mark.parametrize("size", [1, 2, 3, 4, 20])
def test_cutout_area(size):
    result = cutout(torch.ones(3000, 2, 8, 8), size, generator())
    assert torch.equal(result[:, 0], result[:, 1])
    # A centre c covers the positions from c - size // 2 on, clipped at the border.
    covered = [sum(0 <= c - size // 2 + i < 8 for i in range(size)) for c in range(8)]
    areas = (result[:, 0] == 0).sum(dim=(1, 2))
    assert set(areas.tolist()) == {a * b for a in covered for b in covered}
    assert float(areas.double().mean()) == pytest.approx((sum(covered) / 8) ** 2, rel=0.05)


def test_cutout_leaves_a_square_of_zeros_and_its_input_alone():
    images = torch.ones(1, 1, 8, 8)
    holes = cutout(images, 4, generator(3))[0, 0] == 0
    rows, columns = holes.any(dim=1), holes.any(dim=0)
    assert torch.equal(holes, rows[:, None] & columns[None, :])
    assert torch.equal(images, torch.ones(1, 1, 8, 8))


def test_normalize():
    images = torch.tensor([[[[0, 255]], [[51, 102]]]], dtype=torch.uint8)
    result = normalize(images, (0.5, 0.2), (0.25, 0.1))
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, torch.tensor([[[[-2.0, 2.0]], [[0.0, 2.0]]]]))


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]])
def test_color_jitter_is_that_of_torchvision(order, monkeypatch):
    images = torch.randint(256, (20, 3, 6, 7), generator=generator(), dtype=torch.uint8)
    images[0], images[1], images[2] = 0, 255, images[2, :1]
    draws = torch.rand(4, 20, generator=generator(1))
    monkeypatch.setattr(torch, "randperm", lambda n, generator: torch.tensor(order))
    found = color_jitter(images, generator(1))
    steps = (
        functional.adjust_brightness,
        functional.adjust_contrast,
        functional.adjust_saturation,
        functional.adjust_hue,
    )
    for i, image in enumerate(images / 255):
        for step in order:
            image = steps[step](image, (0.4 * draws[3, i] - 0.2 if step == 3 else 0.6 + 0.8 * draws[step, i]).item())
        torch.testing.assert_close(found[i] / 255, image, rtol=0, atol=1e-5)
    assert found.dtype == torch.float32 and images.dtype == torch.uint8


def test_hue_turns_through_the_colors():
    red, green, blue, gray = (
        torch.tensor(color).view(1, 3, 1, 1) for color in ([9.0, 0, 0], [0, 9.0, 0], [0, 0, 9.0], [5.0] * 3)
    )
    third = torch.full((1, 1, 1, 1), 1 / 3)
    for before, after in ((red, green), (green, blue), (blue, red), (gray, gray)):
        torch.testing.assert_close(turn_hue(before, third), after, rtol=0, atol=1e-5)
        torch.testing.assert_close(turn_hue(after, -third), before, rtol=0, atol=1e-5)
    torch.testing.assert_close(turn_hue(red, third / 2), red + green)


def test_gray_images_keep_their_channel():
    images = torch.randint(256, (9, 1, 4, 4), generator=generator(), dtype=torch.uint8)
    assert color_jitter(images, generator()).shape == images.shape


@pytest.mark.parametrize("change", [color_jitter, lambda x, *given: cutout(x, 3, *given)], ids=["jitter", "cutout"])
def test_parts_of_a_batch_are_those_of_the_whole(change):
    images = torch.randint(256, (20, 3, 6, 7), generator=generator(), dtype=torch.uint8)
    whole = change(images, generator(1))
    for part in (slice(0, 7), slice(7, 20), slice(20, 20)):
        torch.testing.assert_close(change(images[part], generator(1), 20, part), whole[part], rtol=0, atol=0)


def test_chunks_change_nothing(monkeypatch):
    images = torch.randint(256, (20, 3, 6, 7), generator=generator(), dtype=torch.uint8)
    expected = color_jitter(images, generator(1))
    monkeypatch.setattr(augment, "CPU_CHUNK", 20)
    torch.testing.assert_close(color_jitter(images, generator(1)), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    "change",
    [lambda x, g: random_crop(x, 2, g), random_flip, color_jitter, lambda x, g: cutout(x, 3, g)],
    ids=["crop", "flip", "jitter", "cutout"],
)
def test_equal_generators_give_equal_images(change):
    images = torch.rand(50, 3, 8, 8, generator=generator())
    torch.manual_seed(0)
    first = change(images, generator(1))
    torch.manual_seed(1)
    assert torch.equal(first, change(images, generator(1)))
    assert not torch.equal(first, change(images, generator(2)))
