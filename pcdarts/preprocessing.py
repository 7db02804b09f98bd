"""ReLU - 1x1 convolution - batch norm that brings a cell's input to the cell's channels, with its backward pass.

With A (M, q) the positive input, P (C, q) the convolution and a the column means of A, the convolution's output is
centred as it is computed: Y = A P^T - a P^T, var = diag(Y^T Y) / M.  For a reduction by 2, A holds two pixels side by
side and P both convolutions of `FactorizedReduce`.  Of the images nothing is kept for backward.
"""

import torch
from torch import Tensor

from pcdarts.fan import add_pixel_pairs, image, pixel_pairs, relu_backward, rows
from pcdarts.folding import EPSILON, Running, column_means


class Preprocessing:
    """One input of a cell: forward, again for the backward pass, then backward."""

    def __init__(self, pointwise: Tensor, halve: bool, running: Running | None) -> None:
        self.pointwise, self.halve = pointwise, halve
        self.training = running is None
        self.mean, self.variance = running if running is not None else (None, None)
        self.rstd = None if self.variance is None else (self.variance + EPSILON).rsqrt()
        self.bias = None if self.mean is None else -self.mean

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, q, H, W), or (N, q / 2, 2 h, 2 w), to normalized pixels (M, C)."""
        a = self._features(x.relu())
        if self.bias is None:
            self.mean = self.pointwise @ column_means(a)
            self.bias = -self.mean
        y = torch.addmm(self.bias, a, self.pointwise.t())
        if self.rstd is None:
            self.variance = (y.t() @ y).diagonal() / a.shape[0]
            self.rstd = (self.variance + EPSILON).rsqrt()
        return y.mul_(self.rstd)

    def backward(self, x: Tensor, y: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients in x and in the convolution (C, q), from the output y (M, C) and its gradient."""
        assert self.rstd is not None
        positive = x.relu()
        a = self._features(positive)
        if self.training:
            m = a.shape[0]
            along = (y.t() @ gradient).diagonal() / m
            gradient = torch.addcmul(gradient - column_means(gradient), y, along, value=-1)
        gradient = gradient * self.rstd
        a_gradient = gradient @ self.pointwise
        if self.halve:
            x_gradient = torch.zeros_like(positive)
            add_pixel_pairs(x_gradient, a_gradient, 1)
        else:
            x_gradient = image(a_gradient, x.shape)
        return relu_backward(x_gradient, positive, 0), gradient.t() @ a

    def _features(self, positive: Tensor) -> Tensor:
        return pixel_pairs(positive, 1) if self.halve else rows(positive)
