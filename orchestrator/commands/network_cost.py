"""What `pcdarts complexity` prints: what a network of given cells costs, part by part."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from orchestrator.presets import MOBILE_MACS
from pcdarts.complexity import PartCost, part_costs
from pcdarts.data.datasets import DATASETS
from pcdarts.genotype import Genotype
from pcdarts.presets import retrain_cifar10, retrain_imagenet

CONVENTION = (
    "Multiply-adds: convolutions and linear layers, one image; batch norms, pools and additions are not counted, so\n"
    "papers that count more print more. Activations: single-precision outputs of convolutions, batch norms, pools and\n"
    "linear layers, one image. No auxiliary head."
)
"""What the numbers mean; printed wherever they are."""
RECIPES = {"cifar10": retrain_cifar10, "imagenet": retrain_imagenet}
"""Where the sizes of a network come from."""


def complexity_text(genotype: Genotype, recipe: str, sizes: Mapping[str, Any]) -> str:
    """A table of a network's parts; `sizes` (channels, layers, classes, stem, input) replace those of the recipe.

    Raises ValueError for sizes that no network can have.
    """
    config = RECIPES[recipe]()
    info = DATASETS[config.dataset]
    defaults = {name: getattr(config, name) for name in ("channels", "layers", "stem")}
    values = {**defaults, "classes": info.classes, "input": info.image_size[0], **sizes}
    for name, least in (("channels", 2), ("layers", 3), ("classes", 1), ("input", 1)):
        if values[name] < least or (name == "channels" and values[name] % 2):
            rule = f"at least {least}" + (" and even" if name == "channels" else "")
            raise ValueError(f"{name} is {values[name]}, but must be {rule}")
    image_size = values.pop("input")
    parts = part_costs(genotype, **values, image_size=(image_size, image_size))
    macs = sum(part.macs for part in parts)
    limit = f"at most {MOBILE_MACS // 10**6}M multiply-adds"
    verdict = f"holds, {MOBILE_MACS - macs:,} below" if macs <= MOBILE_MACS else f"fails, {macs - MOBILE_MACS:,} above"
    applies = "" if values["stem"] == "imagenet" and image_size == 224 else "; it is meant for ImageNet at 224 pixels"
    heading = (
        f"{image_size} x {image_size} pixels, {values['channels']} channels, {values['layers']} cells, "
        f"{values['classes']} classes, {values['stem']} stem"
    )
    return f"{_table(heading, parts)}{CONVENTION}\nMobile limit, {limit}: {verdict}{applies}."


def _table(heading: str, parts: list[PartCost]) -> str:
    table = Table(title=heading, box=box.SIMPLE_HEAD, show_footer=True)
    table.add_column("part", "total")
    table.add_column("output", justify="right")
    for name, attribute in (("parameters", "parameters"), ("multiply-adds", "macs")):
        table.add_column(name, f"{sum(getattr(part, attribute) for part in parts):,}", justify="right")
    table.add_column("activations, MB", _megabytes(sum(part.activation_bytes for part in parts)), justify="right")
    for part in parts:
        output = f"{part.channels} x {part.height} x {part.width}"
        costs = (f"{part.parameters:,}", f"{part.macs:,}", _megabytes(part.activation_bytes))
        table.add_row(part.name, output, *costs)
    console = Console(width=120)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.3f}"
