"""A fan: the mixed operations on all edges that leave a group of states, computed together.

Shapes: N images, S states in the group, F targets, E = S F edges ordered by (state, target), c sampled channels a
state; M = N h w pixels at the output.  Matrices (M, ...) are views of channels_last images.

ReLU, both pools and their batch norms are computed once per state instead of once per edge; depthwise convolutions of
all edges in two calls, as separable 3x3, separable 5x5 and dilated 3x3 kernels are all 5x5 kernels with zeros.  The
pointwise convolutions, batch norms and weights of all operations are folded (see `pcdarts.fast.folding`).
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from pcdarts.fast.depthwise import average, average_backward, depthwise, depthwise_backward
from pcdarts.fast.folding import (
    Features,
    Fold,
    Running,
    apply_fold,
    column_means,
    eye_matrix,
    fold,
    fold_backward,
    moments,
)

PRODUCT_CHANNELS = 8
"""Largest number of channels of a state that a CPU repeats faster as a product with zeros and ones than by joining."""
GEMM_CHANNELS = 32
"""Largest number of channels whose copies a CPU sums faster as a product with a matrix of zeros and ones."""

max_pool = torch.ops.aten.max_pool2d_with_indices
max_pool_backward = torch.ops.aten.max_pool2d_with_indices_backward
relu_backward = torch.ops.aten.threshold_backward

Norms = dict[str, Running]
"""Mean and variance (kinds, E, channels) of the batch norms, by "inputs", "reduce", "middle", "last" (with the pools
first) and "side"."""


class FanWeights(NamedTuple):
    """Weights of the edges of a fan, or of all edges of a cell; also their gradients."""

    mixture: Tensor
    """Weights of the operations (7, E): skip_connect, max_pool_3x3, avg_pool_3x3, then as the last of `pointwise`."""
    kernels: Tensor
    """Depthwise (6, E, c, 5, 5): sep_conv_3x3, sep_conv_5x5, dil_conv_3x3 (with zeros between), dil_conv_5x5 (without);
    then the second stages of both sep_conv."""
    pointwise: Tensor
    """(6, E, c, c): first stages of sep_conv_3x3 and sep_conv_5x5; then the last ones of these, dil_conv_3x3 and
    dil_conv_5x5."""
    reduce: Tensor | None
    """Stride 2 only: the two 1x1 convolutions of skip_connect as one matrix an edge (1, E, c, 2 c)."""


class Fan:
    """Mixed operations from S states to F nodes: forward, then backward with the same input.

    Between the two it keeps weights and statistics, but no images: these are computed again.
    """

    def __init__(self, states: int, targets: int, stride: int, weights: FanWeights, running: Norms | None) -> None:
        self.states, self.targets, self.stride = states, targets, stride
        self.weights, self.running = weights, running
        self.channels = weights.pointwise.shape[-1]
        self.kernels = weights.kernels.contiguous()
        self.sums = -self.kernels.sum((3, 4)) if running is None else None
        self.folds: dict[str, Fold] = {}
        self.biases: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Sampled channels (N, S c, H, W) to the weighted sums for all targets (N, F c, h, w)."""
        features = self._features(x, x.relu())
        out = None
        for name, inputs in features.inputs.items():
            self.folds[name] = self._fold(name, inputs)
            out = apply_fold(self.folds[name], inputs, out)
        assert out is not None
        return image(out, features.shape)

    def statistics(self) -> Norms:
        """Mean and biased variance of the batch (kinds, E, c), after `forward`; means as `biases` shift them."""
        shape = (-1, self.states * self.targets, self.channels)
        norms = {name: (f.center.view(shape), f.variance.view(shape)) for name, f in self.folds.items()}
        mean, variance = norms["last"]
        start = 1 if self.stride == 1 else 0
        norms["last"] = mean[start:], variance[start:]
        return norms

    def backward(
        self, x: Tensor, gradient: Tensor, kernels_wanted: bool = True
    ) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        """Gradients in x and in `FanWeights`, from the gradient (N, F c, h, w) of the output.

        The gradient in the depthwise kernels, which costs most, is computed only if wanted.
        """
        positive = x.relu()
        features = self._features(x, positive)
        shape, columns, edges = features.shape, features.separable.matrix.shape[1], self.states * self.targets
        first = gradient.new_empty(len(features.separable.matrix), 3 * columns // 2)
        out_gradient = rows(gradient)
        means = column_means(out_gradient)
        back, pointwise, mixture = fold_backward(
            self.folds["last"], features.inputs["last"], out_gradient, means, [None, None, first[:, columns:], None]
        )
        pool, second, _, dilated = back
        self.flipped = self.kernels.flip(3, 4)
        hidden, second_gradient = self._depthwise_backward(second, features.hidden, "second", shape, kernels_wanted)
        separable = rows(relu_backward(hidden, features.hidden, 0))
        _, middle_gradient, _ = fold_backward(
            self.folds["middle"], [features.separable], separable, column_means(separable), [first[:, :columns]]
        )
        through, first_gradient = self._depthwise_backward(first, features.repeated, "first", shape, kernels_wanted)
        dilated, dilated_gradient = self._depthwise_backward(
            dilated, features.repeated_once, "dilated", shape, kernels_wanted
        )
        x_gradient = self._unrepeat(through, 3)
        x_gradient[:, :, :: self.stride, :: self.stride].add_(self._unrepeat(dilated, 1))
        mixtures, reduce_gradient = [mixture], None
        if self.weights.reduce is not None:
            (pairs,), reduce_gradient, mixture = fold_backward(
                self.folds["reduce"], features.inputs["reduce"], out_gradient, means
            )
            add_pixel_pairs(x_gradient, pairs, self.states)
            reduce_gradient = reduce_gradient.view_as(self.weights.reduce)
            mixtures.insert(0, mixture)
        x_gradient = relu_backward(x_gradient, positive, 0)
        *plain, maxima, averages = (image(part, shape) for part in pool.split(x.shape[1], dim=1))
        stride = [self.stride] * 2
        x_gradient.add_(max_pool_backward(maxima, x, [3, 3], stride, [1, 1], [1, 1], False, features.indices))
        x_gradient.add_(average_backward(averages, x, self.stride))
        for part in plain:
            x_gradient.add_(part)
        kernels = [g for g in (first_gradient, dilated_gradient, second_gradient) if g is not None]
        return x_gradient, (
            torch.cat(mixtures).sum(1).view(-1, edges),
            torch.cat(kernels).view_as(self.kernels) if kernels else None,
            torch.cat([middle_gradient, pointwise[-4 * edges :]]).view_as(self.weights.pointwise),
            reduce_gradient,
        )

    def _features(self, x: Tensor, positive: Tensor) -> "_Inputs":
        repeated = self._repeat(positive, 3)
        repeated_once = self._repeat(positive[:, :, :: self.stride, :: self.stride], 1)
        if self.sums is not None and "first" not in self.biases:
            mean = column_means(rows(positive)).view(self.states, 1, -1).expand(-1, self.targets, -1)
            self.biases["first"] = mean.reshape(1, -1, self.channels) * self.sums[:4]
        first = self._depthwise(repeated, "first")
        dilated = self._depthwise(repeated_once, "dilated")
        shape = torch.Size([x.shape[0], -1, first.shape[2], first.shape[3]])
        columns = rows(first)
        split = 2 * columns.shape[1] // 3
        separable, dilated3 = Features(columns[:, :split]), Features(columns[:, split:])
        if "middle" not in self.folds:
            if self.running is None:
                mean, gram = moments(columns, self.channels)
                count = 2 * len(mean) // 3
                separable = separable._replace(moments=(mean[:count], gram[:count]))
                dilated3 = dilated3._replace(moments=(mean[count:], gram[count:]))
            self.folds["middle"] = self._fold("middle", [separable])
        hidden = image(apply_fold(self.folds["middle"], [separable]).relu_(), shape)
        if self.sums is not None and "second" not in self.biases:
            self.biases["second"] = column_means(rows(hidden)).view(2, -1, self.channels) * self.sums[4:]
        second = self._depthwise(hidden, "second")
        stride = [self.stride] * 2
        maxima, indices = max_pool(x, [3, 3], stride, [1, 1])
        averages = average(x, self.stride)
        plain = [rows(x)] if self.stride == 1 else []
        pool = Features(torch.cat([*plain, rows(maxima), rows(averages)], dim=1), shared=True)
        inputs = {"last": [pool, Features(rows(second)), dilated3, Features(rows(dilated))]}
        if self.stride == 2:
            inputs["reduce"] = [Features(pixel_pairs(positive, self.states), shared=True)]
        return _Inputs(repeated, repeated_once, separable, hidden, indices, inputs, shape)

    def _depthwise(self, x: Tensor, name: str) -> Tensor:
        """Convolve; in training with a bias (minus input mean times kernel sum) that roughly centers the output.

        Folding subtracts squared means, which is inaccurate if they are large; no result depends on the bias.
        """
        part, stride, dilation = self._geometry(name)
        bias = None
        if name == "second" and self.biases:
            bias = self.biases["second"].flatten()
        elif self.biases:
            bias = self.biases["first"][part].flatten()
        return depthwise(x, self.kernels[part].flatten(0, 2), bias, stride, dilation)

    def _depthwise_backward(
        self, gradient: Tensor, x: Tensor, name: str, shape: torch.Size, kernels_wanted: bool
    ) -> tuple[Tensor, Tensor | None]:
        part, stride, dilation = self._geometry(name)
        kernels, flipped = (t[part].flatten(0, 2) for t in (self.kernels, self.flipped))
        return depthwise_backward(
            image(gradient, shape),
            x,
            kernels,
            flipped,
            stride=stride,
            dilation=dilation,
            kernels_wanted=kernels_wanted,
        )

    def _geometry(self, name: str) -> tuple[slice, int, int]:
        """Kernels, stride and dilation; stride 2 with dilation 2 is undilated on every other pixel."""
        if name == "dilated":
            return slice(3, 4), 1, 2 if self.stride == 1 else 1
        return (slice(0, 3), self.stride, 1) if name == "first" else (slice(4, 6), 1, 1)

    def _fold(self, name: str, inputs: list[Features]) -> Fold:
        """The fold of that name.

        "last" holds all operations except skip_connect of stride 2; that of stride 1 comes first, unnormalized.
        """
        mixture, targets, plain = self.weights.mixture, self.targets, 0
        weight: Tensor | None
        if name == "middle":
            pointwise = self.weights.pointwise[:2].reshape(-1, self.channels, self.channels)
            weight, targets = None, len(pointwise)
        elif name == "reduce":
            assert self.weights.reduce is not None
            pointwise, weight = self.weights.reduce[0], mixture[0].reshape(-1, 1)
        else:
            edges = self.states * self.targets
            start, plain = (0, edges) if self.stride == 1 else (1, 0)
            eye = eye_matrix(self.channels, mixture.dtype, mixture.device)
            pointwise = torch.cat([eye.expand(3 - start, edges, -1, -1), self.weights.pointwise[2:]]).flatten(0, 1)
            weight = mixture[start:].reshape(-1, 1)
        running = None
        if self.running is not None:
            mean, variance = (t.reshape(-1, self.channels) for t in self.running[name])
            if plain:
                mean, variance = (functional.pad(t, (0, 0, plain, 0)) for t in (mean, variance))
            running = (mean, variance)
        return fold(inputs, pointwise, weight, targets, running=running, plain=plain)

    def _repeat(self, x: Tensor, kinds: int) -> Tensor:
        """(N, S c, H, W) to (N, kinds S F c, H, W): every state once for each of its edges and kinds of operation."""
        if not x.is_cpu:
            copies = rows(x).view(-1, 1, self.states, 1, self.channels).expand(-1, kinds, -1, self.targets, -1)
            return image(copies.reshape(copies.shape[0], -1), x.shape)
        if self.channels <= PRODUCT_CHANNELS:
            once = rows(x) @ self._repetition(x, 1)
        else:
            once = torch.cat([state for state in rows(x).split(self.channels, 1) for _ in range(self.targets)], dim=1)
        return image(torch.cat([once] * kinds, dim=1), x.shape)

    def _unrepeat(self, gradient: Tensor, kinds: int) -> Tensor:
        """Sum a gradient (N, kinds S F c, H, W) over edges and kinds: the reverse of `_repeat`."""
        if gradient.is_cpu and self.states * self.channels <= GEMM_CHANNELS:
            return image(rows(gradient) @ self._repetition(gradient, kinds).t(), gradient.shape)
        copies = rows(gradient).view(-1, kinds, self.states, self.targets, self.channels)
        return image(copies.sum((1, 3)).flatten(1), gradient.shape)

    def _repetition(self, like: Tensor, kinds: int) -> Tensor:
        return _repetition(kinds, self.states, self.targets, self.channels, dtype=like.dtype, device=like.device)


@cache
def _repetition(
    kinds: int, states: int, targets: int, channels: int, *, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Zeros and ones (S c, kinds S F c) that repeat channels."""
    eye = torch.eye(states * channels, dtype=dtype, device=device).view(-1, 1, states, 1, channels)
    return eye.expand(-1, kinds, -1, targets, -1).reshape(states * channels, -1)


class _Inputs(NamedTuple):
    repeated: Tensor  # ReLU of the input, once per kernel of `first` (N, 3 E c, H, W)
    repeated_once: Tensor  # and of `first_dilated` (N, E c, H, W)
    separable: Features  # outputs of `first` that `middle` reads (M, 2 E c)
    hidden: Tensor  # input of `second` (N, 2 E c, h, w)
    indices: Tensor  # of the maxima
    inputs: dict[str, list[Features]]  # by fold
    shape: torch.Size  # (N, -1, h, w) of the output


def rows(x: Tensor) -> Tensor:
    """Images (N, C, H, W) as a matrix (N H W, C): a view if they are channels_last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def image(matrix: Tensor, shape: torch.Size) -> Tensor:
    """A matrix (N H W, C) as channels_last images (N, C, H, W), with N, H and W of `shape`."""
    return matrix.reshape(shape[0], shape[2], shape[3], -1).permute(0, 3, 1, 2)


def pixel_pairs(x: Tensor, groups: int) -> Tensor:
    """Every other pixel, and its lower right neighbor: (N, S C, H, W) to (N ceil(H / 2) ceil(W / 2), S 2 C)."""
    if x.shape[2] % 2 or x.shape[3] % 2:
        x = functional.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
    pair = [rows(x[:, :, i::2, i::2]).unflatten(1, (groups, -1)) for i in (0, 1)]
    return torch.cat(pair, dim=2).flatten(1)


def add_pixel_pairs(x: Tensor, pairs: Tensor, groups: int) -> None:
    """Add the gradient of `pixel_pairs` to that of its input, in place."""
    n, _, h, w = x.shape
    for i, part in enumerate(pairs.unflatten(1, (groups, 2, -1)).unbind(2)):
        target = x[:, :, i::2, i::2]
        source = part.reshape(n, -(-h // 2), -(-w // 2), -1).permute(0, 3, 1, 2)
        target += source[:, :, : target.shape[2], : target.shape[3]]
