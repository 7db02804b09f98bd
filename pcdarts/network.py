"""The discrete network: cells of a genotype, stacked and trained from scratch.

Source: the CIFAR and ImageNet networks of Liu et al., "DARTS: Differentiable Architecture Search" (ICLR 2019), which
PC-DARTS retrains its cells in.  Shapes: N images, C channels, H x W pixels.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from pcdarts.genotype import INPUTS, Genotype
from pcdarts.operations import (
    STEM_MULTIPLIER,
    apply_stem,
    cell_inputs,
    cifar_stem,
    drop_path_per_image,
    imagenet_stem,
    initialize,
    make_operation,
    reduction_layers,
)


class NetworkCell(nn.Module):
    """One cell of a genotype, its operations with affine batch norms."""

    def __init__(
        self,
        genotype: Genotype,
        channels_before: tuple[int, int],
        channels: int,
        reduction: bool,
        reduction_before: bool,
    ) -> None:
        super().__init__()
        pairs = genotype.reduce if reduction else genotype.normal
        self.concat = tuple(genotype.reduce_concat if reduction else genotype.normal_concat)
        self.sources = tuple(source for _, source in pairs)
        self.preprocess0, self.preprocess1 = cell_inputs(channels_before, channels, halve=reduction_before, affine=True)
        self.operations = nn.ModuleList(
            make_operation(name, channels, 2 if reduction and source < INPUTS else 1, affine=True)
            for name, source in pairs
        )

    def forward(
        self, before_previous: Tensor, previous: Tensor, drop_path: float, generator: torch.Generator | None
    ) -> Tensor:
        """Outputs of the two cells before to (N, len(concat) * C, H, W); `drop_path` is a probability."""
        states = [self.preprocess0(before_previous), self.preprocess1(previous)]
        outputs = []
        for operation, source in zip(self.operations, self.sources, strict=True):
            output = operation(states[source])
            if drop_path and not isinstance(operation, nn.Identity):  # identities are never dropped
                output = drop_path_per_image(output, drop_path, generator)
            outputs.append(output)
            if len(outputs) % 2 == 0:
                states.append(outputs[-2] + outputs[-1])
        return torch.cat([states[node] for node in self.concat], dim=1)


class AuxiliaryHead(nn.Sequential):
    """A second classifier on the feature map of a middle cell, which gives early cells a shorter way to the loss.

    Made for 8 x 8 pixels in the CIFAR and 7 x 7 in the ImageNet network; larger maps are averaged.  The ImageNet head
    lacks the last batch norm, as the one of the papers does.
    """

    def __init__(self, channels: int, classes: int, stem: Literal["cifar", "imagenet"]) -> None:
        pool_stride = 3 if stem == "cifar" else 2
        self.smallest = 5 + pool_stride  # pixels that leave the 2x2 convolution its 2x2
        last_norm = [nn.BatchNorm2d(768)] if stem == "cifar" else []
        super().__init__(
            nn.ReLU(),
            nn.AvgPool2d(5, pool_stride),
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            *last_norm,
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(768, classes),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, channels, H, W) to logits (N, classes); raises ValueError for maps that are too small."""
        height, width = features.shape[2:]
        if min(height, width) < self.smallest:
            raise ValueError(
                f"the feature map at the auxiliary head is {height} x {width} pixels, but must be at least "
                f"{self.smallest} x {self.smallest}; set auxiliary_weight to 0 for images this small"
            )
        logits: Tensor = super().forward(features)
        return logits


class CellNetwork(nn.Module):
    """A network of `layers` cells, C = `channels` in the first and doubled at layers // 3 and 2 * layers // 3.

    Weights are drawn from `generator`, which lives on the CPU, and later the images whose paths are dropped; without
    one PyTorch's own weights stay, which serves to load others or to count.  `drop_path` is the probability of dropping
    an operation's output for an image in training; set it epoch by epoch.
    """

    def __init__(
        self,
        genotype: Genotype,
        *,
        channels: int,
        layers: int,
        classes: int,
        image_channels: int = 3,
        stem: Literal["cifar", "imagenet"] = "cifar",
        auxiliary: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.drop_path = 0.0
        self.generator = generator
        self.auxiliary_layer = reduction_layers(layers)[1]
        stem_channels = STEM_MULTIPLIER * channels if stem == "cifar" else channels
        self.stem = (cifar_stem if stem == "cifar" else imagenet_stem)(image_channels, stem_channels)
        self.cells = nn.ModuleList()
        self.auxiliary_head: AuxiliaryHead | None = None
        before, reduction_before = (stem_channels, stem_channels), stem == "imagenet"
        for layer in range(layers):
            reduction = layer in reduction_layers(layers)
            channels = 2 * channels if reduction else channels
            cell = NetworkCell(genotype, before, channels, reduction, reduction_before)
            self.cells.append(cell)
            before, reduction_before = (before[1], len(cell.concat) * channels), reduction
            if auxiliary and layer == self.auxiliary_layer:
                self.auxiliary_head = AuxiliaryHead(before[1], classes, stem)
        self.classifier = nn.Linear(before[1], classes)
        if generator is not None:
            initialize(self, generator)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, image_channels, H, W) to logits (N, classes)."""
        return self._classify(self._features(images)[0])

    def forward_with_auxiliary(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits (N, classes), and those of the auxiliary head: None where there is none, and in evaluation mode.

        Raises ValueError for images that leave the auxiliary head too small a feature map.
        """
        last, middle = self._features(images)
        auxiliary = self.auxiliary_head(middle) if self.training and self.auxiliary_head is not None else None
        return self._classify(last), auxiliary

    def _features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Output of the last cell, and of the cell that the auxiliary head reads."""
        before_previous, previous = apply_stem(self.stem, images)
        drop_path = self.drop_path if self.training else 0.0
        for layer, cell in enumerate(self.cells):
            before_previous, previous = previous, cell(before_previous, previous, drop_path, self.generator)
            if layer == self.auxiliary_layer:
                middle = previous
        return previous, middle

    def _classify(self, features: Tensor) -> Tensor:
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits
