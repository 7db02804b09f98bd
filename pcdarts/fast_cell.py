"""One autograd function for all edges of a search cell, and the hand-written backward pass.

Shapes: N images, C channels of a state, c = C / k of them sampled, H x W pixels; S states and F targets of a group;
M = N h w pixels of the output.  Nodes add up inside the cell's output (M, 4 C), which, with those of the two cells
before, is all that is kept for the backward pass; there their gradients add up in the same way, from the last node to
the first.
"""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pcdarts.fan import (
    Fan,
    FanWeights,
    Norms,
    avg_pool_backward,
    image,
    max_pool,
    max_pool_backward,
    relu_backward,
    rows,
)
from pcdarts.folding import Features, Fold, Running, apply_fold, column_means, dense, fold, fold_backward
from pcdarts.genotype import INPUTS
from pcdarts.preprocessing import Preprocessing
from pcdarts.supernet import EDGES, NODES

JOINED_ELEMENTS = 2**24
"""The edges of both inputs are computed together up to this size of a depthwise output: fewer calls against caches."""

upsample_backward = torch.ops.aten.upsample_nearest2d_backward


@dataclass
class CellPlan:
    """What a cell does apart from its tensors; its batch statistics are left here in training mode."""

    k: int
    shuffle: bool
    stride: int
    spatial_stride: int
    halve: bool
    """Whether the input from two cells before has twice the resolution of the other."""
    orders: list[Tensor] | None
    """Channels (C,) of each state, sampled ones first, where they are drawn at random."""
    running: Norms | None
    """Running statistics of all edges, and of "inputs" (2, 1, C), in evaluation mode."""
    statistics: Norms = field(default_factory=dict)
    """Batch statistics of the same."""


