"""Data-parallel training on the same global batches: which worker computes which images, and what they exchange.

Workers are the processes of a `torch.distributed` group set up by the caller; without a group there is one worker.
Every worker draws order, augmentation and dropped paths of the whole batch from equal generators and keeps its rows, so
any number of workers sees the same images.  Batch norm averages over the whole batch.  Results differ only by rounding,
as sums are taken in another order.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Rank and size of the group that this process belongs to."""

    rank: int = 0
    """Rank of this worker; rank 0 writes checkpoints."""
    count: int = 1
    """Number of workers."""

    def rows(self, images: int) -> slice:
        """Rows of a batch of `images` images that this worker computes; shares differ by at most one image."""
        return slice(self.rank * images // self.count, (self.rank + 1) * images // self.count)

    def rows_of_pass(self, images: int, batch_size: int) -> Tensor:
        """Indices (M,) of the images that this worker computes in a pass over `images` images in batches."""
        return torch.cat([batch[self.rows(len(batch))] for batch in torch.arange(images).split(batch_size)])

    def add_up(self, values: Tensor) -> Tensor:
        """The sum over all workers, the same for each; no gradient."""
        if self.count > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def from_first(self, value: Any) -> Any:
        """Broadcast the value of worker 0: tensors on the CPU and plain values."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]


ALONE = Workers()


def current_workers() -> Workers:
    """The workers of the default process group of `torch.distributed`, or one alone."""
    if not (dist.is_available() and dist.is_initialized()):
        return ALONE
    return Workers(rank=dist.get_rank(), count=dist.get_world_size())


class SharedGenerator(torch.Generator):
    """A CPU generator that draws for the images of a whole batch, of which this worker keeps its rows."""

    workers: Workers = ALONE
    images: int = 0
    """Images in the whole batch; set before every step."""

    @classmethod
    def of(cls, generator: torch.Generator, workers: Workers) -> "SharedGenerator":
        """A shared generator that continues from the state of `generator`."""
        shared = cls()
        shared.set_state(generator.get_state())
        shared.workers = workers
        return shared


class _Sum(torch.autograd.Function):
    """Sum over all workers; its gradient is summed as well."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm with the mean and variance over the images of all workers, on any device.

    PyTorch's own SyncBatchNorm needs a GPU.  Statistics are computed in at least single precision.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W), N may be 0, to normalized ones."""
        if not self.training:
            return super().forward(x)
        wide = x if x.dtype == torch.float64 else x.float()
        count = wide.new_full((1,), x.numel() // x.shape[1])
        sums: Tensor = _Sum.apply(torch.cat([wide.sum(dim=(0, 2, 3)), count]))
        total = sums[-1].detach()
        mean = sums[:-1] / total
        centered = wide - mean[:, None, None]
        variance: Tensor = _Sum.apply(centered.square().sum(dim=(0, 2, 3))) / total
        y = centered * (variance + self.eps).rsqrt()[:, None, None]
        if self.weight is not None:
            y = y * self.weight[:, None, None] + self.bias[:, None, None]
        self._track(mean.detach(), variance.detach() * total / (total - 1))
        return y.to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var), self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


def share_batch_norm(network: nn.Module, device: torch.device) -> nn.Module:
    """Make all batch norms average over the workers, keeping parameters and buffers under their names.

    PyTorch's SyncBatchNorm on a GPU (not yet run on one), `SharedBatchNorm` elsewhere.
    """
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SharedBatchNorm  # same parameters, same buffers, another forward
    return network
