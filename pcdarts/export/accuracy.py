"""The accuracy of an exported network on the test images of a data set."""

import dataclasses
from typing import NamedTuple

import torch

from pcdarts.config import OWN_IMAGES, RetrainConfig
from pcdarts.data.batches import ImageBatches, TensorBatches
from pcdarts.data.datasets import DATASETS, DataDescription, ImageSet
from pcdarts.data.sources import read
from pcdarts.network import CellNetwork
from pcdarts.pretrained import ImageInput
from pcdarts.training.device import prepare_device
from pcdarts.training.evaluation import evaluate


class Accuracy(NamedTuple):
    """Mean loss and accuracy over test images."""

    loss: float
    """Mean cross-entropy."""
    accuracy: float
    """Correctly classified images, percent."""
    top5: float | None
    """Images whose class is among the five most probable ones, percent; None with five classes or fewer."""
    images: int
    """Number of test images."""


def measure_accuracy(
    network: CellNetwork,
    dataset: str,
    data_dir: str = "data",
    *,
    batch_size: int = 96,
    device: str = "auto",
    threads: int = 1,
) -> Accuracy:
    """Evaluate a network, which is moved to the device, on the test images of a data set.

    Images are normalized as in the training of the network, not with the statistics of the data set.  Raises ValueError
    for a network that does not know its images, and for images that do not fit it.
    """
    expected = network.images
    if expected is None:
        raise ValueError("the network has no description of its images; evaluate it in a script of your own")
    config = RetrainConfig(
        dataset=dataset,  # type: ignore[arg-type]  # checked by the class
        data_dir=data_dir,
        image_size=_image_size(dataset, expected),
        validation_portion=0.0,
        threads=threads,
    )
    place = prepare_device(device, threads)
    data, description = read(config, processes=threads - 1)
    _check(network, expected, description)
    batches = _test_batches(description.fill_in(config), place, data, expected)
    score = evaluate(network.to(place), batches.in_order(batch_size), place, top5=batches.classes > 5)
    return Accuracy(score.loss, score.accuracy, score.top5, len(batches))


def _image_size(dataset: str, expected: ImageInput) -> int:
    """The field `image_size` with which images get the size of the network's input; 0 for their own size."""
    own = DATASETS[dataset].image_size if dataset in DATASETS else None
    return 0 if expected.height != expected.width or own == (expected.height, expected.width) else expected.height


def _check(network: CellNetwork, expected: ImageInput, found: DataDescription) -> None:
    """Raise ValueError for images that do not fit the network."""
    for name, wanted, given in (
        ("channels", network.sizes["image_channels"], found.channels),
        ("pixels", f"{expected.height} x {expected.width}", f"{found.height} x {found.width}"),
        ("classes", network.sizes["classes"], len(found.classes)),
    ):
        if wanted != given:
            raise ValueError(
                f"{found.dataset} has {given} {name}, but the network takes {wanted}; give the data set that it was "
                "trained on, or one like it"
            )
    if found.dataset in OWN_IMAGES and expected.labels and expected.labels != found.classes:
        label = next(i for i, pair in enumerate(zip(expected.labels, found.classes, strict=True)) if len(set(pair)) > 1)
        raise ValueError(
            f"class {label} is {found.classes[label]!r} in {found.place}, but {expected.labels[label]!r} in the "
            "network; name the class folders as in its training"
        )


def _test_batches(
    config: RetrainConfig, device: torch.device, data: ImageSet | None, expected: ImageInput
) -> ImageBatches:
    if data is not None:
        info = dataclasses.replace(data.info, mean=expected.mean, std=expected.std)
        return TensorBatches(*data.test, info, device=device)
    from pcdarts.data import trees  # imports torchvision, which takes a second

    if expected.mean != DATASETS["imagenet"].mean or expected.std != DATASETS["imagenet"].std:
        raise ValueError(
            f"the images in {config.data_dir} do not fit into memory and would be normalized as ImageNet, but the "
            "network was trained with another mean; evaluate it on fewer images"
        )
    return trees.retrain_batches(config, device)[2]
