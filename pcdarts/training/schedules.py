"""Learning rate schedules."""

import math

import torch
from torch import Tensor


def warmup_rate(epoch: int, warmup_epochs: int, end: float) -> float:
    """Linear warm-up for epochs below `warmup_epochs`; its last epoch has the rate `end`."""
    return end * (epoch + 1) / warmup_epochs


def cosine_rate(epoch: int, epochs: int, start: float, end: float = 0.0) -> float:
    """Cosine schedule from `start` at epoch 0 towards `end` at epoch `epochs`."""
    return end + (start - end) * (1 + math.cos(math.pi * epoch / epochs)) / 2


def linear_rate(epoch: int, epochs: int, start: float) -> float:
    """Linear schedule from `start` at epoch 0 towards 0; gentler in the last five epochs, as in the official code.

    It falls by start / (epochs - 5) an epoch, and by a fifth of that in the last five; with five epochs or fewer by
    start / epochs.
    """
    left = epochs - epoch
    if epochs <= 5:
        return start * left / epochs
    return start * (left - 5) / (epochs - 5) if left > 5 else start * left / (5 * (epochs - 5))


def learning_rate_on(device: torch.device, rate: float) -> float | Tensor:
    """A learning rate for an optimizer: on a GPU a tensor (), so that captured steps read its value from memory."""
    return torch.tensor(rate, dtype=torch.float32, device=device) if device.type == "cuda" else rate


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every parameter group; a tensor is filled in place."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
