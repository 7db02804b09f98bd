"""Copies of the weights kept during training: those of the best epoch, and a moving average."""

import copy
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass
class Best:
    """Weights with the best validation accuracy so far; without validation the latest ones."""

    epoch: int = -1
    accuracy: float = -math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)

    def offer(self, epoch: int, accuracy: float | None, network: nn.Module) -> None:
        """Keep the network's weights if they are better; of equal ones the earlier stay."""
        if accuracy is None or accuracy > self.accuracy:
            self.epoch, self.accuracy = epoch, -math.inf if accuracy is None else accuracy
            self.weights = {name: value.detach().clone() for name, value in network.state_dict().items()}


class Averager(nn.Module):
    """A copy of a network whose weights and running statistics are an exponential moving average of the network's.

    The decay ramps up, min(decay, (1 + n) / (10 + n)) in the n-th update, so that the first steps are soon forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay, self.updates = decay, 0
        self.network = copy.deepcopy(network, {id(getattr(network, "generator", None)): None}).requires_grad_(False)
        states = [list(module.state_dict().values()) for module in (self.network, network)]
        self._averages, self._weights = ([x for x in state if x.is_floating_point()] for state in states)
        self._counts, self._counted = ([x for x in state if not x.is_floating_point()] for state in states)

    @torch.no_grad()
    def update(self) -> None:
        """Update the average with the network's weights after a step."""
        self.updates += 1
        share = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self._averages, self._weights, share)  # on a GPU a few kernels for all tensors
        for mine, other in zip(self._counts, self._counted, strict=True):
            mine.copy_(other)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the averaged network."""
        logits: Tensor = self.network(images)
        return logits
