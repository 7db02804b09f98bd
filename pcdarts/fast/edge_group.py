"""A group of edges: all edges that leave the same states of a search cell.

Shapes: N images, S states, F targets, C channels of a state, c = C / k sampled and b = C - c bypassed ones, H x W
pixels; M = N h w pixels of the nodes.
"""

from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from pcdarts.fast.fan import Fan, FanWeights, Norms, max_pool, max_pool_backward
from pcdarts.fast.folding import Running, dense, tall_product
from pcdarts.fast.panels import image, rows
from pcdarts.fast.side import DepthwiseSide, PointwiseSide, Side
from pcdarts.genotype import INPUTS
from pcdarts.spaces import NODES

avg_pool_backward = torch.ops.aten.avg_pool2d_backward
upsample_backward = torch.ops.aten.upsample_nearest2d_backward


@dataclass
class CellPlan:
    """Settings of a cell without its tensors; in training mode it stores its batch statistics here."""

    k: int
    shuffle: bool
    stride: int
    spatial_stride: int
    side_operation: str
    halve: bool
    """Whether the earlier input has twice the resolution of the other."""
    orders: list[Tensor] | None
    """Channels (C,) of each state, sampled ones first, if they are drawn at random."""
    running: Norms | None
    """Running statistics of all edges, and of "inputs" (2, 1, C), in evaluation mode."""
    statistics: Norms = field(default_factory=dict)
    """Batch statistics of the same."""


