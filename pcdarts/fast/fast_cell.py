"""One autograd function for all edges of a search cell, and the hand-written backward pass.

Shapes: N images, C channels of a state, H x W pixels; F targets of a group of edges; M = N h w pixels of the output.
Nodes are summed inside the output of the cell (M, 4 C).  Only this and the outputs of the two previous cells are kept
for the backward pass, where gradients are summed in the same way, from the last node to the first.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pcdarts.fast.edge_group import CellPlan, EdgeGroup
from pcdarts.fast.fan import FanWeights, Norms
from pcdarts.fast.folding import Running
from pcdarts.fast.panels import image, rows
from pcdarts.fast.preprocessing import Preprocessing
from pcdarts.genotype import INPUTS
from pcdarts.spaces import EDGES, NODES

JOINED_ELEMENTS = 2**24
"""Largest depthwise output for which the edges of both inputs are computed together: fewer calls, but more cache."""


class CellTensors(NamedTuple):
    """Inputs of a cell, in the order of the gradients of `CellFunction`; see `FanWeights` for the last five."""

    before_previous: Tensor
    """Output of the cell before the previous one."""
    previous: Tensor
    """Output of the previous cell."""
    convolution0: Tensor
    """Preprocessing convolution (C, q) of the first."""
    convolution1: Tensor
    """Preprocessing convolution (C, q) of the second."""
    betas: Tensor
    """Edge weights (E,)."""
    side: Tensor | None
    """Side operations (1, E, b, q): 1x1 convolutions, q = b, or depthwise 3x3 ones, q = 9."""
    mixture: Tensor
    small: Tensor | None
    large: Tensor
    pointwise: Tensor
    reduce: Tensor | None

    @property
    def weights(self) -> FanWeights:
        """Weights of all edges."""
        return FanWeights(self.mixture, self.small, self.large, self.pointwise, self.reduce)


class CellFunction(torch.autograd.Function):
    """A cell: outputs of the two cells before, preprocessing convolutions and edge weights to (N, 4 C, h, w)."""

    @staticmethod
    def forward(ctx: Any, plan: CellPlan, *tensors: Tensor | None) -> Tensor:
        """`tensors` are the fields of `CellTensors`."""
        given = CellTensors(*tensors)  # type: ignore[arg-type]
        cell = ctx.cell = _Cell(plan, given)
        inputs, _ = cell.inputs(given.before_previous, given.previous)
        out = given.previous.new_zeros(cell.pixels, NODES * cell.channels)
        for group in cell.groups:
            group.forward(cell.states(group, inputs, out), out[:, group.columns])
        if plan.running is None:
            plan.statistics = cell.statistics()
        ctx.save_for_backward(out, *given)
        return image(out, cell.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of a node is complete once all groups that read it have been visited.

        Raises RuntimeError if the gradients are to be differentiated again (create_graph=True).
        """
        if torch.is_grad_enabled():  # once_differentiable would let torch.autograd.grad return wrong derivatives
            raise RuntimeError(
                "the fast super-network has first derivatives only; for second ones, compute the loss inside "
                "`with supernet.reference():`, or set order=2 with hessian_vector_product='finite_difference'"
            )
        cell: _Cell = ctx.cell
        *wanted, weights_wanted = ctx.needs_input_grad[1:4]  # weights are frozen in a step on alpha
        out, before_previous, previous, *_ = ctx.saved_tensors
        inputs, features = cell.inputs(before_previous, previous)
        gradients = rows(gradient).clone(memory_format=torch.contiguous_format)
        input_gradients: list[Tensor] = []
        parts: list[list[Any]] = []
        for group in reversed(cell.groups):
            state = cell.states(group, inputs, out)
            x_gradient, *part = group.backward(state, gradients[:, group.columns], weights_wanted)
            parts.insert(0, part)
            if group.states[0] < INPUTS:
                input_gradients[:0] = rows(x_gradient).split(cell.channels, dim=1)
            else:
                cell.states(group, inputs, gradients).add_(x_gradient)
        betas, sides, weights = zip(*parts, strict=True)
        y = [column for state in inputs for column in rows(state).split(cell.channels, dim=1)]
        (before_gradient, convolution0), (previous_gradient, convolution1) = (
            cell.preprocessing[i].backward(x, features[i], y[i], input_gradients[i], (wanted[i], weights_wanted))
            for i, x in enumerate((before_previous, previous))
        )
        mixture, small, large, pointwise, reduce = (_cat(column) for column in zip(*weights, strict=True))
        found: dict[str, Tensor | None] = {
            "before_previous": before_gradient,
            "previous": previous_gradient,
            "convolution0": convolution0,
            "convolution1": convolution1,
            "betas": torch.cat(betas),
            "side": _cat(sides),
            "mixture": mixture,
            "small": small,
            "large": large,
            "pointwise": pointwise,
            "reduce": reduce,
        }
        return None, *(found[name] for name in CellTensors._fields)