class Group:
    """All edges that leave the same states: a fan for the sampled channels, and a bypass for the b = C - c others."""

    def __init__(
        self, plan: CellPlan, states: list[int], edges: slice, betas: Tensor, side: Tensor | None, weights: FanWeights
    ) -> None:
        self.states = states
        self.targets = (edges.stop - edges.start) // len(states)
        self.stride = plan.stride if states[0] < INPUTS else 1
        self.spatial_stride = plan.spatial_stride
        self.sampled = weights.pointwise.shape[-1]
        self.channels = self.sampled * plan.k
        self.columns = slice((NODES - self.targets) * self.channels, None)
        mine = FanWeights(*(None if weight is None else weight[:, edges] for weight in weights))  # type: ignore[arg-type]
        if self.stride == 1:
            mine = mine._replace(reduce=None)
        running = None
        if plan.running is not None:
            running = {name: (mean[:, edges], var[:, edges]) for name, (mean, var) in plan.running.items()}
        self.running = running
        self.fan = Fan(len(states), self.targets, self.stride, mine, running)
        self.beta = betas[edges].view(len(states), self.targets, 1)
        self.side = None if side is None else side[0, edges]
        self.side_fold: Fold | None = None
        self.order = None if plan.orders is None else plan.orders[states[0]]
        self._place(plan)

    def _place(self, plan: CellPlan) -> None:
        """Matrices of zeros and ones, from mixed (F c) or bypassed (F b) channels to their places in the nodes (F C).

        `bypass` (C, C) goes from the channels of a state to those of a node, with beta from all states to all nodes.
        """
        if self.order is None:
            like = (self.beta.dtype, self.beta.device)
            places = _places(self.channels, self.sampled, plan.shuffle, self.targets, *like)
        else:
            eye = torch.eye(self.channels, dtype=self.beta.dtype, device=self.beta.device)
            places = _place(eye[self.order], eye[self.order], self.sampled, self.targets)
        self.from_mixed, self.from_bypassed, self.bypass = places
        blocks = (self.beta[..., None] * self.bypass).flatten(0, 1)
        self.bypass_matrix = dense(blocks, self.targets, shared=True)

    def forward(self, x: Tensor, out: Tensor) -> None:
        """Add what the states x (N, S C, H, W) contribute to the nodes out (M, F C), in place."""
        sampled = self._take(x, slice(self.sampled))
        if self.spatial_stride == 2:
            sampled = functional.avg_pool2d(sampled, 2, ceil_mode=True)
        mixed = self.fan.forward(sampled)
        if self.spatial_stride == 2:
            mixed = functional.interpolate(mixed, size=self._size(x), mode="nearest")
        out.addmm_(rows(mixed), self.from_mixed)
        if self.sampled == self.channels:
            return
        if self.stride == 2:
            x = functional.max_pool2d(x, 2, ceil_mode=True)
        if self.side is None:
            out.addmm_(rows(x), self.bypass_matrix)
            return
        features = [Features(rows(self._take(x, slice(self.sampled, None)).relu()), shared=True)]
        running = None
        if self.running is not None:
            mean, variance = self.running["side"]
            running = (mean[0], variance[0])
        self.side_fold = fold(features, self.side, self.beta.view(-1, 1), self.targets, running)
        out.addmm_(apply_fold(self.side_fold, features), self.from_bypassed)

    def statistics(self) -> Norms:
        """Batch mean and biased variance of all batch norms (kinds, S F, channels); after `forward`."""
        norms = self.fan.statistics()
        if self.side_fold is not None:
            norms["side"] = (self.side_fold.center[None], self.side_fold.variance[None])
        return norms

    def backward(self, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None, FanWeights]:
        """Gradients in x, beta (S F,), side (1, S F, b, b) and the fan's weights, from that of the nodes (M, F C)."""
        shape = torch.Size([x.shape[0], -1, *self._size(x)])
        mixed = image(gradient @ self.from_mixed.t(), shape)
        sampled = whole = self._take(x, slice(self.sampled))
        if self.spatial_stride == 2:
            sampled = functional.avg_pool2d(whole, 2, ceil_mode=True)
            low = [*mixed.shape[:2], *(-(-side // self.stride) for side in sampled.shape[2:])]
            mixed = upsample_backward(mixed, self._size(x), low)
        sampled_gradient, weights = self.fan.backward(sampled, mixed)
        if self.spatial_stride == 2:
            sampled_gradient = avg_pool_backward(sampled_gradient, whole, [2, 2], [2, 2], [0, 0], True, True, None)
        if self.sampled == self.channels:
            x_gradient, beta_gradient, side_gradient = torch.zeros_like(whole), torch.zeros_like(self.beta), None
        else:
            x_gradient, beta_gradient, side_gradient = self._bypass_backward(x, gradient, shape)
        self._add(x_gradient, slice(self.sampled), sampled_gradient)
        return x_gradient, beta_gradient.flatten(), side_gradient, weights

    def _bypass_backward(self, x: Tensor, gradient: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor, Tensor | None]:
        pooled, indices = x, None
        if self.stride == 2:
            pooled, indices = max_pool(x, [2, 2], [2, 2], [0, 0], [1, 1], True)
        side_gradient = None
        if self.side is None:
            x_gradient = image(gradient @ self.bypass_matrix.t(), shape)
            d = (gradient.t() @ rows(pooled)).view(self.targets, self.channels, len(self.states), self.channels)
            beta_gradient = (d * self.bypass[:, None]).sum((1, 3)).t()
        else:
            assert self.side_fold is not None
            positive = self._take(pooled, slice(self.sampled, None)).relu()
            out_gradient = gradient @ self.from_bypassed.t()
            (back,), side_gradient, beta_gradient = fold_backward(
                self.side_fold, [Features(rows(positive), shared=True)], out_gradient, column_means(out_gradient)
            )
            side_gradient = side_gradient[None]
            x_gradient = torch.zeros_like(pooled, memory_format=torch.channels_last)
            self._add(x_gradient, slice(self.sampled, None), relu_backward(image(back, shape), positive, 0))
        if indices is not None:
            x_gradient = max_pool_backward(x_gradient, x, [2, 2], [2, 2], [0, 0], [1, 1], True, indices)
        return x_gradient, beta_gradient, side_gradient

    def _size(self, x: Tensor) -> list[int]:
        return [-(-side // self.stride) for side in x.shape[2:]]

    def _channels(self, x: Tensor) -> Tensor:
        """(N, S C, H, W) as (N, H, W, S, C)."""
        return x.permute(0, 2, 3, 1).unflatten(3, (len(self.states), -1))

    def _take(self, x: Tensor, part: slice) -> Tensor:
        """Sampled or bypassed channels of all states: (N, S C, H, W) to (N, S c, H, W) or (N, S b, H, W)."""
        taken = self._channels(x)[..., part if self.order is None else self.order[part]]
        return taken.contiguous().flatten(3).permute(0, 3, 1, 2)

    def _add(self, target: Tensor, part: slice, values: Tensor) -> None:
        """Add values to the channels that `_take` takes, in place."""
        if self.order is None:
            self._channels(target)[..., part].add_(self._channels(values))
        else:
            self._channels(target)[..., self.order[part]] += self._channels(values)


@cache
def _places(
    channels: int, sampled: int, shuffle: bool, targets: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """What `_place` returns, for the first channels and a shuffle or none."""
    eye = torch.eye(channels, dtype=dtype, device=device)
    place = eye.view(sampled, -1, channels).transpose(0, 1).flatten(0, 1) if shuffle else eye
    return _place(place, eye, sampled, targets)


def _place(place: Tensor, source: Tensor, sampled: int, targets: int) -> tuple[Tensor, Tensor, Tensor]:
    """From mixed and from bypassed channels to nodes, (F c, F C) and (F b, F C), and from state to node (C, C).

    Rows of place and source (C, C) say where each channel goes in a node and comes from in a state, sampled ones first.
    """
    mixed, bypassed = (part.t().expand(targets, -1, -1) for part in (place[:sampled], place[sampled:]))
    bypass = place[sampled:].t() @ source[sampled:]
    return dense(mixed, targets, shared=False), dense(bypassed, targets, shared=False), bypass


class CellFunction(torch.autograd.Function):
    """A cell: outputs of the two cells before, preprocessing convolutions and edge weights to (N, 4 C, h, w)."""

    @staticmethod
    def forward(
        ctx: Any,
        plan: CellPlan,
        before_previous: Tensor,
        previous: Tensor,
        convolution0: Tensor,
        convolution1: Tensor,
        betas: Tensor,
        side: Tensor | None,
        *weights: Tensor | None,
    ) -> Tensor:
        """Convolutions (C, q) of the preprocessing, beta (E,), side (1, E, b, b) and `FanWeights` of all edges."""
        cell = ctx.cell = _Cell(plan, previous, (convolution0, convolution1), betas, side, FanWeights(*weights))  # type: ignore[arg-type]
        inputs, _ = cell.inputs(before_previous, previous)
        out = previous.new_zeros(cell.pixels, NODES * cell.channels)
        for group in cell.groups:
            group.forward(cell.states(group, inputs, out), out[:, group.columns])
        if plan.running is None:
            plan.statistics = cell.statistics()
        ctx.save_for_backward(before_previous, previous, out, convolution0, convolution1, betas, side, *weights)
        return image(out, cell.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of a node is complete once all groups that it feeds have been visited.

        Raises RuntimeError where the gradients shall be differentiated again (create_graph=True).
        """
        if torch.is_grad_enabled():  # once_differentiable would let torch.autograd.grad return wrong derivatives
            raise RuntimeError(
                "The fast super-network has first derivatives only: for second ones, compute the loss inside "
                "`with supernet.reference():`, or set order=2 with hessian_vector_product='finite_difference'"
            )
        cell: _Cell = ctx.cell
        before_previous, previous, out, *_ = ctx.saved_tensors
        inputs, features = cell.inputs(before_previous, previous)
        gradients = rows(gradient).clone(memory_format=torch.contiguous_format)
        input_gradients: list[Tensor] = []
        parts: list[list[Any]] = []
        for group in reversed(cell.groups):
            x_gradient, *part = group.backward(cell.states(group, inputs, out), gradients[:, group.columns])
            parts.insert(0, part)
            if group.states[0] < INPUTS:
                input_gradients[:0] = rows(x_gradient).split(cell.channels, dim=1)
            else:
                cell.states(group, inputs, gradients).add_(x_gradient)
        betas, sides, weights = zip(*parts, strict=True)
        y = [column for state in inputs for column in rows(state).split(cell.channels, dim=1)]
        (before_gradient, convolution0), (previous_gradient, convolution1) = (
            cell.preprocessing[i].backward(x, features[i], y[i], input_gradients[i])
            for i, x in enumerate((before_previous, previous))
        )
        return (
            None,
            before_gradient,
            previous_gradient,
            convolution0,
            convolution1,
            torch.cat(betas),
            _cat(sides),
            *(_cat(column) for column in zip(*weights, strict=True)),
        )


class _Cell:
    """The parts of a cell, with what they keep from forward to backward: weights and statistics, but no images."""

    def __init__(
        self,
        plan: CellPlan,
        previous: Tensor,
        convolutions: tuple[Tensor, Tensor],
        betas: Tensor,
        side: Tensor | None,
        weights: FanWeights,
    ) -> None:
        n, _, height, width = previous.shape
        self.weights = weights
        self.channels = convolutions[0].shape[0]
        self.input_shape = previous.shape
        self.shape = torch.Size([n, -1, -(-height // plan.stride), -(-width // plan.stride)])
        self.pixels = n * self.shape[2] * self.shape[3]
        widest = n * height * width * weights.kernels[:3, :, :, 0, 0].numel() * 4 // 7  # 8 of 14 edges leave the inputs
        self.joined = plan.orders is None and (previous.is_cuda or widest <= JOINED_ELEMENTS)
        running: list[Running | None] = [None, None]
        if plan.running is not None:
            mean, variance = plan.running["inputs"]
            running = [(mean[i, 0], variance[i, 0]) for i in range(INPUTS)]
        self.preprocessing = [
            Preprocessing(convolution, plan.halve and i == 0, running[i]) for i, convolution in enumerate(convolutions)
        ]
        self.groups = []
        start = 0
        later = [[node] for node in range(INPUTS, INPUTS + NODES - 1)]
        for states in ([[0, 1]] if self.joined else [[0], [1]]) + later:
            stop = start + sum(source in states for source, _ in EDGES)
            self.groups.append(Group(plan, states, slice(start, stop), betas, side, weights))
            start = stop

    def inputs(self, before_previous: Tensor, previous: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """States 0 and 1, as one image (N, 2 C, H, W) or as two, and the features that they were computed from."""
        pairs = [p.forward(x) for p, x in zip(self.preprocessing, (before_previous, previous), strict=True)]
        states, features = [state for state, _ in pairs], [a for _, a in pairs]
        if self.joined:
            states = [torch.cat(states, dim=1)]
        return [image(state, self.input_shape) for state in states], features

    def states(self, group: Group, inputs: list[Tensor], nodes: Tensor) -> Tensor:
        """What a group reads (N, S C, ...): inputs, or columns of the nodes (M, 4 C)."""
        if group.states[0] < INPUTS:
            return inputs[group.states[0]]
        start = (group.states[0] - INPUTS) * self.channels
        return image(nodes[:, start : start + self.channels], self.shape)

    def statistics(self) -> Norms:
        """Batch mean and biased variance of all batch norms, after `forward` of all parts."""
        parts = [group.statistics() for group in self.groups]
        norms = {}
        for name in dict.fromkeys(name for part in parts for name in part):
            means, variances = zip(*(part[name] for part in parts if name in part), strict=True)
            norms[name] = (torch.cat(means, 1), torch.cat(variances, 1))
        biases = [group.fan.biases for group in self.groups]
        first, second = (torch.cat([bias[name] for bias in biases], 1) for name in ("first", "second"))
        shifts = self.weights.pointwise @ torch.cat([first[:2], second, first[2:]])[..., None]
        norms["middle"][0].sub_(shifts[:2, ..., 0])
        norms["last"][0][2:].sub_(shifts[2:, ..., 0])
        means, variances = zip(*((p.mean, p.variance) for p in self.preprocessing), strict=True)
        norms["inputs"] = (torch.stack(means)[:, None], torch.stack(variances)[:, None])
        return norms


def _cat(parts: tuple[Tensor | None, ...]) -> Tensor | None:
    """Join gradients along the edges; weights that a group lacks are left out."""
    present = [part for part in parts if part is not None]
    return torch.cat(present, 1) if present else None