class EdgeGroup:
    """All edges that leave the same states: a fan for the sampled channels, and a bypass for the others."""

    def __init__(
        self,
        plan: CellPlan,
        states: list[int],
        edges: slice,
        *,
        betas: Tensor,
        side: Tensor | None,
        weights: FanWeights,
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
        self.side: Side | None = None
        self.unchanged = self.sampled
        if side is not None:
            self.unchanged += side.shape[2]
            self.side = self._make_side(plan.side_operation, side[0, edges])
        self.order = None if plan.orders is None else plan.orders[states[0]]
        self._place(plan)

    def _make_side(self, name: str, weights: Tensor) -> Side:
        running: Running | None = None
        if self.running is not None:
            mean, variance = self.running["side"]
            running = (mean[0], variance[0])
        if name == "depthwise_3x3":
            return DepthwiseSide(weights, self.beta, running=running)
        return PointwiseSide(weights, self.beta, relu=name == "conv_1x1", running=running)

    def _place(self, plan: CellPlan) -> None:
        """Matrices of zeros and ones, from mixed (F c) or side (F b) channels to their places in the nodes (F C).

        If all channels are sampled in their order, `from_mixed` would be the identity and is None.

        `bypass` (C, C) goes from the unchanged channels of a state to those of a node, with beta from all states to all
        nodes.
        """
        if self.order is None:
            places = _places(
                self.channels,
                self.sampled,
                self.unchanged,
                self.targets,
                shuffle=plan.shuffle,
                dtype=self.beta.dtype,
                device=self.beta.device,
            )
        else:
            eye = torch.eye(self.channels, dtype=self.beta.dtype, device=self.beta.device)
            places = _place(eye[self.order], eye[self.order], self.sampled, self.unchanged, self.targets)
        from_mixed, self.from_side, self.bypass = places
        self.from_mixed = None if self.sampled == self.channels and self.order is None else from_mixed
        blocks = (self.beta[..., None] * self.bypass).flatten(0, 1)
        self.bypass_matrix = dense(blocks, self.targets, shared=True)

    def forward(self, x: Tensor, out: Tensor) -> None:
        """Add the contribution of the states x (N, S C, H, W) to the nodes out (M, F C), in place."""
        sampled = self._take(x, slice(self.sampled))
        if self.spatial_stride == 2:
            sampled = functional.avg_pool2d(sampled, 2, ceil_mode=True)
        mixed = self.fan.forward(sampled)
        if self.spatial_stride == 2:
            mixed = functional.interpolate(mixed, size=self._size(x), mode="nearest")
        if self.from_mixed is None:
            out.add_(rows(mixed))
        else:
            out.addmm_(rows(mixed), self.from_mixed)
        if self.sampled == self.channels:
            return
        if self.stride == 2:
            x = functional.max_pool2d(x, 2, ceil_mode=True)
        if self.unchanged < self.channels:
            out.addmm_(rows(x), self.bypass_matrix)
        if self.side is not None:
            out.addmm_(self.side.forward(self._take(x, slice(self.sampled, self.unchanged))), self.from_side)

    def statistics(self) -> Norms:
        """Batch mean and biased variance of all batch norms (kinds, S F, channels); after `forward`."""
        norms = self.fan.statistics()
        if self.side is not None:
            mean, variance = self.side.statistics()
            norms["side"] = (mean[None], variance[None])
        return norms

    def backward(
        self, x: Tensor, gradient: Tensor, kernels_wanted: bool
    ) -> tuple[Tensor, Tensor, Tensor | None, tuple[Tensor | None, ...]]:
        """Gradients in x, beta (S F,), side (1, S F, b, q) and the fan's weights, from that of the nodes (M, F C)."""
        shape = torch.Size([x.shape[0], -1, *self._size(x)])
        mixed = image(gradient if self.from_mixed is None else gradient @ self.from_mixed.t(), shape)
        sampled = whole = self._take(x, slice(self.sampled))
        if self.spatial_stride == 2:
            sampled = functional.avg_pool2d(whole, 2, ceil_mode=True)
            low = [*mixed.shape[:2], *(-(-side // self.stride) for side in sampled.shape[2:])]
            mixed = upsample_backward(mixed, self._size(x), low)
        sampled_gradient, weights = self.fan.backward(sampled, mixed, kernels_wanted)
        if self.spatial_stride == 2:
            sampled_gradient = avg_pool_backward(sampled_gradient, whole, [2, 2], [2, 2], [0, 0], True, True, None)
        if self.sampled == self.channels:
            x_gradient, side_gradient = torch.zeros_like(whole), None
            beta_gradient = torch.zeros_like(self.beta).flatten()
        else:
            x_gradient, beta_gradient, side_gradient = self._bypass_backward(x, gradient, shape, kernels_wanted)
        self._add(x_gradient, slice(self.sampled), sampled_gradient)
        return x_gradient, beta_gradient, side_gradient, weights

    def _bypass_backward(
        self, x: Tensor, gradient: Tensor, shape: torch.Size, weights_wanted: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        pooled, indices = x, None
        if self.stride == 2:
            pooled, indices = max_pool(x, [2, 2], [2, 2], [0, 0], [1, 1], True)
        if self.unchanged < self.channels:
            x_gradient = image(gradient @ self.bypass_matrix.t(), shape)
            d = tall_product(gradient, rows(pooled)).view(self.targets, self.channels, len(self.states), self.channels)
            beta_gradient = (d * self.bypass[:, None]).sum((1, 3)).t().flatten()
        else:
            x_gradient = torch.zeros_like(pooled, memory_format=torch.channels_last)
            beta_gradient = torch.zeros_like(self.beta).flatten()
        side_gradient = None
        if self.side is not None:
            part = slice(self.sampled, self.unchanged)
            part_gradient, side_beta, side_gradient = self.side.backward(
                self._take(pooled, part), gradient @ self.from_side.t(), weights_wanted
            )
            self._add(x_gradient, part, part_gradient)
            beta_gradient = beta_gradient + side_beta
            side_gradient = None if side_gradient is None else side_gradient[None]
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
    channels: int,
    sampled: int,
    unchanged: int,
    targets: int,
    *,
    shuffle: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, Tensor, Tensor]:
    """The result of `_place` if the first channels are sampled, with or without a shuffle."""
    eye = torch.eye(channels, dtype=dtype, device=device)
    place = eye.view(sampled, -1, channels).transpose(0, 1).flatten(0, 1) if shuffle else eye
    return _place(place, eye, sampled, unchanged, targets)


def _place(place: Tensor, source: Tensor, sampled: int, unchanged: int, targets: int) -> tuple[Tensor, Tensor, Tensor]:
    """From mixed and from side channels to nodes, (F c, F C) and (F b, F C), and from state to node (C, C).

    Rows of place and source (C, C) say where each channel goes in a node and comes from in a state: the sampled ones
    first, then those of the side operation, and from row `unchanged` on those that only bypass.
    """
    mixed, side = (part.t().expand(targets, -1, -1) for part in (place[:sampled], place[sampled:unchanged]))
    bypass = place[unchanged:].t() @ source[unchanged:]
    return dense(mixed, targets, shared=False), dense(side, targets, shared=False), bypass
