"""Augmentation and evaluation of the official code against ours: what `tests.benchmarks.parity` compares exactly.

A training image becomes one of 162: 81 crops of the padded image, flipped or not; cutout erases one of 1,024 squares.
Both codes must draw all of them, equally often.  The same weights must have the same loss and accuracy in both.
"""

import sys
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from scipy import stats
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.transforms import Compose, functional

from pcdarts.data.augment import cutout
from pcdarts.data.batches import TensorBatches
from pcdarts.data.datasets import DATASETS
from pcdarts.official import supernet_from_official
from pcdarts.selftest.official_code import cuda_calls_do_nothing
from pcdarts.training.evaluation import evaluate
from tests.benchmarks.official_scripts import load_script, read_cifar10

CPU = torch.device("cpu")
WHAT, CELLS = ("alphas", "betas"), ("normal", "reduce")
PADDING, CUTOUT = 4, 16
DRAWS, MASK_DRAWS = 40 * 162, 20 * 1024
EVALUATED = 256
"""Test images that the same weights are evaluated on, the first."""
TOLERANCE = 1e-5
"""Largest difference of pixels, losses and accuracies in single precision."""
RARE = 0.001
"""A smaller p-value of equal frequencies fails."""


class Drawn(NamedTuple):
    """How often each of the possible results was drawn."""

    distance: float
    """Largest difference of a drawn value from that of the closest possible result."""
    missing: int
    """Possible results that were never drawn."""
    p_value: float
    """Chi-square test of equal frequencies."""

    @property
    def equal(self) -> bool:
        """Whether all possible results were drawn, no others, and equally often."""
        return self.distance <= TOLERANCE and not self.missing and self.p_value >= RARE


def outcomes(image: Image.Image, finish: Any) -> Tensor:
    """All results of augmenting an image, (162, 3, 32, 32); `finish` makes tensors of images and normalizes them."""
    padded = functional.pad(image, [PADDING] * 4)
    places = range(2 * PADDING + 1)
    crops = [functional.crop(padded, top, left, image.height, image.width) for top in places for left in places]
    return torch.stack([finish(each) for crop in crops for each in (crop, functional.hflip(crop))])


def drawn(draws: Tensor, possible: Tensor) -> Drawn:
    """Compare draws (N, C, H, W) with the possible results (M, C, H, W)."""
    closest = torch.cdist(draws.flatten(1), possible.flatten(1)).argmin(dim=1)
    counts = closest.bincount(minlength=len(possible)).numpy()
    distance = float((draws - possible[closest]).abs().max())
    return Drawn(distance, int((counts == 0).sum()), float(stats.chisquare(counts).pvalue))


def our_draws(pixels: Tensor) -> Tensor:
    """An image (3, 32, 32), uint8, augmented `DRAWS` times by our batches."""
    images, labels = pixels.expand(DRAWS, -1, -1, -1), torch.zeros(DRAWS, dtype=torch.int64)
    batches = TensorBatches(images, labels, DATASETS["cifar10"], device=CPU)
    return next(batches.epoch(DRAWS, torch.Generator().manual_seed(0)))[0]


def squares() -> Tensor:
    """What cutout may leave of an image of ones, (1024, 1, 32, 32)."""
    positions, half = torch.arange(32), CUTOUT // 2
    erased = (positions >= positions[:, None] - half) & (positions < positions[:, None] + half)
    return (~(erased[:, None, :, None] & erased[None, :, None, :])).float().view(1024, 1, 32, 32)


def our_squares() -> Tensor:
    """Images of ones after our cutout."""
    return cutout(torch.ones(MASK_DRAWS, 1, 32, 32), CUTOUT, torch.Generator().manual_seed(0))


def compare_draws(directory: str, data_dir: str) -> dict[str, Drawn]:
    """Both codes against all possible results, for the first training image and for cutout."""
    module = load_script(directory, "train_search.py", {"cutout": True})
    augment, _ = module.utils._data_transforms_cifar10(module.args)
    *crop_and_flip, to_tensor, normalize, erase = augment.transforms
    image, pixels = Image.fromarray(array := read_cifar10(data_dir, True).data[0]), torch.from_numpy(array.copy())
    possible = outcomes(image, Compose([to_tensor, normalize]))
    augment = Compose([*crop_and_flip, to_tensor, normalize])
    torch.manual_seed(0)
    np.random.seed(0)
    return {
        "official crops and flips": drawn(torch.stack([augment(image) for _ in range(DRAWS)]), possible),
        "our crops and flips": drawn(our_draws(pixels.permute(2, 0, 1)), possible),
        "official cutout": drawn(torch.stack([erase(torch.ones(1, 32, 32)) for _ in range(MASK_DRAWS)]), squares()),
        "our cutout": drawn(our_squares(), squares()),
    }


def compare_evaluations(directory: str, data_dir: str) -> dict[str, float]:
    """Differences of loss and accuracy, percent, of one super-network, as both codes evaluate it."""
    module = load_script(directory, "train_search.py", {"init_channels": 8, "layers": 5})
    _, plain = module.utils._data_transforms_cifar10(module.args)
    data, criterion = read_cifar10(data_dir, False), nn.CrossEntropyLoss()
    torch.manual_seed(0)
    with cuda_calls_do_nothing(), torch.no_grad():
        network = module.Network(8, 10, 5, criterion)
        pictures: Any = [
            (plain(Image.fromarray(pixels)), label)
            for pixels, label in zip(data.data[:EVALUATED], data.targets[:EVALUATED], strict=True)
        ]
        network(next(iter(DataLoader(pictures, EVALUATED)))[0])  # running statistics that are not those of the start
        accuracy, loss = map(float, module.infer(DataLoader(pictures, 100), network, criterion))
        arch = {f"{what}_{cell}": getattr(network, f"{what}_{cell}").data for what in WHAT for cell in CELLS}
        images = torch.from_numpy(data.data[:EVALUATED]).permute(0, 3, 1, 2)
        batches = TensorBatches(images, torch.tensor(data.targets[:EVALUATED]), DATASETS["cifar10"], device=CPU)
        ours = evaluate(supernet_from_official(network.state_dict(), arch), batches.in_order(64), CPU)
    return {"loss": abs(ours.loss - loss), "accuracy": abs(ours.accuracy - accuracy)}


def check_images(directory: str, data_dir: str) -> None:
    """Print what was found; exit if anything differs."""
    print("augmentation of the first training image, and cutout:")
    draws, evaluations = compare_draws(directory, data_dir), compare_evaluations(directory, data_dir)
    for name, found in draws.items():
        print(f"  {name}: distance {found.distance:.1e}, {found.missing} never drawn, p {found.p_value:.3f}")
    print(f"one super-network on {EVALUATED} test images, differences:")
    print("  " + ", ".join(f"{name} {value:.1e}" for name, value in evaluations.items()), flush=True)
    wrong = [name for name, found in draws.items() if not found.equal]
    wrong += [name for name, value in evaluations.items() if not value <= TOLERANCE]
    if wrong:
        sys.exit(f"not as in the official code: {', '.join(wrong)}")
