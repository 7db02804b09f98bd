"""The discrete network: cells of a genotype, stacked and trained from scratch.

Source: the CIFAR and ImageNet networks of Liu et al., "DARTS: Differentiable Architecture Search" (ICLR 2019), also
used by PC-DARTS.  Shapes: N images, C channels, H x W pixels.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pcdarts.data.augment import moved
from pcdarts.genotype import INPUTS, Genotype
from pcdarts.operations import (
    STEM_MULTIPLIER,
    apply_stem,
    cell_inputs,
    cifar_stem,
    draw_paths,
    imagenet_stem,
    initialize,
    make_operation,
    reduction_layers,
)
from pcdarts.pretrained import ImageInput, read_model, write_model


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

    @property
    def droppable(self) -> int:
        """Number of operations whose output can be dropped: all except identities."""
        return sum(not isinstance(operation, nn.Identity) for operation in self.operations)

    def forward(self, before_previous: Tensor, previous: Tensor, paths: Sequence[Tensor] = ()) -> Tensor:
        """Outputs of the two cells before to (N, len(concat) * C, H, W).

        `paths`: factors (N, 1, 1, 1) of the operations that are not identities, 0 for images that drop the operation;
        empty: nothing is dropped.
        """
        states = [self.preprocess0(before_previous), self.preprocess1(previous)]
        outputs: list[Tensor] = []
        factors = iter(paths)
        for operation, source in zip(self.operations, self.sources, strict=True):
            output = operation(states[source])
            if len(paths) and not isinstance(operation, nn.Identity):
                output = output * next(factors).to(output.dtype)
            outputs.append(output)
            if len(outputs) % 2 == 0:
                states.append(outputs[-2] + outputs[-1])
        return torch.cat([states[node] for node in self.concat], dim=1)


AUXILIARY_POOL: Mapping[str, int] = {"cifar": 3, "imagenet": 2}
"""Stride of the auxiliary head's 5x5 pool, by stem."""


def smallest_auxiliary_map(stem: str) -> int:
    """Side of the smallest feature map that fits the auxiliary head: its pool leaves 2x2 pixels for a convolution."""
    return 5 + AUXILIARY_POOL[stem]


