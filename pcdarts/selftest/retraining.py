"""Part `retraining`: a step of the networks that are retrained, in every precision, and whole retrainings.

Run as a program it measures a compiled step: compiling takes minutes, so it can be stopped.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from pcdarts.config import RetrainConfig
from pcdarts.fast.fast_network import FastNetwork
from pcdarts.genotype import PUBLISHED
from pcdarts.network import CellNetwork, smallest_auxiliary_map
from pcdarts.presets import RECIPES
from pcdarts.selftest.bench import SMALL, Bench, Sizes, tf32_products
from pcdarts.selftest.results import Verdict
from pcdarts.training.device import prepare_device

Recipe = Literal["cifar10", "imagenet"]

TRAINING_IMAGES = {"cifar10": 50_000, "imagenet": 1_281_167}
"""Images of an epoch, without those that are held out."""
GENOTYPES = {"cifar10": "PC_DARTS_cifar", "imagenet": "PC_DARTS_image"}
COMPILE_SECONDS = 90.0
"""Time for a compiled step, compilation included."""
CAPTION = "Retraining steps: forward and backward pass, clipping and SGD"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a step is computed."""

    recipe: Recipe
    """Recipe whose network and batch are used."""
    implementation: Literal["reference", "fast"] = "reference"
    """Class of the network."""
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """As in a RetrainConfig."""
    channels_last: bool = False
    """Memory format of the reference network; the fast one is always channels_last."""

    @property
    def product_runs_it(self) -> bool:
        """Whether a retraining on a GPU can be set to this; the fast network is for a CPU."""
        return self.implementation == "reference"


def run(bench: Bench) -> tuple[Verdict, str]:
    """Time steps; fails if one that a retraining can be set to raises or has a loss that is not finite."""
    failed = []
    for setting in _settings(bench):
        network, batch = _size(bench, setting.recipe)
        row: dict[str, Any] = {"recipe": setting.recipe, "network": network, "batch": batch}
        row |= {"implementation": setting.implementation, "precision": setting.precision}
        row["layout"] = "NHWC" if setting.channels_last or setting.implementation == "fast" else "NCHW"
        try:
            seconds = step_seconds(bench, setting)
            row |= {"ms": 1000 * seconds, "images/s": batch / seconds}
            if setting.product_runs_it or not bench.on_gpu:
                _extrapolate(bench, setting, network, seconds / batch)
        except (RuntimeError, FloatingPointError) as error:
            row["error"] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            if setting.product_runs_it and not isinstance(error, torch.OutOfMemoryError):
                failed.append(f"{setting.recipe}, {setting.precision}: {row['error']}")
        bench.add(CAPTION, **row)
    if bench.on_gpu:
        _compiled(bench)
    return ("fail", "; ".join(failed)) if failed else ("pass", "a table; all precisions compute finite losses")


def _settings(bench: Bench) -> list[Setting]:
    if not bench.on_gpu:
        cifar = [Setting(recipe="cifar10", implementation="fast"), Setting(recipe="cifar10")]
        return [*cifar, Setting(recipe="cifar10", precision="bf16"), Setting(recipe="imagenet", implementation="fast")]
    found = [Setting(recipe="cifar10", implementation="fast")]
    for recipe in ("cifar10", "imagenet"):
        for precision in ("fp32", "tf32", "bf16"):
            for channels_last in (False, True):
                found.append(Setting(recipe=recipe, precision=precision, channels_last=channels_last))
    return found


def _size(bench: Bench, recipe: Recipe) -> tuple[str, int]:
    """The network's size in words, and the images of a step."""
    sizes = bench.sizes
    if recipe == "cifar10":
        return f"C = {sizes.network_channels}, {sizes.network_layers} cells", sizes.network_batch
    return f"C = {sizes.imagenet_channels}, {sizes.imagenet_layers} cells", sizes.imagenet_batch


def _extrapolate(bench: Bench, setting: Setting, network: str, seconds_per_image: float) -> None:
    """Keep the cost of a retraining's steps, at the fastest layout of a precision."""
    epochs = RECIPES[setting.recipe]().epochs
    hours = epochs * TRAINING_IMAGES[setting.recipe] * seconds_per_image / 3600
    name = f"retraining, {setting.recipe}, {epochs} epochs, {network}, {setting.precision}, steps alone"
    bench.costs[name] = min(hours, bench.costs.get(name, hours))


