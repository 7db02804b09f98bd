"""One autograd function for all edges of a search cell, and the hand-written backward pass.

Shapes: N images, C channels of a state, c = C / k of them sampled, H x W pixels; S states and F targets of a group;
M = N h w pixels of the output.  Nodes add up inside the cell's output (M, 4 C), which, with the cell's two inputs, is
all that is kept for the backward pass; there their gradients add up in the same way, from the last node to the first.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from pcdarts.fan import Fan, FanWeights, Norms, image, max_pool, max_pool_backward, relu_backward, rows
from pcdarts.folding import Fold, apply_folds, block_products, dense, fold, fold_backward
from pcdarts.genotype import INPUTS
from pcdarts.supernet import EDGES, NODES

avg_pool2d_backward = torch.ops.aten.avg_pool2d_backward
upsample_backward = torch.ops.aten.upsample_nearest2d_backward


@dataclass
class CellPlan:
    """What a cell does apart from its tensors; its batch statistics are left here in training mode."""

    k: int
    shuffle: bool
    stride: int
    spatial_stride: int
    orders: list[Tensor] | None
    """Channels (C,) of each state, sampled ones first, where they are drawn at random."""
    running: Norms | None
    """Running statistics of all edges in evaluation mode."""
    statistics: list[Norms] = field(default_factory=list)
    """Batch statistics of all edges, group by group."""

    def groups(self) -> list[tuple[list[int], slice]]:
        """The states of each group and the slice of its edges, by source.

        Both inputs go together, unless each places its channels in its own random order.
        """
        inputs = [[0, 1]] if self.orders is None else [[0], [1]]
        groups, start = [], 0
        for states in (*inputs, *([state] for state in range(INPUTS, INPUTS + NODES - 1))):
            stop = start + sum(source in states for source, _ in EDGES)
            groups.append((states, slice(start, stop)))
            start = stop
        return groups


class Group:
    """All edges that leave the same states: a fan for the sampled channels, and a bypass for the others."""

    def __init__(
        self, plan: CellPlan, states: list[int], edges: slice, betas: Tensor, side: Tensor | None, weights: FanWeights
    ) -> None:
        self.states, self.count = states, len(states)
        self.targets = (edges.stop - edges.start) // self.count
        self.stride = plan.stride if states[0] < INPUTS else 1
        self.spatial_stride = plan.spatial_stride
        self.sampled = weights.middle.shape[-1]
        self.channels = self.sampled * plan.k
        self.columns = slice((NODES - self.targets) * self.channels, None)
        mine = FanWeights(*(None if weight is None else weight[:, edges] for weight in weights))
        if self.stride == 1:
            mine = mine._replace(reduce=None)
        running = None
        if plan.running is not None:
            running = {name: (mean[:, edges], variance[:, edges]) for name, (mean, variance) in plan.running.items()}
        self.fan = Fan(self.count, self.targets, self.stride, mine, running)
        self.running = None if running is None else running.get("side")
        self.beta = betas[edges].view(self.count, self.targets, 1)
        self.side = None if side is None else side[0, edges].unflatten(0, (self.count, self.targets))
        self.order = None if plan.orders is None else plan.orders[states[0]]
        self._place(plan)
        self.side_fold: Fold | None = None

    def _place(self, plan: CellPlan) -> None:
        """Matrices of zeros and ones that bring mixed and bypassed channels to their places in the nodes (F C)."""
        eye = torch.eye(self.channels, dtype=self.beta.dtype, device=self.beta.device)
        if self.order is not None:
            place = source = eye[self.order]
        else:
            place = eye.unflatten(0, (-1, plan.k)).transpose(0, 1).flatten(0, 1) if plan.shuffle else eye
            source = eye
        self.from_mixed, self.from_bypassed = place[: self.sampled].t(), place[self.sampled :].t()  # (C, c), (C, b)
        self.bypass = self.from_bypassed @ source[self.sampled :]  # (C, C): from a state's channels to a node's

    def forward(self, x: Tensor, out: Tensor) -> None:
        """Add what the states x (N, S C, H, W) contribute to the nodes out (M, F C), in place."""
        size = [-(-side // self.stride) for side in x.shape[2:]]
        mixed = self.fan.forward(self._sampled(x))
        if self.spatial_stride == 2:
            mixed = functional.interpolate(mixed, size=size, mode="nearest")
        out.addmm_(rows(mixed), self._to_nodes(self.from_mixed))
        if self.sampled == self.channels:
            return
        if self.side is None:
            out.addmm_(rows(self._reduced(x)[0]), self._bypass_matrix())
        else:
            features = [rows(self._bypassed(self._reduced(x)[0]).relu())]
            weight = self.beta
            self.side_fold = fold(features, self.side, weight, self._side_running(), shared=True)
            out.addmm_(apply_folds([self.side_fold], [features]), self._to_nodes(self.from_bypassed))

    def backward(self, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None, FanWeights]:
        """Gradients in x, beta (S F,), side and the weights of the fan, from that of the nodes (M, F C)."""
        shape = torch.Size([x.shape[0], -1, *(-(-side // self.stride) for side in x.shape[2:])])
        x_gradient, beta, side = self._backward_bypass(x, gradient, shape)
        mixed = image(gradient @ self._to_nodes(self.from_mixed).t(), shape)
        if self.spatial_stride == 2:
            low = [x.shape[0], mixed.shape[1], *(-(-side // 2) for side in self._low(shape, x))]
            mixed = upsample_backward(mixed, list(shape[2:]), low)
        sampled = self._sampled(x)
        sampled_gradient, weights = self.fan.backward(sampled, mixed)
        if self.spatial_stride == 2:
            full = self._take(x)
            sampled_gradient = avg_pool2d_backward(sampled_gradient, full, [2, 2], [2, 2], [0, 0], True, True, None)
        self._give(x_gradient, sampled_gradient)
        return x_gradient, beta, side, weights


class CellFunction(torch.autograd.Function):
    """States 0 and 1 (N, 2 C, H, W), beta (E,), side convolutions (1, E, b, b) and `FanWeights` to (N, 4 C, h, w)."""

    @staticmethod
    def forward(
        ctx: Any, plan: CellPlan, inputs: Tensor, betas: Tensor, side: Tensor | None, *weights: Tensor | None
    ) -> Tensor:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        n, channels, height, width = inputs.shape
        channels //= INPUTS
        h, w = -(-height // plan.stride), -(-width // plan.stride)
        out = inputs.new_zeros(n * h * w, NODES * channels)
        ctx.groups = []
        for states, edges in plan.groups():
            group = Group(plan, states, edges, channels, betas, side, FanWeights(*weights))
            group.forward(_states(states, inputs, out, h), out[:, group.columns])
            ctx.groups.append(group)
            if plan.running is None:
                plan.statistics.append(group.statistics())
        ctx.save_for_backward(inputs, out, betas, side, *weights)
        return image(out, torch.Size([n, -1, h, w]))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, out, *_ = ctx.saved_tensors
        gradients = rows(gradient).clone(memory_format=torch.contiguous_format)
        input_gradients: list[Tensor] = []
        parts = []
        for group in reversed(ctx.groups):
            x = _states(group.states, inputs, out, gradient.shape[2])
            x_gradient, *part = group.backward(x, gradients[:, group.columns])
            parts.insert(0, part)
            if group.states[0] < INPUTS:
                input_gradients.insert(0, x_gradient)
            else:
                _states(group.states, inputs, gradients, gradient.shape[2]).add_(x_gradient)
        betas, sides, weights = zip(*parts, strict=True)
        joined = [None if column[0] is None else torch.cat(column, 1) for column in zip(*weights, strict=True)]
        return (
            None,
            torch.cat(input_gradients, 1) if len(input_gradients) > 1 else input_gradients[0],
            torch.cat(betas),
            None if sides[0] is None else torch.cat(sides, 1),
            *joined,
        )


def _states(states: list[int], inputs: Tensor, nodes: Tensor, height: int) -> Tensor:
    """The named states as images: columns of the inputs (N, 2 C, H, W), or of the nodes (M, 4 C)."""
    channels = nodes.shape[1] // NODES
    if states[0] < INPUTS:
        return inputs[:, states[0] * channels : (states[-1] + 1) * channels]
    start = (states[0] - INPUTS) * channels
    n = inputs.shape[0]
    shape = torch.Size([n, channels, height, nodes.shape[0] // (n * height)])
    return image(nodes[:, start : start + channels], shape)
