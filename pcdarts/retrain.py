"""Train the network of a genotype from scratch: `retrain(genotype, config) -> RetrainResult`.

The validation accuracy selects an epoch, without validation images (`validation_portion` 0) the last one; the test set
is evaluated once, at the end, with the weights of that epoch.  In a process group of `torch.distributed`, all workers
call it together: they share every batch, and the result equals that of one worker except for rounding.
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from pcdarts.complexity import network_complexity
from pcdarts.config import RetrainConfig, identity
from pcdarts.data.batches import ImageBatches, retrain_batches
from pcdarts.data.datasets import ImageSet, batch_sizes
from pcdarts.fast.fast_network import FastNetwork
from pcdarts.genotype import Genotype
from pcdarts.network import CellNetwork, leaves_inputs_unused
from pcdarts.results import RetrainEpoch, RetrainResult
from pcdarts.training.allocator import keep_freed_memory
from pcdarts.training.checkpoint import CheckpointFile
from pcdarts.training.device import device_name, peak_memory_bytes, prepare_device, seeded_generator
from pcdarts.training.distributed import ALONE, SharedGenerator, Workers, current_workers, share_batch_norm
from pcdarts.training.evaluation import Meter, Score, evaluate
from pcdarts.training.kept_weights import Averager, Best
from pcdarts.training.schedules import cosine_rate, linear_rate, set_learning_rate, warmup_rate


def retrain(
    genotype: Genotype,
    config: RetrainConfig,
    *,
    checkpoint: CheckpointFile | None = None,
    data: ImageSet | None = None,
    on_epoch: Callable[[RetrainEpoch], None] = lambda record: None,
    log: Callable[[str], None] = lambda message: None,
) -> RetrainResult:
    """Train a network, select the epoch with the best validation accuracy (else the last one), and test it.

    With a checkpoint an interrupted training resumes, and ends bit for bit as if uninterrupted (on a GPU as far as its
    kernels are deterministic).  `on_epoch` gets the epochs before the interruption once more.  `data` is as in
    `pcdarts.search.search`.  With several workers, the first one reads and writes the checkpoint; all of them call
    `on_epoch` and return the result.  Another number of workers can resume it, with other rounding.

    Raises ValueError for data or checkpoints that cannot be read; FloatingPointError if the loss is not finite.
    """
    if config.keep_freed_memory:
        keep_freed_memory()
    state = RetrainState(genotype, config, current_workers(), data)
    first = state.workers.rank == 0
    saved = state.workers.from_first(checkpoint.load(state.identity) if checkpoint and first else None)
    if saved is not None:
        state.load(saved)
        log(f"resumed after epoch {len(state.history) - 1}")
    for message in notes(config):
        log(message)
    for record in state.history:
        on_epoch(record)
    for epoch in range(len(state.history), config.epochs):
        record = _run_epoch(state, epoch)
        state.history.append(record)
        state.keep_best(record)
        if checkpoint and first and ((epoch + 1) % config.checkpoint_every == 0 or epoch + 1 == config.epochs):
            checkpoint.save(state.to_dict())
        on_epoch(record)
    return _result(state)


class RetrainState:
    """Everything a training resumes from: network, optimizer, random generators, data, history and the best weights."""

    def __init__(
        self, genotype: Genotype, config: RetrainConfig, workers: Workers = ALONE, data: ImageSet | None = None
    ) -> None:
        self.genotype, self.config, self.workers = genotype, config, workers
        self.identity = identity(config) | {"genotype": str(genotype)}
        self.device = prepare_device(config.device, config.threads, tf32=config.precision == "tf32")
        self.generators = {name: seeded_generator(config.seed, name) for name in ("network", "train")}
        if workers.count > 1:
            self.generators["network"] = SharedGenerator.of(self.generators["network"], workers)
        self.train, self.valid, self.test = retrain_batches(config, self.device, workers=workers, data=data)
        self.top5 = self.train.classes > 5
        self.network = network_type(config, self.device)(
            genotype,
            channels=config.channels,
            layers=config.layers,
            classes=self.train.classes,
            image_channels=self.train.image_channels,
            stem=config.stem,
            auxiliary=config.auxiliary_weight > 0,
            generator=self.generators["network"],
        ).to(self.device)
        self.network.compiled, self.network.checkpoint_activations = config.compile, config.checkpoint_activations
        if config.channels_last:
            self.network.to_channels_last()
        self.average = Averager(self.network, config.ema_decay) if config.ema_decay else None
        self.forward: nn.Module = _WithAuxiliary(self.network)
        if workers.count > 1:
            share_batch_norm(self.network, self.device)
            self.forward = DistributedDataParallel(self.forward, find_unused_parameters=leaves_inputs_unused(genotype))
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "fp16")
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=config.scaled_learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )
        self.history: list[RetrainEpoch] = []
        self.best, self.ema_best = Best(), Best()

    def keep_best(self, record: RetrainEpoch) -> None:
        """Keep the weights after this epoch, and their moving average, if they are the best so far."""
        self.best.offer(record.epoch, record.valid_accuracy, self.network)
        if self.average is not None:
            self.ema_best.offer(record.epoch, record.ema_valid_accuracy, self.average.network)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Context of the network's passes, for the precision."""
        if self.config.precision in ("fp32", "tf32"):
            return contextlib.nullcontext()
        dtype = torch.bfloat16 if self.config.precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype=dtype)

    def score(self, model: nn.Module, batches: ImageBatches, *, hits: bool = False) -> Score:
        """Score of the network or its average over images without augmentation, by all workers together."""
        with self.autocast():
            images = batches.in_order(self.config.batch_size)
            return evaluate(model, images, self.device, _loss, top5=self.top5, hits=hits, workers=self.workers)

    def test_score(self, model: nn.Module) -> tuple[Score, bytes]:
        """Score over the test images, and which of them are classified correctly: see RetrainResult.test_correct."""
        score = self.score(model, self.test, hits=True)
        assert score.hits is not None
        correct = torch.zeros(len(self.test), dtype=torch.uint8, device=self.device)
        mine = self.workers.rows_of_pass(len(self.test), self.config.batch_size)
        correct[mine.to(self.device)] = score.hits.to(torch.uint8)
        return score, np.packbits(self.workers.add_up(correct).cpu().numpy()).tobytes()

    def to_dict(self) -> dict[str, Any]:
        """Tensors and plain values, for a checkpoint."""
        return {
            "config": self.identity,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generators": {name: generator.get_state() for name, generator in self.generators.items()},
            "history": [dataclasses.asdict(record) for record in self.history],
            "best": dataclasses.asdict(self.best),
        } | self._extras()

    def _extras(self) -> dict[str, Any]:
        """State that only some recipes have."""
        extras: dict[str, Any] = {}
        if self.scaler.is_enabled():
            extras["scaler"] = self.scaler.state_dict()
        if self.average is not None:
            extras["ema"] = {
                "updates": self.average.updates,
                "weights": self.average.network.state_dict(),
                "best": dataclasses.asdict(self.ema_best),
            }
        return extras

    def load(self, saved: dict[str, Any]) -> None:
        """Restore what `to_dict` returned."""
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        for name, generator in self.generators.items():
            generator.set_state(saved["generators"][name])
        self.history = [RetrainEpoch(**record) for record in saved["history"]]
        self.best = Best(**saved["best"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(saved["scaler"])
        if self.average is not None:
            self.average.updates = saved["ema"]["updates"]
            self.average.network.load_state_dict(saved["ema"]["weights"])
            self.ema_best = Best(**saved["ema"]["best"])


def network_type(config: RetrainConfig, device: torch.device) -> type[CellNetwork]:
    """The class that computes the network's training steps."""
    fast = config.implementation == "fast" and config.precision == "fp32" and not config.compile
    # Below DistributedDataParallel the fast one corrupted memory in its backward pass on one processor.
    alone = not torch.distributed.is_initialized()
    return FastNetwork if fast and alone and device.type == "cpu" else CellNetwork


class _WithAuxiliary(nn.Module):
    """The forward pass of a training step as a module, for DistributedDataParallel."""

    def __init__(self, network: CellNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.network.forward_with_auxiliary(images)


def _run_epoch(state: RetrainState, epoch: int) -> RetrainEpoch:
    config, started = state.config, time.perf_counter()
    rate = learning_rate(config, epoch)
    set_learning_rate(state.optimizer, rate)
    state.network.drop_path = config.drop_path * epoch / config.epochs
    train = _train_epoch(state)
    if not math.isfinite(train.loss):
        raise FloatingPointError(f"training loss is {train.loss} in epoch {epoch}; lower learning_rate ({rate:.3g})")
    valid = averaged = None
    if state.valid is not None:
        valid = state.score(state.network, state.valid)
        averaged = None if state.average is None else state.score(state.average, state.valid)
    return RetrainEpoch(
        epoch=epoch,
        learning_rate=rate,
        train_loss=train.loss,
        train_accuracy=train.accuracy,
        valid_loss=valid and valid.loss,
        valid_accuracy=valid and valid.accuracy,
        seconds=time.perf_counter() - started,
        train_top5=train.top5,
        valid_top5=valid and valid.top5,
        ema_valid_loss=averaged and averaged.loss,
        ema_valid_accuracy=averaged and averaged.accuracy,
        ema_valid_top5=averaged and averaged.top5,
    )


def _train_epoch(state: RetrainState) -> Score:
    config, network, workers = state.config, state.network, state.workers
    state.forward.train()
    meter = Meter(state.device, top5=state.top5)
    batches = state.train.epoch(config.batch_size, state.generators["train"])
    sizes = batch_sizes(len(state.train), config.batch_size)  # images of the batches on all workers
    for (images, labels), whole in zip(batches, sizes, strict=True):
        if isinstance(state.generators["network"], SharedGenerator):
            state.generators["network"].images = whole
        state.optimizer.zero_grad()
        with state.autocast():
            logits, auxiliary = state.forward(images)
        share = None if workers.count == 1 else whole / workers.count
        loss = _loss(logits, labels, config.label_smoothing, share)
        total = loss
        if auxiliary is not None:
            total = loss + config.auxiliary_weight * _loss(auxiliary, labels, config.label_smoothing, share)
        state.scaler.scale(total).backward()
        state.scaler.unscale_(state.optimizer)
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        if state.average is not None:
            state.average.update()
        meter.add(loss, logits, labels, share)
    return meter.score(workers)


def _loss(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0, share: float | None = None) -> Tensor:
    """Mean cross-entropy, in at least single precision.

    `share` is the mean number of images per worker.  The sum over this worker's images is divided by it, so that the
    mean over the workers, which DistributedDataParallel takes of the gradients, is the mean over all images.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    if share is None:
        return functional.cross_entropy(wide, labels, label_smoothing=label_smoothing)
    return functional.cross_entropy(wide, labels, label_smoothing=label_smoothing, reduction="sum") / share


def notes(config: RetrainConfig) -> list[str]:
    """Messages for the start of a training."""
    lines = []
    if config.scaled_learning_rate != config.learning_rate:
        lines.append(
            f"learning rate {config.scaled_learning_rate:g}: scaled linearly from {config.learning_rate:g} at batch "
            f"size {config.learning_rate_batch} to batch size {config.batch_size}"
        )
    if config.ema_decay:
        lines.append(
            f"a moving average of the weights (decay {config.ema_decay:g}) is evaluated as well; the official recipes "
            "have none"
        )
    if not config.validation_portion:
        lines.append("validation_portion 0: all training images are trained on, and the last epoch is tested")
    if config.precision != "fp32":
        lines.append(
            f"precision {config.precision}: results differ from those of fp32 by more than rounding, and what that "
            "costs in accuracy is not known"
        )
    return lines


def learning_rate(config: RetrainConfig, epoch: int) -> float:
    """SGD learning rate of an epoch: a linear warm-up replaces the first epochs of the schedule."""
    if epoch < config.learning_rate_warmup_epochs:
        return warmup_rate(epoch, config.learning_rate_warmup_epochs, config.scaled_learning_rate)
    schedule = cosine_rate if config.schedule == "cosine" else linear_rate
    return schedule(epoch, config.epochs, config.scaled_learning_rate)


def _result(state: RetrainState) -> RetrainResult:
    last, best = state.history[-1], state.history[state.best.epoch]
    state.network.load_state_dict(state.best.weights)
    test, test_correct = state.test_score(state.network)
    complexity = network_complexity(state.genotype, state.config)
    return RetrainResult(
        best_epoch=best.epoch,
        train_loss=last.train_loss,
        train_accuracy=last.train_accuracy,
        valid_accuracy=best.valid_accuracy,
        test_loss=test.loss,
        test_accuracy=test.accuracy,
        network_parameters=complexity.parameters,
        network_macs=complexity.macs,
        epochs_trained=len(state.history),
        seconds=sum(record.seconds for record in state.history),
        peak_memory_bytes=peak_memory_bytes(state.device),
        device_name=device_name(state.device),
        valid_top5=best.valid_top5,
        test_top5=test.top5,
        workers=state.workers.count,
        training_images=len(state.train),
        validation_images=0 if state.valid is None else len(state.valid),
        test_images=len(state.test),
        **{"test_correct": test_correct} | _averaged_columns(state),
    )


def _averaged_columns(state: RetrainState) -> dict[str, Any]:
    """Columns of the averaged weights, tested once like the raw ones; empty without averaging.

    `test_correct` is among them if these weights are the chosen ones.
    """
    if state.average is None or state.ema_best.epoch < 0:
        return {}
    state.average.network.load_state_dict(state.ema_best.weights)
    (test, test_correct), best = state.test_score(state.average), state.history[state.ema_best.epoch]
    chosen = state.ema_best.accuracy > state.best.accuracy
    columns = {
        "ema_best_epoch": best.epoch,
        "ema_valid_accuracy": best.ema_valid_accuracy,
        "ema_valid_top5": best.ema_valid_top5,
        "ema_test_loss": test.loss,
        "ema_test_accuracy": test.accuracy,
        "ema_test_top5": test.top5,
        "chosen_weights": "ema" if chosen else "raw",
    }
    return columns | ({"test_correct": test_correct} if chosen else {})
