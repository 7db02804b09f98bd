"""Side operations on all edges of a group: batch norm after a 1x1 or a depthwise 3x3 convolution of bypassed channels.

Shapes: N images, S states, F targets, E = S F edges ordered by (state, target); b channels of a state that the
operation takes, M = N h w pixels.  Weighted by beta, the results of all states are summed at their targets.  Both
classes compute forward, then backward with the same input, and keep no images in between.
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from pcdarts.fast.depthwise import convolution_backward
from pcdarts.fast.fan import relu_backward
from pcdarts.fast.folding import EPSILON, Features, Fold, Running, apply_fold, fold, fold_backward
from pcdarts.fast.panels import image, rows


class Side(Protocol):
    """A side operation on the edges of a group."""

    def forward(self, x: Tensor) -> Tensor:
        """Bypassed channels (N, S b, h, w) to the weighted sums for all targets (M, F b)."""

    def statistics(self) -> Running:
        """Mean and biased variance of the batch (E, b), after `forward`."""

    def backward(self, x: Tensor, gradient: Tensor, weights_wanted: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """Gradients in x, in beta (E,) and, if wanted, in the weights, from that of the output (M, F b)."""


class PointwiseSide:
    """1x1 convolutions (E, b, b), with a ReLU before them or without, folded with their batch norms."""

    def __init__(self, weights: Tensor, beta: Tensor, *, relu: bool, running: Running | None) -> None:
        self.weights, self.beta, self.targets = weights, beta.view(-1, 1), beta.shape[1]
        self.relu, self.running = relu, running
        self.fold: Fold | None = None

    def forward(self, x: Tensor) -> Tensor:
        """See `Side`."""
        features = self._features(x)
        self.fold = fold(features, self.weights, self.beta, self.targets, running=self.running)
        return apply_fold(self.fold, features)

    def statistics(self) -> Running:
        """See `Side`."""
        assert self.fold is not None
        return self.fold.center, self.fold.variance

    def backward(self, x: Tensor, gradient: Tensor, weights_wanted: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """See `Side`."""
        assert self.fold is not None
        features = self._features(x)
        (back,), weights, beta = fold_backward(self.fold, features, gradient, gradient.mean(0))
        x_gradient = image(back, x.shape)
        return relu_backward(x_gradient, x, 0) if self.relu else x_gradient, beta.sum(1), weights

    def _features(self, x: Tensor) -> list[Features]:
        return [Features(rows(x.relu() if self.relu else x), shared=True)]


class DepthwiseSide:
    """ReLU, then depthwise 3x3 convolutions (E, b, 9) with batch norms.

    With Y the output of the convolutions, Z = (Y - mean) rstd and G the gradient in Z, that in Y is
    rstd (G - mean of G - Z mean of G Z); without the means in evaluation mode.
    """

    def __init__(self, weights: Tensor, beta: Tensor, *, running: Running | None) -> None:
        self.kernels = weights.reshape(-1, 1, 3, 3)
        self.states, self.targets = beta.shape[:2]
        self.scale = beta.view(-1, 1).expand(weights.shape[:2]).flatten()
        self.training = running is None
        self.moments = None if running is None else (running[0].flatten(), running[1].flatten())

    def forward(self, x: Tensor) -> Tensor:
        """See `Side`."""
        z = self._normalized(self._repeated(x))
        out: Tensor = (z * self.scale).unflatten(1, (self.states, -1)).sum(1)
        return out

    def statistics(self) -> Running:
        """See `Side`."""
        mean, variance = self._known_moments()
        edges = self.states * self.targets
        return mean.view(edges, -1), variance.view(edges, -1)

    def backward(self, x: Tensor, gradient: Tensor, weights_wanted: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """See `Side`."""
        repeated, edges = self._repeated(x), self.states * self.targets
        z = self._normalized(repeated)
        along = gradient.repeat(1, self.states)
        product = (along * z).mean(0)
        if self.training:
            along = torch.addcmul(along - along.mean(0), z, product, value=-1)
        rstd = (self._known_moments()[1] + EPSILON).rsqrt()
        back = image(along * (self.scale * rstd), repeated.shape)
        weights = None
        if weights_wanted:
            _, weights = convolution_backward(
                back, repeated, self.kernels, stride=(1, 1), padding=(1, 1), wanted=(False, True)
            )
            weights = weights.view(edges, -1, 9)
        through = rows(self._convolved(back, self.kernels.flip(2, 3)))
        states = through.view(len(through), self.states, self.targets, -1).sum(2).flatten(1)
        beta = len(z) * product.view(edges, -1).sum(1)
        return relu_backward(image(states, x.shape), x, 0), beta, weights

    def _repeated(self, x: Tensor) -> Tensor:
        """ReLU of x (N, S b, h, w), every state once for each of its edges: (N, E b, h, w)."""
        positive = rows(x.relu()).view(-1, self.states, 1, x.shape[1] // self.states)
        return image(positive.expand(-1, -1, self.targets, -1).flatten(1), x.shape)

    def _convolved(self, x: Tensor, kernels: Tensor) -> Tensor:
        return functional.conv2d(x, kernels, None, 1, 1, groups=len(kernels))

    def _normalized(self, repeated: Tensor) -> Tensor:
        """Z (M, E b); in training mode the first call takes the moments of the batch."""
        y = rows(self._convolved(repeated, self.kernels))
        if self.moments is None:
            mean = y.mean(0)
            self.moments = mean, (y - mean).square().mean(0)
        mean, variance = self.moments
        normalized: Tensor = (y - mean) * (variance + EPSILON).rsqrt()
        return normalized

    def _known_moments(self) -> Running:
        assert self.moments is not None
        return self.moments
