"""The architect: updates alpha and beta by the gradient of the validation loss.

First order: at the current weights.  Second order: at the weights w' = w - rate * (momentum + gradient + decay); their
dependence on alpha adds one Hessian-vector product (Liu et al., DARTS, section 2.3).
"""

import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from pcdarts.config import SearchConfig
from pcdarts.supernet import Supernet

Batch = tuple[Tensor, Tensor]

DIFFERENCE_RADIUS = 0.01
"""Length of the step of the central difference in the weights; the value of the official code."""


class Architect:
    """Adam on alpha and beta, with the first- or second-order gradient of `config.order`."""

    def __init__(self, config: SearchConfig, supernet: Supernet, weight_optimizer: torch.optim.Optimizer) -> None:
        self.config, self.supernet, self.weight_optimizer = config, supernet, weight_optimizer
        self.parameters = list(supernet.architecture.parameters())
        on_gpu = self.parameters[0].device.type == "cuda"
        if on_gpu:
            warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")  # not all are
        self.optimizer = torch.optim.Adam(
            self.parameters,
            lr=config.alpha_learning_rate,
            betas=(0.5, 0.999),
            weight_decay=config.alpha_weight_decay,
            capturable=on_gpu,  # all of its state is there, whether or not a step is captured
        )

    def step(self, train: Batch, valid: Batch, rate: float | Tensor) -> None:
        """One Adam step from a training batch, a validation batch and the weights' learning rate, a tensor () or not.

        A batch is images (N, channels, H, W) and labels (N,).  The training batch is used in second order only.
        """
        if self.config.order == 1:
            gradients = self.first_order(valid)
        else:
            with self.supernet.reference():
                gradients = self.second_order(train, valid, rate)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        if self.config.alpha_gradient_clip:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.config.alpha_gradient_clip)
        self.optimizer.step()

    def first_order(self, valid: Batch) -> list[Tensor | None]:
        """Gradient of the validation loss in alpha and beta; None for beta without edge normalization."""
        with _frozen(self.supernet.weights().values()):
            loss = functional.cross_entropy(self.supernet(valid[0]), valid[1])
            return list(torch.autograd.grad(loss, self.parameters, allow_unused=True))

    def second_order(self, train: Batch, valid: Batch, rate: float | Tensor) -> list[Tensor | None]:
        """Gradient in alpha and beta of the validation loss at the weights after one more SGD step.

        The Hessian-vector product is exact (double backward) or the central difference of the official code, see
        `config.hessian_vector_product`.  Running statistics do not change.
        """
        weights = self.supernet.weights()
        exact = self.config.hessian_vector_product == "exact"
        train_loss = self._loss(weights, train)
        gradients = torch.autograd.grad(train_loss, list(weights.values()), create_graph=exact)
        with torch.no_grad():
            stepped = {
                name: (weight - rate * self._update(weight, gradient)).requires_grad_()
                for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
            }
        with torch.enable_grad():
            valid_loss = self._loss(stepped, valid)
        inputs = [*self.parameters, *stepped.values()]
        both = torch.autograd.grad(valid_loss, inputs, allow_unused=True)
        direct, direction = both[: len(self.parameters)], both[len(self.parameters) :]
        if exact:
            product = sum((g * v).sum() for g, v in zip(gradients, direction, strict=True) if v is not None)
            assert isinstance(product, Tensor)
            implicit: list[Tensor | None] = list(torch.autograd.grad(product, self.parameters, allow_unused=True))
        else:
            implicit = self._central_difference(weights, direction, train)
        return [d if d is None or i is None else d - rate * i for d, i in zip(direct, implicit, strict=True)]

    def _update(self, weight: Tensor, gradient: Tensor) -> Tensor:
        """The SGD update of a weight, per unit of learning rate."""
        step = gradient + self.config.weight_decay * weight
        momentum = self.weight_optimizer.state.get(weight, {}).get("momentum_buffer")
        return step if momentum is None else step + self.config.momentum * momentum

    def _central_difference(
        self, weights: dict[str, torch.nn.Parameter], direction: tuple[Tensor | None, ...], train: Batch
    ) -> list[Tensor | None]:
        """(gradient at w + r v  -  gradient at w - r v) / (2 r) in alpha and beta, with r = DIFFERENCE_RADIUS / |v|."""
        vector = [torch.zeros_like(w) if v is None else v for w, v in zip(weights.values(), direction, strict=True)]
        radius = DIFFERENCE_RADIUS / torch.stack([v.square().sum() for v in vector]).sum().sqrt()
        sides = []
        for sign in (1, -1):
            shifted = {
                name: weight.detach() + sign * radius * v
                for (name, weight), v in zip(weights.items(), vector, strict=True)
            }
            sides.append(torch.autograd.grad(self._loss(shifted, train), self.parameters, allow_unused=True))
        return [None if p is None or m is None else (p - m) / (2 * radius) for p, m in zip(*sides, strict=True)]

    def _loss(self, weights: dict[str, Tensor] | dict[str, torch.nn.Parameter], batch: Batch) -> Tensor:
        """Loss of a batch at other weights; batch norms update copies of their running statistics."""
        buffers = {name: buffer.clone() for name, buffer in self.supernet.named_buffers()}
        logits = functional_call(self.supernet, {**weights, **buffers}, (batch[0],))
        return functional.cross_entropy(logits, batch[1])


@contextmanager
def _frozen(weights: Collection[torch.nn.Parameter]) -> Iterator[None]:
    """Context in which no gradients in the weights are computed."""
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)