class AuxiliaryHead(nn.Sequential):
    """A second classifier on the feature map of a middle cell, which gives early cells a shorter path to the loss.

    Designed for 8 x 8 pixels in the CIFAR and 7 x 7 in the ImageNet network; larger maps are averaged.  The ImageNet
    head has no last batch norm, as in the papers.
    """

    def __init__(self, channels: int, classes: int, stem: Literal["cifar", "imagenet"]) -> None:
        self.smallest = smallest_auxiliary_map(stem)
        last_norm = [nn.BatchNorm2d(768)] if stem == "cifar" else []
        super().__init__(
            nn.ReLU(),
            nn.AvgPool2d(5, AUXILIARY_POOL[stem]),
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

    Initial weights and dropped paths are drawn from `generator`, which is on the CPU; without a generator the weights
    are those of PyTorch, for networks that load weights or are only counted.  `drop_path` is the probability of
    dropping an operation's output for an image in training; set it in every epoch.  Three more attributes change how a
    pass is computed, but not its result: `channels_last` (memory format; see `to_channels_last`), `compiled` (by
    torch.compile, in the first pass) and `checkpoint_activations` (keep only the inputs of a cell, and compute the cell
    again for its gradient).  `images` says what a trained network takes: see `preprocess`.
    """

    cell_type: type[NetworkCell] = NetworkCell

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
        self.genotype = genotype
        self.sizes: dict[str, Any] = {
            "channels": channels,
            "layers": layers,
            "classes": classes,
            "image_channels": image_channels,
            "stem": stem,
        }
        self.images: ImageInput | None = None
        self.drop_path = 0.0
        self.channels_last = self.compiled = self.checkpoint_activations = False
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
            cell = self.cell_type(genotype, before, channels, reduction, reduction_before)
            self.cells.append(cell)
            before, reduction_before = (before[1], len(cell.concat) * channels), reduction
            if auxiliary and layer == self.auxiliary_layer:
                self.auxiliary_head = AuxiliaryHead(before[1], classes, stem)
        self.classifier = nn.Linear(before[1], classes)
        if generator is not None:
            initialize(self, generator)

    @classmethod
    def from_pretrained(cls, source: str | Path, *, revision: str | None = None) -> Self:
        """The network of a folder, or of a model on the Hugging Face hub (`hf://OWNER/NAME`), in evaluation mode.

        `revision` is a branch, tag or commit of the hub.  Raises ValueError for anything but an exported network.
        """
        genotype, sizes, weights, images = read_model(source, revision)
        network = cls.with_weights(genotype, weights, **sizes)
        network.images = images
        return network

    def save_pretrained(self, folder: str | Path) -> list[Path]:
        """Write config.json and model.safetensors, for `from_pretrained`; returns their paths.

        The auxiliary head is left out, as only training needs it.
        """
        return write_model(folder, self.genotype, self.sizes, self.state_dict(), self.images)

    @classmethod
    def with_weights(cls, genotype: Genotype, weights: Mapping[str, Tensor], **sizes: Any) -> Self:
        """A network without auxiliary head in evaluation mode, from its state dict.

        Raises ValueError for weights of another network.
        """
        try:
            with torch.device("meta"):
                network = cls(genotype, **sizes)
            network.to_empty(device="cpu").to(weights["classifier.weight"].dtype).load_state_dict(weights)
        except (KeyError, RuntimeError, TypeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(
                f"these weights are not those of {sizes.get('layers')} cells {genotype.digest}: {reason}"
            ) from None
        return network.eval()

    def preprocess(self, *images: Any) -> Tensor:
        """Pillow images of any size as the network takes them, (N, C, H, W): resized, cropped and normalized.

        Raises ValueError if the network does not know what it takes.
        """
        if self.images is None:
            raise ValueError("the network has no description of its images; normalize them as in its training")
        return self.images.batch(*images)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, by logit; empty if they are not known."""
        return () if self.images is None else self.images.labels

    def to_channels_last(self) -> "CellNetwork":
        """Convert weights, and from now on images, to the channels-last memory format; returns the network."""
        self.channels_last = True
        return self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, image_channels, H, W) to logits (N, classes)."""
        return self._classify(self._run_cells(images)[0])

    def forward_with_auxiliary(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits (N, classes), and those of the auxiliary head, or None without one or in evaluation mode.

        Raises ValueError for images so small that the feature map does not fit the auxiliary head.
        """
        last, middle = self._run_cells(images)
        auxiliary = self.auxiliary_head(middle) if self.training and self.auxiliary_head is not None else None
        return self._classify(last), auxiliary

    def _run_cells(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs of the last cell and of the cell below the auxiliary head."""
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        features = _compiled(CellNetwork._features) if self.compiled else CellNetwork._features
        last, middle = features(self, images, self._draw_paths(images))
        return last, middle

    def _draw_paths(self, images: Tensor) -> list[Sequence[Tensor]]:
        """Factors of the operations of every cell, drawn before the cells run so that these can be compiled."""
        counts = [cell.droppable for cell in self.cells if isinstance(cell, NetworkCell)]
        if not (self.training and self.drop_path):
            return [()] * len(counts)
        factors = draw_paths((len(images), sum(counts)), self.drop_path, self.generator)
        factors = moved(factors.to(self.classifier.weight.dtype), images.device)[..., None, None, None]
        return [part.unbind(dim=1) for part in factors.split(counts, dim=1)]

    def _features(self, images: Tensor, paths: Sequence[Sequence[Tensor]]) -> tuple[Tensor, Tensor]:
        before_previous, previous = (self._state(output) for output in apply_stem(self.stem, images))
        recompute = self.checkpoint_activations and torch.is_grad_enabled()
        for layer, (cell, dropped) in enumerate(zip(self.cells, paths, strict=True)):
            arguments = (before_previous, previous, dropped)
            output = _checkpointed(cell, arguments, self.generator) if recompute else cell(*arguments)
            before_previous, previous = previous, self._state(output)
            if layer == self.auxiliary_layer:
                middle = previous
        return output, middle

    def _state(self, output: Tensor) -> Tensor:
        """What the next cells and the auxiliary head get of an output; all of them begin with a ReLU."""
        return output

    def _classify(self, features: Tensor) -> Tensor:
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits


def leaves_inputs_unused(genotype: Genotype) -> bool:
    """Whether a cell leaves an input or a node unused: some weights of the network then get no gradient."""
    cells = ((genotype.normal, genotype.normal_concat), (genotype.reduce, genotype.reduce_concat))
    states = [{source for _, source in pairs} | set(concat) for pairs, concat in cells]
    return any(not used >= set(range(INPUTS + len(pairs) // 2)) for used, (pairs, _) in zip(states, cells, strict=True))


@cache
def _compiled(function: Any) -> Any:
    """A compiled function of the class, shared by all networks."""
    return torch.compile(function)


def _checkpointed(cell: nn.Module, arguments: tuple[Any, ...], generator: torch.Generator | None) -> Tensor:
    """Output of a cell whose activations are computed again for the gradient: bit for bit the same."""

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _replayed(cell, generator, None if generator is None else generator.get_state())

    output: Tensor = checkpoint(cell, *arguments, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)
    return output


@contextmanager
def _replayed(cell: nn.Module, generator: torch.Generator | None, state: Tensor | None) -> Iterator[None]:
    """Context to run a cell a second time with the same draws and without updating running statistics again."""
    owners = [(module, dict(module.named_buffers(recurse=False))) for module in cell.modules()]
    now = None if generator is None else generator.get_state()
    try:
        if generator is not None and state is not None:
            generator.set_state(state)
        for module, buffers in owners:
            for name, buffer in buffers.items():
                setattr(module, name, buffer.clone())
        yield
    finally:
        for module, buffers in owners:
            for name, buffer in buffers.items():
                setattr(module, name, buffer)
        if generator is not None and now is not None:
            generator.set_state(now)
