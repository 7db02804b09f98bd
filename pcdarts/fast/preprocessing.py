"""ReLU - 1x1 convolution - batch norm that brings a cell's input to the cell's channels, with its backward pass.

With A (M, q) the positive input, P (C, q) the convolution and a the column means of A, the convolution's output is
centered as it is computed: Y = A P^T - a P^T, var = diag(Y^T Y) / M.  For a reduction by 2, A holds two pixels side by
side and P both convolutions of `FactorizedReduce`.  No images are kept for backward.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pcdarts.fast.fan import add_pixel_pairs, pixel_pairs, relu_backward
from pcdarts.fast.folding import EPSILON, Running, tall_product
from pcdarts.fast.panels import image, rows


class Preprocessing:
    """Preprocessing of one input of a cell: forward, forward again for the backward pass, then backward."""

    def __init__(self, pointwise: Tensor, halve: bool, running: Running | None) -> None:
        self.pointwise, self.halve = pointwise, halve
        self.training = running is None
        self.mean: Tensor | None = None if running is None else running[0]
        self.variance: Tensor | None = None if running is None else running[1]
        self.rstd = None if self.variance is None else (self.variance + EPSILON).rsqrt()
        self.bias = None if self.mean is None else -self.mean

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, q, H, W), or (N, q / 2, 2 h, 2 w), to normalized pixels (M, C); also the features A (M, q)."""
        a = x.relu()
        a = pixel_pairs(a, 1) if self.halve else rows(a)
        if self.bias is None:
            self.mean = self.pointwise @ a.mean(0)
            self.bias = -self.mean
        y = torch.addmm(self.bias, a, self.pointwise.t())
        if self.rstd is None:
            self.variance = tall_product(y, y).diagonal() / a.shape[0]
            self.rstd = (self.variance + EPSILON).rsqrt()
        return y.mul_(self.rstd), a

    def backward(
        self, x: Tensor, a: Tensor, y: Tensor, gradient: Tensor, wanted: Sequence[bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Gradients in x and in the convolution (C, q), those that are wanted.

        They follow from the features, the output and its gradient (M, C).
        """
        if not any(wanted):
            return None, None
        assert self.rstd is not None
        if self.training:
            along = tall_product(y, gradient).diagonal() / a.shape[0]
            gradient = torch.addcmul(gradient - gradient.mean(0), y, along, value=-1)
        gradient = gradient * self.rstd
        weight_gradient = tall_product(gradient, a) if wanted[1] else None
        if not wanted[0]:
            return None, weight_gradient
        a_gradient = relu_backward(gradient @ self.pointwise, a, 0)
        if not self.halve:
            return image(a_gradient, x.shape), weight_gradient
        x_gradient = torch.zeros_like(x)
        add_pixel_pairs(x_gradient, a_gradient, 1)
        return x_gradient, weight_gradient