def step_seconds(bench: Bench, setting: Setting, *, compiled: bool = False) -> float:
    """Median seconds of a step; raises FloatingPointError if its loss is not finite."""
    with tf32_products(setting.precision == "tf32"):
        step = _make_step(bench, setting, compiled)
        seconds = bench.seconds(step, warmups=3)
        loss = float(step())
    if loss != loss or abs(loss) == float("inf"):
        raise FloatingPointError(f"loss is {loss} in {setting.precision}")
    return seconds


def _make_step(bench: Bench, setting: Setting, compiled: bool) -> Callable[[], torch.Tensor]:
    sizes, recipe = bench.sizes, RECIPES[setting.recipe]()
    cifar = setting.recipe == "cifar10"
    side, classes = (sizes.image_size, 10) if cifar else (sizes.imagenet_size, 1000)
    middle = side // (4 if cifar else 32)
    network = (FastNetwork if setting.implementation == "fast" else CellNetwork)(
        PUBLISHED[GENOTYPES[setting.recipe]],
        channels=sizes.network_channels if cifar else sizes.imagenet_channels,
        layers=sizes.network_layers if cifar else sizes.imagenet_layers,
        classes=classes,
        stem=recipe.stem,
        auxiliary=middle >= smallest_auxiliary_map(recipe.stem),
        generator=torch.Generator().manual_seed(0),
    ).to(bench.device)
    if setting.channels_last:
        network.to_channels_last()
    network.drop_path, network.compiled = recipe.drop_path, compiled
    optimizer = _optimizer(network, recipe)
    batch = sizes.network_batch if cifar else sizes.imagenet_batch
    images, labels = bench.normal(batch, 3, side, side), bench.labels(batch, classes)

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        with _autocast(bench, setting):
            logits, auxiliary = network.forward_with_auxiliary(images)
        loss = functional.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
        if auxiliary is not None:
            loss = loss + recipe.auxiliary_weight * functional.cross_entropy(auxiliary.float(), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), recipe.gradient_clip)
        optimizer.step()
        return loss.detach()

    return step


def _optimizer(network: nn.Module, recipe: RetrainConfig) -> torch.optim.SGD:
    return torch.optim.SGD(
        network.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )


def _autocast(bench: Bench, setting: Setting) -> contextlib.AbstractContextManager[Any]:
    if setting.precision != "bf16":
        return contextlib.nullcontext()
    return torch.autocast(bench.device.type, dtype=torch.bfloat16)


def _compiled(bench: Bench) -> None:
    """Add the row of a compiled step, measured in a process that is stopped when it takes too long."""
    row: dict[str, Any] = {"recipe": "cifar10", "network": _size(bench, "cifar10")[0]}
    row |= {"batch": bench.sizes.network_batch, "implementation": "compiled", "precision": "bf16", "layout": "NHWC"}
    patience = min(COMPILE_SECONDS, bench.seconds_left - 5)
    if patience <= 0:
        bench.add(CAPTION, **row, error="not measured: no time was left")
        return
    command = [sys.executable, "-m", "pcdarts.selftest.retraining", json.dumps({"device": str(bench.device)})]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=patience, check=True).stdout
        seconds = float(answer.splitlines()[-1])
        bench.add(CAPTION, **row, **{"ms": 1000 * seconds, "images/s": bench.sizes.network_batch / seconds})
    except subprocess.TimeoutExpired:
        bench.add(CAPTION, **row, error=f"not compiled after {patience:.0f} s")
    except subprocess.CalledProcessError as error:
        bench.add(CAPTION, **row, error=f"failed: {(error.stderr.strip().splitlines() or ['no message'])[-1][:300]}")


if __name__ == "__main__":
    device = prepare_device(json.loads(sys.argv[1])["device"], 1)
    own_bench = Bench(device, Sizes() if device.type == "cuda" else SMALL, deadline=0)
    print(step_seconds(own_bench, Setting(recipe="cifar10", precision="bf16", channels_last=True), compiled=True))
