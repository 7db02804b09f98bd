"""One autograd function for all edges of a search cell, and the hand-written backward pass.

Shapes: N images, C channels of a state, H x W pixels; F targets of a group of edges; M = N h w pixels of the output.
Nodes add up inside the cell's output (M, 4 C), which, with those of the two cells before, is all that is kept for the
backward pass; there their gradients add up in the same way, from the last node to the first.
"""

from typing import Any

import torch
from torch import Tensor

from pcdarts.fast.edge_group import CellPlan, EdgeGroup
from pcdarts.fast.fan import FanWeights, Norms, image, rows
from pcdarts.fast.folding import Running
from pcdarts.fast.preprocessing import Preprocessing
from pcdarts.genotype import INPUTS
from pcdarts.spaces import EDGES, NODES

JOINED_ELEMENTS = 2**24
"""The edges of both inputs are computed together up to this size of a depthwise output: fewer calls against caches."""


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
        *wanted, weights_wanted = ctx.needs_input_grad[1:4]  # weights are frozen in a step on alpha
        before_previous, previous, out, *_ = ctx.saved_tensors
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
            self.groups.append(EdgeGroup(plan, states, slice(start, stop), betas, side, weights))
            start = stop

    def inputs(self, before_previous: Tensor, previous: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """States 0 and 1, as one image (N, 2 C, H, W) or as two, and the features that they were computed from."""
        pairs = [p.forward(x) for p, x in zip(self.preprocessing, (before_previous, previous), strict=True)]
        states, features = [state for state, _ in pairs], [a for _, a in pairs]
        if self.joined:
            states = [torch.cat(states, dim=1)]
        return [image(state, self.input_shape) for state in states], features

    def states(self, group: EdgeGroup, inputs: list[Tensor], nodes: Tensor) -> Tensor:
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
