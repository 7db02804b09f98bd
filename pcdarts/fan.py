"""A fan: the mixed operations on all edges that leave a group of states, computed together.

Shapes: N images, S states in the group, F targets, E = S F edges ordered by (state, target), c sampled channels a
state; M = N h w pixels at the output.  Matrices "(M, ...)" are pixels by channels: a view of a channels_last image.

ReLU, both pools and their batch norms are computed once per state instead of once per edge; depthwise convolutions of
all edges in two calls, as separable 3x3, separable 5x5 and dilated 3x3 kernels are all 5x5 kernels with zeros.  The
pointwise convolutions, batch norms and weights of all operations are folded (see `pcdarts.folding`).  The depthwise
outputs are computed once more in the backward pass instead of being kept.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from pcdarts.depthwise import depthwise, depthwise_backward
from pcdarts.folding import EPSILON, Fold, Running, apply_folds, column_sums, fold, fold_backward

GEMM_CHANNELS = 32
"""Up to so many channels, repeating them is faster on a CPU as a product with a matrix of zeros and ones."""


class FanWeights(NamedTuple):
    """Weights of the edges of a fan, or of a whole cell with E = 14; also used for their gradients."""

    first: Tensor
    """Kernels (3, E, c, 5, 5) of sep_conv_3x3, sep_conv_5x5 (first stage) and dil_conv_3x3."""
    first_dilated: Tensor
    """Kernels (1, E, c, 5, 5) of dil_conv_5x5."""
    middle: Tensor
    """Pointwise convolutions (2, E, c, c) between the stages of sep_conv_3x3 and sep_conv_5x5."""
    second: Tensor
    """Kernels (2, E, c, 5, 5) of the second stages of sep_conv_3x3 and sep_conv_5x5."""
    last: Tensor
    """Last pointwise convolutions (4, E, c, c): sep_conv_3x3, sep_conv_5x5, dil_conv_3x3, dil_conv_5x5."""
    mixture: Tensor
    """Weights of the operations, in the order of PRIMITIVES (8, E)."""
    reduce: Tensor | None
    """Stride 2: the two 1x1 convolutions of skip_connect as one matrix a state and edge (1, E, c, 2 c)."""


Norms = dict[str, Running]
"""Mean and variance (kinds, E, channels) of the batch norms, by "pool", "reduce", "middle", "last" and "side"."""


@dataclass
class Features:
    """The inputs of the folds, and what is needed on the way back to the fan's input."""

    repeated: Tensor
    """ReLU of the input, once per depthwise kernel (N, 3 E c, H, W)."""
    separable: Tensor
    """First depthwise outputs of the separable convolutions (M, 2 E c)."""
    dilated: tuple[Tensor, Tensor]
    """Depthwise outputs of the dilated convolutions (M, E c) each."""
    pools: tuple[Tensor, Tensor]
    """Maximum and average (M, S c)."""
    indices: Tensor
    """Where the maxima were."""


@dataclass
class Fan:
    """The mixed operations from `states` states to `targets` nodes, with stride 1 or 2, and what backward needs."""

    states: int
    targets: int
    stride: int
    channels: int

    def forward(self, x: Tensor, weights: FanWeights, norms: Norms | None) -> tuple[Tensor, Norms]:
        """Sampled channels (N, S c, H, W) to the weighed sums (N, F c, h, w) for all targets, and batch statistics.

        `norms` holds the running statistics in evaluation mode and is None in training.
        """
        self.x, self.weights = x, weights
        positive = x.relu()
        mean = None if norms else column_sums(_rows(positive)) / (x.shape[0] * x.shape[2] * x.shape[3])
        self.first_bias = self._centering(mean, weights.first)
        self.dilated_bias = self._centering(mean, weights.first_dilated)
        features = self._features(positive)

        one = weights.mixture.new_ones(1, 1, 1)
        running = {key: self._grouped(norms, key) for key in norms} if norms else {}
        self.middle = fold([features.separable], self._flat(weights.middle), one, running.get("middle"))
        hidden = self._hidden(features)
        hidden_mean = None if norms else column_sums(_rows(hidden)) / (hidden.numel() // hidden.shape[1])
        self.second_bias = self._second_centering(hidden_mean, weights.second)
        return hidden, {}
