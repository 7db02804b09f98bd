"""The accuracy of an exported network: that of its training, and images that do not fit are refused."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from pcdarts.config import RetrainConfig
from pcdarts.data.sources import load
from pcdarts.export import measure_accuracy
from pcdarts.pretrained import ImageInput
from tests.pcdarts.data.own_images import write_arrays
from tests.pcdarts.export.networks import make

SYNTHETIC = ImageInput(height=16, width=16, shorter_side=16, mean=(0.5,) * 3, std=(0.2,) * 3)


def network(images=SYNTHETIC, **values):
    made = make(**{"classes": 4} | values).eval()
    made.images = images
    return made


def test_the_test_images_are_prepared_as_the_network_says():
    halved = dataclasses.replace(SYNTHETIC, std=(0.4,) * 3)
    made = network(halved)
    test = load(RetrainConfig(dataset="synthetic")).test
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in test.images]
    with torch.no_grad():
        logits = made(made.preprocess(*pictures))
    found = measure_accuracy(made, "synthetic", batch_size=32)
    hits = int((logits.argmax(1) == test.labels).sum())
    assert found.images == 80 and found.top5 is None and found.accuracy == pytest.approx(100 * hits / 80)
    assert found.loss == pytest.approx(float(torch.nn.functional.cross_entropy(logits, test.labels)), rel=1e-4)


def test_images_of_another_size_are_resized():
    small = dataclasses.replace(SYNTHETIC, height=12, width=12, shorter_side=12)
    assert measure_accuracy(network(small), "synthetic").images == 80


def test_own_images_must_have_the_names_of_the_classes(tmp_path):
    path = write_arrays(tmp_path / "own.npz", size=(7, 5), channels=2, train=60, test=6)
    expected = ImageInput(height=7, width=5, shorter_side=5, mean=(0.5,) * 2, std=(0.2,) * 2, labels=("0", "1", "2"))
    made = network(expected, classes=3, image_channels=2)
    assert measure_accuracy(made, "arrays", str(path)).images == 6
    made.images = dataclasses.replace(expected, labels=("0", "2", "1"))
    with pytest.raises(ValueError, match="class 1 is '1' in .*own.npz, but '2' in the network; name"):
        measure_accuracy(made, "arrays", str(path))


def test_a_tree_of_files_is_read(tmp_path):
    random = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(3):
                pixels = random.integers(0, 256, (20, 30, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{i}.png")
    made = network(dataclasses.replace(SYNTHETIC, labels=("cat", "dog")), classes=2)
    assert measure_accuracy(made, "folder", str(tmp_path)).images == 6


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_channels": 1}, "synthetic has 3 channels, but the network takes 1; give"),
        ({"classes": 5}, "synthetic has 4 classes, but the network takes 5"),
        (
            {"images": dataclasses.replace(SYNTHETIC, height=12)},
            "synthetic has 16 x 16 pixels, but the network takes 12 x 16",
        ),
        ({"images": None}, "no description of its images"),
    ],
)
def test_images_that_do_not_fit_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        measure_accuracy(network(**values), "synthetic")


def test_an_unknown_data_set_is_refused():
    with pytest.raises(ValueError, match="dataset is 'birds'"):
        measure_accuracy(network(), "birds")
