"""A fan: the mixed operations on all edges that leave a group of states, computed together.

Shapes: N images, S states in the group, F targets, E = S F edges ordered by (state, target), c sampled channels a
state; M = N h w pixels at the output.  Matrices (M, ...) are views of channels_last images.

ReLU, both pools and their batch norms are computed once per state instead of once per edge.  The depthwise
convolutions of all edges are computed in panels (see `pcdarts.fast.panels`).  The pointwise convolutions, batch norms
and weights of all operations are folded (see `pcdarts.fast.folding`).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from pcdarts.fast.depthwise import average, average_backward, depthwise, depthwise_backward
from pcdarts.fast.folding import Features, Fold, Running, apply_fold, eye_matrix, fold, fold_backward, moments
from pcdarts.fast.panels import APART, JOINED, Kinds, Layout, Panel, image, rows

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
    small: Tensor | None
    """On a CPU: depthwise 3x3 (3, E, c, 3, 3) of sep_conv_3x3, of its second stage, and of dil_conv_3x3."""
    large: Tensor
    """On a CPU: the same of the 5x5 operations (3, E, c, 5, 5).  If `small` is None: those of all operations as 5x5
    kernels (6, E, c, 5, 5), sep_conv_3x3, sep_conv_5x5, dil_conv_3x3 (with zeros between), dil_conv_5x5 (without), then
    the second stages of both sep_conv."""
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
        self.layout = Layout(states, targets, self.channels)
        self.kinds = JOINED if weights.small is None else APART
        self.pointwise = weights.pointwise.flatten(0, 1)
        self.stacks = [stack.flatten(0, 1) for stack in (weights.small, weights.large) if stack is not None]
        self.sums = None if running is not None else [-stack.sum((2, 3)) for stack in self.stacks]
        self.folds: dict[str, Fold] = {}
        self.middle: dict[tuple[Kinds, Panel], Fold] = {}
        self.first_biases: list[Tensor] = []
        self.second_biases: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """Sampled channels (N, S c, H, W) to the weighted sums for all targets (N, F c, h, w)."""
        inputs = self._inputs(x, x.relu())
        out = None
        for name, features in inputs.features.items():
            self.folds[name] = self._fold(name, features)
            out = apply_fold(self.folds[name], features, out)
        assert out is not None
        return image(out, inputs.shape)

    def statistics(self) -> Norms:
        """Mean and biased variance of the batch (kinds, E, c), after `forward`; means as `biases` shift them."""
        shape = (-1, self.states * self.targets, self.channels)
        norms = {name: (f.center.view(shape), f.variance.view(shape)) for name, f in self.folds.items()}
        mean, variance = norms["last"]
        start = 1 if self.stride == 1 else 0
        norms["last"] = mean[start:], variance[start:]
        middle = self.middle.values()
        centers, variances = torch.cat([f.center for f in middle]), torch.cat([f.variance for f in middle])
        norms["middle"] = centers.view(shape), variances.view(shape)
        return norms

    @property
    def biases(self) -> Running:
        """What centers depthwise convolutions in training: of first stages (4, E, c), and of second ones (2, E, c)."""
        edges = self.states * self.targets
        first = [self.first_biases[k.stack][k.first * edges :][: k.count * edges] for k in self.kinds]
        second = [self.second_biases[k.stack][k.second * edges :][: k.separable * edges] for k in self.kinds]
        return torch.cat(first).unflatten(0, (-1, edges)), torch.cat(second).unflatten(0, (-1, edges))

    def backward(
        self, x: Tensor, gradient: Tensor, kernels_wanted: bool = True
    ) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        """Gradients in x and in `FanWeights`, from the gradient (N, F c, h, w) of the output.

        The gradient in the depthwise kernels, which costs most, is computed only if wanted.
        """
        positive = x.relu()
        inputs = self._inputs(x, positive)
        out_gradient, edges = rows(gradient), self.states * self.targets
        means = out_gradient.mean(0)
        back, last, mixture = fold_backward(self.folds["last"], inputs.features["last"], out_gradient, means)
        stages = sum(chain.second is not None for chain in inputs.chains)
        pool, second, direct = back[0], iter(back[1 : 1 + stages]), iter(back[1 + stages :])
        weights = self._new_gradients(kernels_wanted)
        weights.pointwise[2 * edges :] = last[-4 * edges :]
        through: dict[bool, Tensor] = {}  # gradient in all pixels, and in every other one
        for chain in inputs.chains:
            parts = []
            if chain.second is not None:
                parts.append(self._middle_backward(chain, next(second), weights))
            if chain.direct is not None:
                parts.append(next(direct))
            first = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
            one = self._depthwise_backward(first, chain.repeated, self._stage(chain.kinds, chain.panel), weights)
            skips = chain.kinds.dilated and self.stride == 2
            through[skips] = self.layout.add_copies(through.get(skips), rows(one), chain.panel)
        x_gradient = image(through[False], x.shape)
        if self.stride == 2:
            x_gradient[:, :, ::2, ::2].add_(image(through[True], inputs.shape))
        mixtures, reduce = [mixture], None
        if self.weights.reduce is not None:
            (pairs,), reduce, mixture = fold_backward(
                self.folds["reduce"], inputs.features["reduce"], out_gradient, means
            )
            add_pixel_pairs(x_gradient, pairs, self.states)
            reduce = reduce.view_as(self.weights.reduce)
            mixtures.insert(0, mixture)
        x_gradient = relu_backward(x_gradient, positive, 0)
        *plain, maxima, averages = (image(part, inputs.shape) for part in pool.split(x.shape[1], dim=1))
        stride = [self.stride] * 2
        x_gradient.add_(max_pool_backward(maxima, x, [3, 3], stride, [1, 1], [1, 1], False, inputs.indices))
        x_gradient.add_(average_backward(averages, x, self.stride))
        for part in plain:
            x_gradient.add_(part)
        mixed = torch.cat(mixtures).sum(1).view(-1, edges)
        pointwise, *kernels = (stack.unflatten(0, (-1, edges)) for stack in (weights.pointwise, *weights.kernels))
        small = kernels[0] if len(kernels) == 2 else None
        large = kernels[-1] if kernels else None
        return x_gradient, (mixed, small, large, pointwise, reduce)

    def _new_gradients(self, kernels_wanted: bool) -> "_Gradients":
        return _Gradients(
            kernels=[torch.empty_like(stack) for stack in self.stacks] if kernels_wanted else [],
            flipped=[stack.flip(2, 3) for stack in self.stacks],
            pointwise=torch.empty_like(self.pointwise),
        )

    def _inputs(self, x: Tensor, positive: Tensor) -> "_Inputs":
        """What the folds read, from the states x (N, S c, H, W) and their positive part."""
        if self.sums is not None and not self.first_biases:
            mean = rows(positive).mean(0).view(self.states, 1, -1).expand(-1, self.targets, -1).flatten(0, 1)
            self.first_biases = [mean.repeat(len(sums) // len(mean), 1) * sums for sums in self.sums]
            self.second_biases = [torch.empty_like(sums) for sums in self.sums]
        chains = list(self._chains(positive))
        stride = [self.stride] * 2
        maxima, indices = max_pool(x, [3, 3], stride, [1, 1])
        plain = [rows(x)] if self.stride == 1 else []
        pool = torch.cat([*plain, rows(maxima), rows(average(x, self.stride))], dim=1)
        second = [chain.second for chain in chains if chain.second is not None]
        direct = [chain.direct for chain in chains if chain.direct is not None]
        features = {"last": [Features(pool, shared=True), *second, *direct]}
        if self.stride == 2:
            features["reduce"] = [Features(pixel_pairs(positive, self.states), shared=True)]
        return _Inputs(chains, indices, features, maxima.shape)

    def _chains(self, positive: Tensor) -> Iterator["_Chain"]:
        """The depthwise convolutions of all panels."""
        pixels = None
        if self.kinds is APART:
            pixels = positive.shape[2] * positive.shape[3]
        every_other = positive[:, :, :: self.stride, :: self.stride]
        copies: dict[tuple[int, ...], Tensor] = {}
        for kinds in self.kinds:
            for panel in self.layout.panels(kinds, pixels):
                key = (kinds.dilated, *self.layout.sources(panel), panel.blocks)  # kinds share the copies of a state
                if key not in copies:
                    copies[key] = self.layout.copy(every_other if kinds.dilated else positive, panel)
                yield self._chain(kinds, panel, copies[key])

    def _chain(self, kinds: Kinds, panel: Panel, repeated: Tensor) -> "_Chain":
        """Both stages of the depthwise convolutions of a panel, with the moments of the results in `forward`."""
        first = self._depthwise(repeated, self._stage(kinds, panel))
        columns, known = rows(first), None
        wanted = self.running is None and not self.folds
        if wanted:
            known = moments(columns, self.channels)
        both = panel.up_to(kinds.separable * self.states)
        cut = both.blocks * self.channels
        direct = None
        if both != panel:
            ends = None if known is None else (known[0][both.blocks :], known[1][both.blocks :])
            direct = Features(columns[:, cut:], moments=ends, first=panel.start)
        if cut == 0:
            return _Chain(kinds, panel, repeated, columns, direct=direct)
        separable = Features(columns[:, :cut])
        if (kinds, panel) not in self.middle:
            if known is not None:
                separable = separable._replace(moments=(known[0][: both.blocks], known[1][: both.blocks]))
            running = None
            if self.running is not None:
                mean, variance = (
                    self.layout.of(t.flatten(0, 1), kinds.pointwise, both) for t in self.running["middle"]
                )
                running = (mean, variance)
            pointwise = self.layout.of(self.pointwise, kinds.pointwise, both)
            self.middle[kinds, panel] = fold([separable], pointwise, None, both.blocks, running=running)
        stage = self._stage(kinds, both, second=True)
        hidden = image(apply_fold(self.middle[kinds, panel], [separable]).relu_(), first.shape)
        if self.sums is not None and wanted:
            mean = rows(hidden).mean(0).view(both.blocks, -1)
            torch.mul(mean, self._blocks(self.sums, stage), out=self._blocks(self.second_biases, stage))
        second = rows(self._depthwise(hidden, stage))
        ahead = Features(second, moments=moments(second, self.channels) if wanted else None, first=panel.start)
        return _Chain(kinds, panel, repeated, columns, both, separable, hidden, ahead, direct)

    def _middle_backward(self, chain: "_Chain", second: Tensor, gradients: "_Gradients") -> Tensor:
        """From the gradient of the second stage's result (M, columns) to that of the first one's."""
        assert chain.both is not None and chain.separable is not None and chain.hidden is not None
        stage = self._stage(chain.kinds, chain.both, second=True)
        hidden = self._depthwise_backward(second, chain.hidden, stage, gradients)
        separable = rows(relu_backward(hidden, chain.hidden, 0))
        (first,), pointwise, _ = fold_backward(
            self.middle[chain.kinds, chain.panel], [chain.separable], separable, separable.mean(0)
        )
        self.layout.of(gradients.pointwise, chain.kinds.pointwise, chain.both).copy_(pointwise)
        return first

    def _depthwise(self, x: Tensor, stage: "_Stage") -> Tensor:
        """Convolve; in training with a bias (minus input mean times kernel sum) that roughly centers the output.

        Folding subtracts squared means, which is inaccurate if they are large; no result depends on the bias.
        """
        bias = None
        if self.sums is not None:
            bias = self._blocks(self.second_biases if stage.second else self.first_biases, stage).flatten()
        kernels = self._blocks(self.stacks, stage).flatten(0, 1)  # (blocks c, h, h)
        return depthwise(x, kernels, bias, stage.stride, stage.dilation)

    def _depthwise_backward(self, gradient: Tensor, x: Tensor, stage: "_Stage", gradients: "_Gradients") -> Tensor:
        """Gradient in x, from that of the result (M, blocks c)."""
        shape = torch.Size([*x.shape[:2], *(-(-side // stage.stride) for side in x.shape[2:])])
        x_gradient, found = depthwise_backward(
            image(gradient, shape),
            x,
            self._blocks(self.stacks, stage).flatten(0, 1),
            self._blocks(gradients.flipped, stage).flatten(0, 1),
            stride=stage.stride,
            dilation=stage.dilation,
            kernels_wanted=bool(gradients.kernels),
        )
        if found is not None:
            mine = self._blocks(gradients.kernels, stage)
            mine.copy_(found.view_as(mine))
        return x_gradient

    def _stage(self, kinds: Kinds, panel: Panel, second: bool = False) -> "_Stage":
        start, stride, dilation = kinds.first, self.stride, 1
        if second:
            start, stride = kinds.second, 1
        elif kinds.dilated:
            stride, dilation = 1, 2 if self.stride == 1 else 1
        return _Stage(kinds.stack, start, panel, stride, dilation, second)

    def _blocks(self, stacks: Sequence[Tensor], stage: "_Stage") -> Tensor:
        """What belongs to the kernels of a stage (blocks, c, ...), a view."""
        return self.layout.of(stacks[stage.stack], stage.start, stage.panel)

    def _fold(self, name: str, inputs: list[Features]) -> Fold:
        """The fold of that name.

        "last" holds all operations except skip_connect of stride 2; that of stride 1 comes first, unnormalized.
        """
        mixture, plain = self.weights.mixture, 0
        if name == "reduce":
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
        return fold(inputs, pointwise, weight, self.targets, running=running, plain=plain)


class _Stage(NamedTuple):
    """Depthwise convolutions of a panel."""

    stack: int
    start: int  # first kind in the stack
    panel: Panel
    stride: int
    dilation: int
    second: bool


class _Chain(NamedTuple):
    """A panel's images, computed once more for the backward pass."""

    kinds: Kinds
    panel: Panel
    repeated: Tensor  # input of the first stage (N, blocks c, H, W)
    columns: Tensor  # its result (M, blocks c)
    both: Panel | None = None  # blocks that have a second stage, which come first
    separable: Features | None = None  # their columns
    hidden: Tensor | None = None  # input of the second stage (N, _, h, w)
    second: Features | None = None  # its result
    direct: Features | None = None  # columns of the other blocks


class _Gradients(NamedTuple):
    """Gradients in weights, filled panel by panel."""

    kernels: list[Tensor]  # as `Fan.stacks`; none if they are not wanted
    flipped: list[Tensor]  # the kernels, upside down
    pointwise: Tensor


class _Inputs(NamedTuple):
    chains: list[_Chain]
    indices: Tensor  # of the maxima
    features: dict[str, list[Features]]  # by fold
    shape: torch.Size  # (N, _, h, w) of the output


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
