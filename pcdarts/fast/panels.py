"""Where blocks of channels lie in memory: the panels of a fan (see `pcdarts.fast.fan`).

A block is what one depthwise convolution of an edge has: c channels.  Shapes as in `pcdarts.fast.fan`: S states, F
targets, E = S F edges ordered by (state, target).  A row (kind, state) has F blocks, one for each target.

A panel is a matrix (M, blocks c).  On a CPU it is so narrow that its pixels stay in the cache from one step to the
next, and every kind has kernels of its own size.  On a GPU one panel holds all blocks, which takes the fewest calls;
there 3x3 kernels are 5x5 kernels with zeros.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

PANEL_COLUMNS, PANEL_ELEMENTS = 16, 2**13
"""Widest panel on a CPU: this number of columns, or of elements an image if that allows more columns.  The number of
images does not matter, so that memory is proportional to it."""
PRODUCT_CHANNELS = 8
"""Largest number of channels of a state that a CPU repeats faster as a product with zeros and ones than by joining."""
GEMM_CHANNELS = 32
"""Largest number of channels whose copies a CPU sums faster as a product with a matrix of zeros and ones."""


@dataclass(frozen=True)
class Kinds:
    """Operations whose depthwise convolutions are computed by the same calls."""

    stack: int
    """Their kernels are in `small` (0) or in `large` (-1)."""
    first: int
    """Where the first of them is in the stack."""
    count: int
    separable: int = 0
    """How many of them, from the first, have a second stage."""
    second: int = 0
    """Where the kernels of the second stages are in the stack."""
    pointwise: int = 0
    """Where the pointwise convolutions before the second stages are in `pointwise`."""
    dilated: bool = False
    """Dilation 2; with stride 2, they are undilated on every other pixel."""


APART = (
    Kinds(stack=0, first=0, count=1, separable=1, second=1),
    Kinds(stack=-1, first=0, count=1, separable=1, second=1, pointwise=1),
    Kinds(stack=0, first=2, count=1, dilated=True),
    Kinds(stack=-1, first=2, count=1, dilated=True),
)
"""Each operation with kernels of its own size."""
JOINED = (Kinds(stack=-1, first=0, count=3, separable=2, second=4), Kinds(stack=-1, first=3, count=1, dilated=True))
"""As few calls as possible."""


class Panel(NamedTuple):
    """Blocks of channels that lie side by side: some targets of a row (kind, state), or all targets of several rows."""

    first: int
    last: int
    """Rows from `first` to before `last`."""
    start: int
    stop: int
    """Targets from `start` to before `stop`."""

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return (self.last - self.first) * (self.stop - self.start)

    def up_to(self, row: int) -> "Panel":
        """The part before a row."""
        return self._replace(last=max(self.first, min(self.last, row)))


@dataclass(frozen=True)
class Layout:
    """The blocks of S states for F targets, c channels each."""

    states: int
    """S."""
    targets: int
    """F."""
    channels: int
    """c."""

    def panels(self, kinds: Kinds, pixels: int | None) -> list[Panel]:
        """The panels of some kinds, on a CPU for images of this number of pixels; a single one if it is None."""
        count = kinds.count * self.states
        if pixels is None:
            return [Panel(0, count, 0, self.targets)]
        blocks = max(1, max(PANEL_COLUMNS, PANEL_ELEMENTS // pixels) // self.channels)
        if blocks >= self.states * self.targets:
            step = blocks // (self.states * self.targets) * self.states
            return [Panel(first, min(first + step, count), 0, self.targets) for first in range(0, count, step)]
        return [
            Panel(row, row + 1, start, min(start + blocks, self.targets))
            for row in range(count)
            for start in range(0, self.targets, blocks)
        ]

    def of(self, stack: Tensor, start: int, panel: Panel) -> Tensor:
        """The blocks of a panel (blocks, ...), a view of a stack (kinds E, ...), of kinds from `start` on."""
        first = (start * self.states + panel.first) * self.targets + panel.start
        return stack[first : first + panel.blocks]

    def sources(self, panel: Panel) -> tuple[int, int]:
        """The states whose copies a panel holds: first, and one after the last."""
        if panel.last - panel.first > 1:
            return 0, self.states
        state = panel.first % self.states
        return state, state + 1

    def blocks(self, panel: Panel) -> tuple[int, int, int]:
        """How a panel's blocks are ordered: kinds, states, targets."""
        first, last = self.sources(panel)
        return (panel.last - panel.first) // (last - first), last - first, panel.stop - panel.start

    def _columns(self, matrix: Tensor, panel: Panel) -> Tensor:
        """The columns of a matrix (M, S c) that belong to the states of a panel."""
        first, last = self.sources(panel)
        return matrix[:, first * self.channels : last * self.channels]

    def copy(self, x: Tensor, panel: Panel) -> Tensor:
        """States (N, S c, H, W) to the input of a panel (N, blocks c, H, W): each once for each of its blocks."""
        kinds, states, targets = self.blocks(panel)
        columns = self._columns(rows(x), panel)
        if panel.blocks == states:
            return image(columns.contiguous(), x.shape)
        if not x.is_cpu:
            copies = columns.reshape(-1, 1, states, 1, self.channels).expand(-1, kinds, -1, targets, -1)
            return image(copies.reshape(len(columns), -1), x.shape)
        if self.channels <= PRODUCT_CHANNELS:
            once = columns @ _repetition(1, states, targets, self.channels, like=x)
        else:
            once = torch.cat([state for state in columns.split(self.channels, 1) for _ in range(targets)], dim=1)
        return image(once if kinds == 1 else torch.cat([once] * kinds, dim=1), x.shape)

    def add_copies(self, out: Tensor | None, gradient: Tensor, panel: Panel) -> Tensor:
        """Add the gradient of `copy` (M, blocks c) to that of its input (M, S c), in place if that is given."""
        kinds, states, targets = self.blocks(panel)
        if out is None and states < self.states:
            out = gradient.new_zeros(len(gradient), self.states * self.channels)
        columns = None if out is None else self._columns(out, panel)
        if panel.blocks > states and gradient.is_cpu and states * self.channels <= GEMM_CHANNELS:
            repetition = _repetition(kinds, states, targets, self.channels, like=gradient).t()
            if columns is None:
                return gradient @ repetition
            columns.addmm_(gradient, repetition)
        else:
            if panel.blocks > states:
                gradient = gradient.view(-1, kinds, states, targets, self.channels).sum((1, 3)).flatten(1)
            if columns is None:
                return gradient
            columns.add_(gradient)
        assert out is not None
        return out


@cache
def _repeated_eye(
    kinds: int, states: int, targets: int, channels: int, *, dtype: torch.dtype, device: torch.device
) -> Tensor:
    eye = torch.eye(states * channels, dtype=dtype, device=device).view(-1, 1, states, 1, channels)
    return eye.expand(-1, kinds, -1, targets, -1).reshape(states * channels, -1)


def _repetition(kinds: int, states: int, targets: int, channels: int, *, like: Tensor) -> Tensor:
    """Zeros and ones (S c, kinds S F c) that repeat channels."""
    return _repeated_eye(kinds, states, targets, channels, dtype=like.dtype, device=like.device)


def rows(x: Tensor) -> Tensor:
    """Images (N, C, H, W) as a matrix (N H W, C): a view if they are channels_last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def image(matrix: Tensor, shape: torch.Size) -> Tensor:
    """A matrix (N H W, C) as channels_last images (N, C, H, W), with N, H and W of `shape`."""
    return matrix.reshape(shape[0], shape[2], shape[3], -1).permute(0, 3, 1, 2)
