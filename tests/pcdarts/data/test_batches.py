"""Batches and splits: passes, augmentation, halves, orders."""

from itertools import islice

import pytest
import torch

from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.data.batches import TensorBatches, check_dataset, retrain_batches, search_batches, spread
from pcdarts.data.datasets import DATASETS, DatasetInfo, batch_sizes, dataset_info
from pcdarts.data.sources import load

CPU = torch.device("cpu")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def plain(count=10, **changes):
    """Batches of 1 x 4 x 4 images that are not augmented; image i shows the grey value i and has label i."""
    settings = dict(name="plain", classes=count, image_channels=1, image_size=(4, 4), mean=(0.0,), std=(1 / 255,))
    info = DatasetInfo(**{**settings, "crop_padding": 0, "flip": False, **changes})
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    return TensorBatches(images, torch.arange(count), info, device=CPU)


def pixels(batches, size=1000):
    return torch.cat([images for images, _ in batches.in_order(size)])


# Passes


def test_an_epoch_shows_every_image_once_with_its_label():
    batches = list(plain().epoch(4, generator()))
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    images, labels = (torch.cat(part) for part in zip(*batches, strict=True))
    assert images.dtype == torch.float32 and labels.dtype == torch.int64
    torch.testing.assert_close(images, labels.view(-1, 1, 1, 1).expand(-1, 1, 4, 4).float())
    assert labels.tolist() != labels.sort().values.tolist() == list(range(10))


def test_a_stream_goes_on_in_a_new_order():
    labels = [labels.tolist() for _, labels in islice(plain().stream(4, generator()), 9)]
    assert [len(part) for part in labels] == [4, 4, 2] * 3
    passes = [sum(labels[i : i + 3], []) for i in (0, 3, 6)]
    assert all(sorted(one) == list(range(10)) for one in passes)
    assert len({tuple(one) for one in passes}) == 3


def test_in_order_neither_shuffles_nor_augments():
    batches = plain(crop_padding=2, flip=True)
    images, labels = (torch.cat(part) for part in zip(*batches.in_order(3), strict=True))
    assert labels.tolist() == list(range(10))
    torch.testing.assert_close(images, torch.arange(10.0).view(-1, 1, 1, 1).expand(-1, 1, 4, 4))


def test_in_order_shows_chosen_images_in_the_given_order():
    chosen = [labels.tolist() for _, labels in plain().in_order(2, torch.tensor([7, 0, 3]))]
    assert chosen == [[7, 0], [3]]


@pytest.mark.parametrize(
    ("total", "most", "expected"), [(3, 5, [0, 1, 2]), (10, 5, [0, 2, 4, 6, 8]), (10, 4, [0, 2, 5, 7]), (0, 5, [])]
)
def test_spread_indices_lie_at_equal_distances(total, most, expected):
    assert spread(total, most).tolist() == expected


@pytest.mark.parametrize("method", ["epoch", "stream"])
def test_equal_generators_give_equal_batches_whatever_the_global_seed(method):
    batches, _ = search_batches(SearchConfig(dataset="synthetic", cutout=4), CPU)

    def drawn(seed):
        return torch.cat([images for images, _ in islice(getattr(batches, method)(100, generator(seed)), 2)])

    first = drawn(0)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert torch.equal(first, drawn(0)) and not torch.equal(first, drawn(1))
    assert torch.equal(state, torch.get_rng_state())
    assert (first == 0).any()  # cut out after normalization


# Splits


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_the_halves_of_a_search_are_disjoint_and_leave_the_test_images_alone(name):
    weights, alpha = search_batches(SearchConfig(dataset=name, train_portion=0.3), CPU)
    train, valid, test = retrain_batches(RetrainConfig(dataset=name), CPU)
    assert len(weights) == int(0.3 * (len(weights) + len(alpha)))
    assert len(valid) == int(0.1 * (len(train) + len(valid)))

    def rows(*parts):
        return sorted(tuple(image.flatten().tolist()) for part in parts for image in pixels(part))

    searched, retrained = rows(weights, alpha), rows(train, valid)
    assert searched == retrained  # the same training images, each in exactly one part
    assert len(set(searched)) == len(searched)
    assert not set(searched) & set(rows(test))
    info = DATASETS[name]
    for part in (weights, alpha, train, valid, test):
        assert (part.classes, part.image_channels, part.image_size) == (
            info.classes,
            info.image_channels,
            info.image_size,
        )
        assert pixels(part).shape[1:] == (info.image_channels, *info.image_size)


def test_digits_are_stratified_and_normalized():
    parts = retrain_batches(RetrainConfig(dataset="digits"), CPU)
    assert [len(part) for part in parts] == [1437 - 143, 143, 360]
    counts = torch.stack([torch.cat([labels for _, labels in part.in_order(500)]).bincount() for part in parts])
    shares = torch.tensor([len(part) for part in parts])[:, None] / 1797
    assert (counts - shares * counts.sum(dim=0)).abs().max() < 1.5
    values = pixels(parts[0])
    assert abs(float(values.mean())) < 0.02 and abs(float(values.std()) - 1) < 0.02


