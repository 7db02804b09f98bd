"""A fan: the mixed operations on all edges that leave a group of states, computed together.

Shapes: N images, S states in the group, F targets, E = S F edges ordered by (state, target), c sampled channels a
state; M = N h w pixels at the output.  Matrices (M, ...) are views of channels_last images.

ReLU, both pools and their batch norms are computed once per state instead of once per edge; depthwise convolutions of
all edges in two calls, as separable 3x3, separable 5x5 and dilated 3x3 kernels are all 5x5 kernels with zeros.  The
pointwise convolutions, batch norms and weights of all operations are folded (see `pcdarts.folding`).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from pcdarts.depthwise import depthwise, depthwise_backward
from pcdarts.folding import Fold, Running, apply_folds, column_sums, fold, fold_backward

GEMM_CHANNELS = 32
"""Up to so many channels, repeating them is faster on a CPU as a product with a matrix of zeros and ones."""

max_pool = torch.ops.aten.max_pool2d_with_indices
max_pool_backward = torch.ops.aten.max_pool2d_with_indices_backward
avg_pool = torch.ops.aten.avg_pool2d
avg_pool_backward = torch.ops.aten.avg_pool2d_backward
relu_backward = torch.ops.aten.threshold_backward

Norms = dict[str, Running]
"""Mean and variance (kinds, E, channels) of the batch norms, by "pool", "reduce", "middle", "last" and "side"."""


class FanWeights(NamedTuple):
    """Weights of the edges of a fan, or of all edges of a cell; also their gradients."""

    mixture: Tensor
    """Weights of the operations in the order of PRIMITIVES (8, E)."""
    first: Tensor
    """Kernels (3, E, c, 5, 5) of sep_conv_3x3 and sep_conv_5x5 (first stage) and of dil_conv_3x3."""
    first_dilated: Tensor
    """Kernels (1, E, c, 5, 5) of dil_conv_5x5."""
    middle: Tensor
    """Pointwise convolutions (2, E, c, c) between the stages of sep_conv_3x3 and sep_conv_5x5."""
    second: Tensor
    """Kernels (2, E, c, 5, 5) of the second stages of sep_conv_3x3 and sep_conv_5x5."""
    last: Tensor
    """Last pointwise convolutions (4, E, c, c): sep_conv_3x3, sep_conv_5x5, dil_conv_3x3, dil_conv_5x5."""
    reduce: Tensor | None
    """Stride 2 only: the two 1x1 convolutions of skip_connect as one matrix an edge (1, E, c, 2 c)."""


class Fan:
    """Mixed operations from S states to F nodes: forward, then backward with the same input.

    Between the two it keeps weights and statistics, but no images: those are computed again.
    """

    def __init__(self, states: int, targets: int, stride: int, weights: FanWeights, running: Norms | None) -> None:
        self.states, self.targets, self.stride = states, targets, stride
        self.weights, self.running = weights, running
        self.channels = weights.middle.shape[-1]
        self.folds: dict[str, Fold] = {}
        self.biases: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Sampled channels (N, S c, H, W) to the weighed sums for all targets (N, F c, h, w)."""
        features = self._features(x, x.relu())
        folds = [self._fold_last(name, features) for name in features.inputs]
        return image(apply_folds(folds, list(features.inputs.values())), features.shape)

    def statistics(self) -> Norms:
        """Mean and biased variance of the batch, for the running statistics; after `forward` in training mode."""
        edges, norms = self.states * self.targets, {}
        for name, folded in self.folds.items():
            if name != "skip":
                kinds = folded.center[..., 0].numel() // edges
                mean, variance = (t.reshape(kinds, edges, -1) for t in (folded.center, folded.variance))
                norms[name] = (mean, variance)
        first, dilated, second = (self.biases[name] for name in ("first", "first_dilated", "second"))
        for name, shift in ("middle", first[:2]), ("last", torch.cat([second, first[2:], dilated])):
            mean, variance = norms[name]
            norms[name] = (mean - (getattr(self.weights, name) @ shift[..., None])[..., 0], variance)
        return norms

    def backward(self, x: Tensor, gradient: Tensor) -> tuple[Tensor, FanWeights]:
        """Gradients in x and in the weights, from the gradient (N, F c, h, w) of the output."""
        positive = x.relu()
        features = self._features(x, positive)
        columns = features.separable.shape[1]
        first = gradient.new_empty(features.separable.shape[0], 3 * columns // 2)
        back: dict[str, list[Tensor]] = {}
        pointwise: dict[str, Tensor] = {}
        weight: dict[str, Tensor] = {}
        for name, inputs in features.inputs.items():
            outs = [None, first[:, columns:], None] if name == "last" else None
            back[name], pointwise[name], weight[name] = fold_backward(self.folds[name], inputs, rows(gradient), outs)

        second, _, dilated = back["last"]
        hidden, second_gradient = self._depthwise_backward(second, features.hidden, "second", features.shape)
        hidden = relu_backward(hidden, features.hidden, 0)
        _, middle_gradient, _ = fold_backward(
            self.folds["middle"], [features.separable], rows(hidden), [first[:, :columns]]
        )
        through, first_gradient = self._depthwise_backward(first, features.repeated, "first", features.shape)
        through_dilated, dilated_gradient = self._depthwise_backward(
            dilated, features.repeated_once, "first_dilated", features.shape
        )
        x_gradient = self._unrepeat(through, 3)
        x_gradient[:, :, :: self.stride, :: self.stride] += self._unrepeat(through_dilated, 1)
        if "reduce" in back:
            add_pixel_pairs(x_gradient, back["reduce"][0], self.states)
        x_gradient = relu_backward(x_gradient, positive, 0)
        stride = [self.stride] * 2
        maxima, averages = (image(part, features.shape) for part in back["pool"])
        x_gradient += max_pool_backward(maxima, x, [3, 3], stride, [1, 1], [1, 1], False, features.indices)
        x_gradient += avg_pool_backward(averages, x, [3, 3], stride, [1, 1], False, False, None)
        if "skip" in back:
            x_gradient += image(back["skip"][0], features.shape)

        edges = self.states * self.targets
        skip = weight["skip" if "skip" in weight else "reduce"]
        operations = [torch.zeros_like(weight["pool"][:1]).expand(self.states, -1, -1), weight["pool"], skip, weight["last"]]
        return x_gradient, FanWeights(
            mixture=torch.cat(operations).reshape(-1, edges),
            first=first_gradient,
            first_dilated=dilated_gradient,
            middle=middle_gradient.view_as(self.weights.middle),
            second=second_gradient,
            last=pointwise["last"].reshape(self.weights.last.shape),
            reduce=None if self.weights.reduce is None else pointwise["reduce"].reshape(self.weights.reduce.shape),
        )

    def _features(self, x: Tensor, positive: Tensor) -> "_Features":
        repeated = self._repeat(positive, 3)
        repeated_once = self._repeat(positive[:, :, :: self.stride, :: self.stride], 1)
        first = self._depthwise(repeated, "first", positive)
        dilated = self._depthwise(repeated_once, "first_dilated", positive)
        shape = torch.Size([x.shape[0], -1, first.shape[2], first.shape[3]])
        columns = rows(first)
        split = 2 * columns.shape[1] // 3
        separable = columns[:, :split]
        middle = self.folds.get("middle") or self._fold_middle(separable)
        hidden = image(apply_folds([middle], [[separable]]).relu_(), shape)
        second = self._depthwise(hidden, "second", hidden)
        stride = [self.stride] * 2
        maxima, indices = max_pool(x, [3, 3], stride, [1, 1])
        averages = avg_pool(x, [3, 3], stride, [1, 1], False, False)
        inputs = {
            "pool": [rows(maxima), rows(averages)],
            "last": [rows(second), columns[:, split:], rows(dilated)],
        }
        if self.stride == 1:
            inputs["skip"] = [rows(x)]
        else:
            inputs["reduce"] = [pixel_pairs(positive, self.states)]
        return _Features(repeated, repeated_once, separable, hidden, indices, inputs, shape)

    def _depthwise(self, x: Tensor, name: str, source: Tensor) -> Tensor:
        """Convolve with the kernels of that name; in training with a bias that roughly centres the output.

        Folding subtracts means after squaring, which loses digits where a mean is large; no result depends on the bias.
        """
        kernels = getattr(self.weights, name)
        if name not in self.biases and self.running is None:
            mean = column_sums(rows(source)) / (source.shape[0] * source.shape[2] * source.shape[3])
            if name != "second":
                mean = mean.view(self.states, 1, -1).expand(-1, self.targets, -1)
            self.biases[name] = -mean.reshape(-1, *kernels.shape[1:3]) * kernels.sum((3, 4))
        bias = self.biases[name].flatten() if name in self.biases else None
        return depthwise(x, kernels.flatten(0, 2), bias, *self._steps(name))

    def _depthwise_backward(self, gradient: Tensor, x: Tensor, name: str, shape: torch.Size) -> tuple[Tensor, Tensor]:
        kernels = getattr(self.weights, name)
        x_gradient, kernel_gradient = depthwise_backward(
            image(gradient, shape), x, kernels.flatten(0, 2), *self._steps(name)
        )
        return x_gradient, kernel_gradient.view_as(kernels)

    def _steps(self, name: str) -> tuple[int, int]:
        """Stride and dilation: one of stride 2 and dilation 2 is an undilated one of every other pixel."""
        return self.stride if name == "first" else 1, 2 if name == "first_dilated" and self.stride == 1 else 1

    def _fold_middle(self, separable: Tensor) -> Fold:
        pointwise = self.weights.middle.flatten(0, 1)[None]
        running = self._running("middle", pointwise)
        self.folds["middle"] = fold([separable], pointwise, pointwise.new_ones(1, 1, 1), running)
        return self.folds["middle"]

    def _fold_last(self, name: str, features: "_Features") -> Fold:
        operations = {"pool": slice(1, 3), "skip": slice(3, 4), "reduce": slice(3, 4), "last": slice(4, 8)}[name]
        weight = self.weights.mixture[operations].reshape(-1, self.targets, 1)
        c = self.channels
        if name in ("pool", "skip"):
            eye = torch.eye(c, dtype=weight.dtype, device=weight.device)
            pointwise = eye.expand(*weight.shape[:2], c, c)
        else:
            pointwise = getattr(self.weights, name).reshape(*weight.shape[:2], c, -1)
        if name == "skip":
            one = weight.new_ones(1, 1, c)
            folded = Fold(pointwise, weight, one, torch.zeros_like(one), one, shared=True)
        else:
            running = self._running(name, pointwise)
            folded = fold(features.inputs[name], pointwise, weight, running, shared=name != "last")
        self.folds[name] = folded
        return folded

    def _running(self, name: str, pointwise: Tensor) -> Running | None:
        if self.running is None:
            return None
        mean, variance = (t.reshape(pointwise.shape[:3]) for t in self.running[name])
        return mean, variance

    def _repeat(self, x: Tensor, kinds: int) -> Tensor:
        """(N, S c, H, W) to (N, kinds S F c, H, W): every state once for each of its edges and kinds of operation."""
        n, channels, h, w = x.shape
        if channels <= GEMM_CHANNELS:
            return image(rows(x) @ self._repetition(x, kinds), x.shape)
        copies = rows(x).view(-1, 1, self.states, 1, self.channels).expand(-1, kinds, -1, self.targets, -1)
        return image(copies.reshape(n * h * w, -1), x.shape)

    def _unrepeat(self, gradient: Tensor, kinds: int) -> Tensor:
        """Sum a gradient (N, kinds S F c, H, W) over edges and kinds: the reverse of `_repeat`."""
        if self.states * self.channels <= GEMM_CHANNELS:
            return image(rows(gradient) @ self._repetition(gradient, kinds).t(), gradient.shape)
        copies = rows(gradient).view(-1, kinds, self.states, self.targets, self.channels)
        return image(copies.sum((1, 3)).flatten(1), gradient.shape)

    def _repetition(self, like: Tensor, kinds: int) -> Tensor:
        """Zeros and ones (S c, kinds S F c)."""
        s, f, c = self.states, self.targets, self.channels
        eye = torch.eye(s * c, dtype=like.dtype, device=like.device)
        return eye.view(-1, 1, s, 1, c).expand(-1, kinds, -1, f, -1).reshape(s * c, -1)


class _Features(NamedTuple):
    repeated: Tensor  # ReLU of the input, once per kernel of `first` (N, 3 E c, H, W)
    repeated_once: Tensor  # and of `first_dilated` (N, E c, H, W)
    separable: Tensor  # outputs of `first` that `middle` reads (M, 2 E c)
    hidden: Tensor  # input of `second` (N, 2 E c, h, w)
    indices: Tensor  # where the maxima were
    inputs: dict[str, list[Tensor]]  # by fold
    shape: torch.Size  # (N, -1, h, w) of the output


def rows(x: Tensor) -> Tensor:
    """Images (N, C, H, W) as a matrix (N H W, C): a view where they are channels_last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def image(matrix: Tensor, shape: torch.Size) -> Tensor:
    """A matrix (N H W, C) as channels_last images (N, C, H, W), with N, H and W of `shape`."""
    return matrix.reshape(shape[0], shape[2], shape[3], -1).permute(0, 3, 1, 2)


def pixel_pairs(x: Tensor, groups: int) -> Tensor:
    """Every other pixel, and its lower right neighbour: (N, S C, H, W) to (N ceil(H / 2) ceil(W / 2), S 2 C)."""
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
