"""Decoded files against Pillow and torchvision, at full and at reduced size."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from pcdarts.data.datasets import DATASETS
from pcdarts.data.decoding.crops import DRAWS, random_box
from pcdarts.data.decoding.decoder import Batch, FileDecoder, pixels_of
from pcdarts.data.pixels import opened
from tests.benchmarks.decode import photograph

INFO = replace(DATASETS["imagenet"], image_size=(40, 40))
SEED = 1
"""One that flips two of four images."""


def smooth(height, width):
    """Waves of hundreds of pixels a period."""
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / a) * np.sin(columns / b) for a, b in ((92, 124), (160, 70), (240, 360))]
    return Image.fromarray((127 + 120 * np.stack(waves, axis=-1)).astype(np.uint8))


def batch(paths, *, seed=0, rows=slice(None), total=None):
    count = len(paths)
    mine = paths[rows]
    return Batch(list(range(count))[rows], mine, [7] * len(mine), rows, total or count, seed)


@pytest.fixture
def files(tmp_path):
    numbers = np.random.default_rng(0)
    for i in range(4):
        photograph(numbers).resize((120 + i, 90)).save(tmp_path / f"{i}.jpg", quality=88)
    return tmp_path, [f"{i}.jpg" for i in range(4)]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_pixels_are_those_of_pillow(tmp_path, mode, progressive):
    photograph(np.random.default_rng(0)).resize((51, 37)).convert(mode).save(
        tmp_path / "a.jpg", quality=80, progressive=progressive
    )
    for wanted in ("RGB", "L"):
        with opened(tmp_path / "a.jpg") as image:
            found = pixels_of(image, wanted, 1.9)
        expected = np.array(Image.open(tmp_path / "a.jpg").convert("RGB" if mode == "CMYK" else mode).convert(wanted))
        assert np.array_equal(found.permute(1, 2, 0).numpy(), expected.reshape(37, 51, -1))


@pytest.mark.parametrize(("factor", "divisor"), [(1.9, 1), (2, 2), (3.9, 2), (4, 4), (7.9, 4), (8, 8), (99, 8)])
def test_a_jpeg_is_reduced_by_the_largest_divisor_below_the_factor(tmp_path, factor, divisor):
    smooth(333, 501).save(tmp_path / "a.jpg")
    smooth(333, 501).save(tmp_path / "a.png")
    with opened(tmp_path / "a.jpg") as image:
        assert pixels_of(image, "RGB", factor).shape == (3, -(-333 // divisor), -(-501 // divisor))
    with opened(tmp_path / "a.png") as image:
        assert pixels_of(image, "RGB", factor).shape == (3, 333, 501)


def test_boxes_of_a_reduced_image_look_like_those_of_the_whole_one(tmp_path):
    image = smooth(600, 800)
    image.save(tmp_path / "a.jpg", quality=95)
    image.save(tmp_path / "a.png")
    reduced, whole = (FileDecoder(tmp_path, INFO)[batch([name] * 20)][0].int() for name in ("a.jpg", "a.png"))
    assert (reduced - whole).abs().float().mean() < 1.5  # of 255: edges are off by half a pixel at most
    assert (reduced - whole).abs().max() < 10


def test_a_training_image_is_a_random_box_flipped_half_of_the_time(files):
    folder, paths = files
    images, labels = FileDecoder(folder, INFO)[batch(paths, seed=SEED)]
    draws = torch.rand(4, 1 + DRAWS, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64).tolist()
    flips = 0
    for path, found, (flip, *numbers) in zip(paths, images, draws, strict=True):
        image = Image.open(folder / path)
        expected = v2.functional.resized_crop(image, *random_box((image.height, image.width), numbers), (40, 40))
        expected = v2.functional.pil_to_tensor(expected)
        flips += flip < 0.5
        assert (found.int() - (expected.flip(-1) if flip < 0.5 else expected).int()).abs().max() <= 1
    assert flips == 2 and labels.tolist() == [7] * 4
    assert not torch.equal(images, FileDecoder(folder, replace(INFO, flip=False))[batch(paths, seed=SEED)][0])


def test_an_evaluated_image_is_exactly_that_of_torchvision(files):
    folder, paths = files
    transform = v2.Compose([v2.Resize(46), v2.CenterCrop(40), v2.PILToTensor()])
    images, _ = FileDecoder(folder, INFO)[batch(paths, seed=None)]
    assert torch.equal(images, torch.stack([transform(Image.open(folder / path)) for path in paths]))


def test_workers_decode_their_rows_of_the_batch(files):
    folder, paths = files
    decoder = FileDecoder(folder, INFO)
    whole, _ = decoder[batch(paths)]
    for rows in (slice(0, 3), slice(3, 4), slice(4, 4)):
        assert torch.equal(decoder[batch(paths, rows=rows)][0], whole[rows])


def test_a_truncated_file_is_named(files):
    folder, paths = files
    (folder / "0.jpg").write_bytes((folder / "0.jpg").read_bytes()[:2000])
    for seed in (0, None):
        with pytest.raises(ValueError, match=r"0.jpg cannot be read \([^\n]*truncated[^\n]*\); replace it or move"):
            FileDecoder(folder, INFO)[batch(paths, seed=seed)]