def test_without_a_validation_portion_all_images_are_trained_on():
    train, valid, test = retrain_batches(RetrainConfig(dataset="digits", validation_portion=0.0), CPU)
    assert (len(train), valid, len(test)) == (1437, None, 360)


def test_the_seed_changes_no_split():
    parts = [retrain_batches(RetrainConfig(dataset="digits", seed=seed), CPU) for seed in (0, 1)]
    for first, second in zip(*parts, strict=True):
        assert torch.equal(pixels(first), pixels(second))


def test_given_images_are_neither_read_nor_copied():
    data = load(SearchConfig(dataset="digits"))
    parts = search_batches(SearchConfig(data_dir="/none"), CPU, data=data)
    parts += retrain_batches(RetrainConfig(data_dir="/none"), CPU, data=data)
    memory = [part._images.untyped_storage().data_ptr() for part in parts]
    train, test = (part.images.untyped_storage().data_ptr() for part in (data.train, data.test))
    assert memory == [train] * 4 + [test]


def test_chosen_images_are_those_images_alone():
    images, labels = load(SearchConfig(dataset="synthetic")).train
    chosen = torch.tensor([5, 3, 300, 4, 8])
    some = TensorBatches(images, labels, DATASETS["synthetic"], device=CPU, chosen=chosen)
    copied = TensorBatches(images[chosen], labels[chosen], DATASETS["synthetic"], device=CPU)
    assert len(some) == 5
    for one, other in (
        (some.epoch(2, generator()), copied.epoch(2, generator())),
        (some.in_order(3), copied.in_order(3)),
    ):
        for batch, expected in zip(one, other, strict=True):
            assert all(map(torch.equal, batch, expected))


def test_a_portion_without_images_is_refused():
    with pytest.raises(ValueError, match="train_portion is 1e-05, but must leave some of the 320 training images"):
        search_batches(SearchConfig(dataset="synthetic", train_portion=1e-5), CPU)


def test_check_dataset_of_built_in_sets():
    assert check_dataset(SearchConfig(dataset="digits")).summary == (
        "digits: 10 classes, 1 x 8 x 8 pixels, 1437 training and 360 test images; test images: a stratified fifth"
    )
    assert check_dataset(RetrainConfig(dataset="synthetic", image_size=8)).summary == (
        "synthetic: 4 classes, 3 x 8 x 8 pixels, 320 training and 80 test images; test images: drawn with another seed"
    )


def test_the_first_images_alone_where_a_search_asks_for_so_many():
    whole, part = (SearchConfig(dataset="digits", max_images=count) for count in (0, 100))
    (weights, alpha), (few, others) = (search_batches(config, torch.device("cpu")) for config in (whole, part))
    assert len(weights) > 100 < len(alpha) and (len(few), len(others)) == (50, 50)
    for images, expected in zip(next(few.in_order(50)), next(weights.in_order(50)), strict=True):
        assert torch.equal(images, expected)


def test_a_pass_never_ends_with_a_single_image():
    assert batch_sizes(9, 4) == [4, 5] and batch_sizes(10, 4) == [4, 4, 2] and batch_sizes(8, 4) == [4, 4]
    assert batch_sizes(1, 4) == [1] and batch_sizes(3, 1) == [1, 1, 1] and batch_sizes(0, 4) == []
    batches, _ = search_batches(SearchConfig(dataset="synthetic"), CPU)
    assert [len(labels) for _, labels in batches.epoch(53, generator())] == [53, 53, 54]


def test_a_retraining_on_the_first_images():
    train, valid, test = retrain_batches(RetrainConfig(dataset="digits", max_images=100), CPU)
    assert (len(train), len(valid), len(test)) == (90, 10, 360)


def test_images_are_resized_by_the_configuration():
    train, _ = search_batches(SearchConfig(dataset="synthetic", image_size=8), CPU)
    assert train.image_size == (8, 8) and next(train.in_order(2))[0].shape == (2, 3, 8, 8)


def test_flips_follow_the_configuration():
    for flip, expected in (("auto", True), ("on", True), ("off", False)):
        assert dataset_info(SearchConfig(flip=flip)).flip is expected
    assert not dataset_info(SearchConfig(dataset="digits")).flip
    assert dataset_info(SearchConfig(dataset="digits", flip="on")).flip


def test_own_images_have_the_shape_that_was_found():
    shape = {"classes": 7, "image_channels": 5, "image_height": 28, "image_width": 20}
    info = dataset_info(SearchConfig(dataset="arrays", **shape))
    assert (info.classes, info.image_channels, info.image_size, info.crop_padding) == (7, 5, (28, 20), 2)
    with pytest.raises(ValueError, match="classes is 0, but must be that of the images in data"):
        dataset_info(SearchConfig(dataset="folder"))