class _Cell:
    """The parts of a cell; they keep weights and statistics from forward to backward, but no images."""

    def __init__(self, plan: CellPlan, tensors: CellTensors) -> None:
        previous, weights = tensors.previous, tensors.weights
        n, _, height, width = previous.shape
        self.weights = weights
        self.channels = tensors.convolution0.shape[0]
        self.input_shape = previous.shape
        self.shape = torch.Size([n, -1, -(-height // plan.stride), -(-width // plan.stride)])
        self.pixels = n * self.shape[2] * self.shape[3]
        widest = n * height * width * weights.large[:3, :, :, 0, 0].numel() * 4 // 7  # 8 of 14 edges leave the inputs
        self.joined = plan.orders is None and (not previous.is_cpu or widest <= JOINED_ELEMENTS)
        running: list[Running | None] = [None, None]
        if plan.running is not None:
            mean, variance = plan.running["inputs"]
            running = [(mean[i, 0], variance[i, 0]) for i in range(INPUTS)]
        self.preprocessing = [
            Preprocessing(convolution, plan.halve and i == 0, running[i])
            for i, convolution in enumerate((tensors.convolution0, tensors.convolution1))
        ]
        self.groups = []
        start = 0
        later = [[node] for node in range(INPUTS, INPUTS + NODES - 1)]
        for states in ([[0, 1]] if self.joined else [[0], [1]]) + later:
            stop = start + sum(source in states for source, _ in EDGES)
            edges = slice(start, stop)
            group = EdgeGroup(plan, states, edges, betas=tensors.betas, side=tensors.side, weights=weights)
            self.groups.append(group)
            start = stop

    def inputs(self, before_previous: Tensor, previous: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """States 0 and 1, as one image (N, 2 C, H, W) or as two, and the features they were computed from."""
        pairs = [p.forward(x) for p, x in zip(self.preprocessing, (before_previous, previous), strict=True)]
        states, features = [state for state, _ in pairs], [a for _, a in pairs]
        if self.joined:
            states = [torch.cat(states, dim=1)]
        return [image(state, self.input_shape) for state in states], features

    def states(self, group: EdgeGroup, inputs: list[Tensor], nodes: Tensor) -> Tensor:
        """The states that a group reads (N, S C, ...): inputs, or columns of the nodes (M, 4 C)."""
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
        first, second = (torch.cat(parts, 1) for parts in zip(*(g.fan.biases for g in self.groups), strict=True))
        shifts = self.weights.pointwise @ torch.cat([first[:2], second, first[2:]])[..., None]
        norms["middle"][0].sub_(shifts[:2, ..., 0])
        norms["last"][0][2:].sub_(shifts[2:, ..., 0])
        means, variances = zip(*((p.mean, p.variance) for p in self.preprocessing), strict=True)
        norms["inputs"] = (torch.stack(means)[:, None], torch.stack(variances)[:, None])
        return norms


def _cat(parts: tuple[Tensor | None, ...]) -> Tensor | None:
    """Join gradients along the edges, without those of groups that do not have the weight."""
    present = [part for part in parts if part is not None]
    return torch.cat(present, 1) if present else None
