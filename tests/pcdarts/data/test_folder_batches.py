"""Batches from image files: what they hold, what it depends on, and the processes that decode."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from pcdarts.data.datasets import DATASETS
from pcdarts.data.folder_batches import FolderBatches
from pcdarts.data.image_files import list_images
from pcdarts.training.distributed import Workers

CPU = torch.device("cpu")
TINY = replace(DATASETS["imagenet"], classes=2, image_size=(8, 8))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def folder_batches(tree, **changes):
    classes = list_images(tree / "train").images.values()
    images = [(path, label) for label, paths in enumerate(classes) for path in paths]
    return FolderBatches(tree / "train", images, TINY, device=CPU, **changes)


def drawn(batches, method="epoch", seed=0, count=6):
    result = list(islice(getattr(batches, method)(10, generator(seed)), count))
    return tuple(torch.cat(part) for part in zip(*result, strict=True))


def test_an_epoch_shows_every_image_once(tree):
    batches = folder_batches(tree)
    sizes = [(images.shape, len(labels)) for images, labels in batches.epoch(10, generator())]
    assert sizes == [((10, 3, 8, 8), 10), ((10, 3, 8, 8), 10), ((9, 3, 8, 8), 9)] and len(batches) == 29
    images, labels = drawn(batches)
    assert images.dtype == torch.float32 and labels.dtype == torch.int64
    assert labels.bincount().tolist() == [10, 9, 10]


def test_in_order_shows_the_centre_normalized(tree):
    (images, labels), *_ = folder_batches(tree).in_order(29)
    assert labels.tolist() == [0] * 10 + [1] * 9 + [2] * 10
    ((few, labels_of_few),) = folder_batches(tree).in_order(3, torch.tensor([20, 0, 11]))
    assert torch.equal(few, images[[20, 0, 11]]) and labels_of_few.tolist() == [2, 0, 1]
    grey = {i: 20 * i + 1 for i in range(1, 9, 2)}  # the PNG files of the second class, which lose nothing
    paths = list_images(tree / "train").images["n01"]
    for i, value in grey.items():
        expected = (value / 255 - torch.tensor(TINY.mean)) / torch.tensor(TINY.std)
        torch.testing.assert_close(images[10 + paths.index(f"n01/{i}.png")].mean(dim=(1, 2)), expected)


@pytest.mark.parametrize("method", ["epoch", "stream"])
def test_batches_depend_on_the_generator_alone(tree, method):
    state = torch.get_rng_state()
    images, labels = drawn(folder_batches(tree, cutout=4, jitter=True), method)
    for workers in (0, 2):
        again = drawn(folder_batches(tree, cutout=4, jitter=True, workers=workers), method)
        assert torch.equal(images, again[0]) and torch.equal(labels, again[1])
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(images, drawn(folder_batches(tree, cutout=4, jitter=True), method, seed=1)[0])


def test_a_stream_goes_on_in_a_new_order(tree):
    batches = folder_batches(tree, workers=2)
    images, labels = drawn(batches, "stream")
    assert labels[:29].bincount().tolist() == labels[29:].bincount().tolist() == [10, 9, 10]
    assert labels[:29].tolist() != labels[29:].tolist()


def test_what_a_stream_leaves_in_the_generator_does_not_depend_on_workers(tree):
    states = []
    for workers in (0, 2):
        numbers = generator()
        list(islice(folder_batches(tree, workers=workers).stream(10, numbers), 2))
        states.append(numbers.get_state())
    assert torch.equal(*states)


def test_processes_stay_from_pass_to_pass_and_pinned_memory_is_for_gpus(tree):
    batches = folder_batches(tree, workers=2)

    def processes():
        return [worker.pid for worker in batches._loader[1]._iterator._workers]

    list(batches.in_order(10))
    first = processes()
    list(batches.epoch(10, generator()))
    assert len(first) == 2 and processes() == first
    loader = batches._loader[1]
    assert loader.persistent_workers and not loader.pin_memory
    gpu = FolderBatches(tree / "train", [], TINY, device=torch.device("cuda"))  # nothing is moved there
    assert gpu._make_loader(None, persistent=False).pin_memory
    alone = folder_batches(tree)
    list(alone.in_order(10))
    assert not alone._loader[1].persistent_workers


def test_passes_that_overlap_do_not_disturb_each_other(tree):
    batches = folder_batches(tree, workers=1)
    stream = batches.stream(10, generator())
    first = [next(stream)]
    assert len(list(batches.in_order(10))) == 3
    first += islice(stream, 5)
    assert torch.equal(torch.cat([images for images, _ in first]), drawn(batches, "stream")[0])


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_is_named_in_one_line(tree, workers):
    (tree / "train/n01/3.png").write_bytes(b"none")
    with pytest.raises(
        ValueError, match=r"^[^\n]*n01/3.png cannot be read [^\n]*; replace it or move it out of the tree$"
    ):
        list(folder_batches(tree, workers=workers).in_order(10))


def test_images_take_the_channels_and_the_shape_of_the_data_set(tree):
    Image.fromarray(np.full((21, 30), 40000, np.uint16)).save(tree / "train/n00/16 bits.png")
    Image.new("RGB", (30, 21), (255, 0, 0)).save(tree / "train/n00/red.png")
    info = replace(TINY, image_channels=1, image_size=(6, 4), mean=(0.0,), std=(1.0,), flip=False)
    images = [("n00/16 bits.png", 0), ("n00/red.png", 1)]
    batches = FolderBatches(tree / "train", images, info, device=CPU)
    ((shown, _),) = batches.in_order(2)
    assert shown.shape == next(batches.epoch(2, generator()))[0].shape == (2, 1, 6, 4)
    torch.testing.assert_close(shown[0], torch.full((1, 6, 4), 156 / 255))  # 40000 of 65535
    torch.testing.assert_close(shown[1], torch.full((1, 6, 4), 76 / 255))  # 0.299 of red


@pytest.mark.parametrize("squares", [False, True])
def test_a_resumed_epoch_is_that_of_an_uninterrupted_training(tree, squares):
    given = {"cutout": 4, "jitter": True, "squares": squares}
    numbers, batches = generator(), folder_batches(tree, **given)
    list(batches.epoch(10, numbers))
    state = numbers.get_state()
    second = list(batches.epoch(10, numbers))
    numbers = generator()
    numbers.set_state(state)
    resumed = list(folder_batches(tree, workers=1, **given).epoch(10, numbers))
    for (images, labels), (expected, of) in zip(resumed, second, strict=True):
        assert torch.equal(images, expected) and torch.equal(labels, of)


@pytest.mark.parametrize("squares", [False, True])
def test_training_workers_see_their_rows_of_every_batch(tree, squares):
    given = {"cutout": 4, "jitter": True, "squares": squares}
    parts = [
        list(islice(folder_batches(tree, part=Workers(rank=rank, count=2), **given).stream(10, generator()), 3))
        for rank in range(2)
    ]
    single = list(islice(folder_batches(tree, **given).stream(10, generator()), 3))
    for (images, labels), *shares in zip(single, *parts, strict=True):
        assert torch.equal(images, torch.cat([share for share, _ in shares]))
        assert torch.equal(labels, torch.cat([share for _, share in shares]))
