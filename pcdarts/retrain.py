"""Train the network of a genotype from scratch: `retrain(genotype, config) -> RetrainResult`.

Validation images pick the epoch; the test set is touched once, at the end, with that epoch's weights.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pcdarts.checkpoint import CheckpointFile
from pcdarts.complexity import network_complexity
from pcdarts.config import RetrainConfig, identity
from pcdarts.data import retrain_batches
from pcdarts.genotype import Genotype
from pcdarts.network import CellNetwork
from pcdarts.results import RetrainEpoch, RetrainResult
from pcdarts.training import (
    Meter,
    Score,
    cosine_rate,
    device_name,
    evaluate,
    linear_rate,
    peak_memory_bytes,
    prepare_device,
    seeded_generator,
    set_learning_rate,
    warmup_rate,
)


def retrain(
    genotype: Genotype,
    config: RetrainConfig,
    *,
    checkpoint: CheckpointFile | None = None,
    on_epoch: Callable[[RetrainEpoch], None] = lambda record: None,
    log: Callable[[str], None] = lambda message: None,
) -> RetrainResult:
    """Train, pick the best epoch by validation accuracy, test it.

    With a checkpoint the training goes on where the checkpoint was written, and ends bit for bit where it would have
    ended uninterrupted; epochs done before are reported to `on_epoch` once more.  Raises ValueError for data or
    checkpoints that cannot be read, FloatingPointError where the loss is not finite.
    """
    state = RetrainState(genotype, config)
    saved = checkpoint.load(state.identity) if checkpoint else None
    if saved is not None:
        state.load(saved)
        log(f"resumed after epoch {len(state.history) - 1}")
    for record in state.history:
        on_epoch(record)
    for epoch in range(len(state.history), config.epochs):
        record = _run_epoch(state, epoch)
        state.history.append(record)
        if record.valid_accuracy > state.best_accuracy:
            state.keep_best(record)
        if checkpoint and ((epoch + 1) % config.checkpoint_every == 0 or epoch + 1 == config.epochs):
            checkpoint.save(state.to_dict())
        on_epoch(record)
    return _result(state)


class RetrainState:
    """All that a training needs to go on: network, optimizer, random generators, data, history, the best weights."""

    def __init__(self, genotype: Genotype, config: RetrainConfig) -> None:
        self.genotype, self.config = genotype, config
        self.identity = identity(config) | {"genotype": str(genotype)}
        self.device = prepare_device(config.device, config.threads)
        self.generators = {name: seeded_generator(config.seed, name) for name in ("network", "train")}
        self.train, self.valid, self.test = retrain_batches(config, self.device)
        self.network = CellNetwork(
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
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )
        self.history: list[RetrainEpoch] = []
        self.best_epoch, self.best_accuracy = -1, -math.inf
        self.best_weights: dict[str, Tensor] = {}

    def keep_best(self, record: RetrainEpoch) -> None:
        """Remember the weights of this epoch as the best so far."""
        self.best_epoch, self.best_accuracy = record.epoch, record.valid_accuracy
        self.best_weights = {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    def to_dict(self) -> dict[str, Any]:
        """Tensors and plain values, for a checkpoint."""
        return {
            "config": self.identity,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generators": {name: generator.get_state() for name, generator in self.generators.items()},
            "history": [dataclasses.asdict(record) for record in self.history],
            "best": {"epoch": self.best_epoch, "accuracy": self.best_accuracy, "weights": self.best_weights},
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Take over what `to_dict` gave."""
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        for name, generator in self.generators.items():
            generator.set_state(saved["generators"][name])
        self.history = [RetrainEpoch(**record) for record in saved["history"]]
        best = saved["best"]
        self.best_epoch, self.best_accuracy, self.best_weights = best["epoch"], best["accuracy"], best["weights"]


def _run_epoch(state: RetrainState, epoch: int) -> RetrainEpoch:
    config, started = state.config, time.perf_counter()
    rate = learning_rate(config, epoch)
    set_learning_rate(state.optimizer, rate)
    state.network.drop_path = config.drop_path * epoch / config.epochs
    train = _train_epoch(state)
    if not math.isfinite(train.loss):
        raise FloatingPointError(f"training loss is {train.loss} in epoch {epoch}; lower learning_rate ({rate:.3g})")
    valid = evaluate(state.network, state.valid.in_order(config.batch_size), state.device)
    return RetrainEpoch(
        epoch=epoch,
        learning_rate=rate,
        train_loss=train.loss,
        train_accuracy=train.accuracy,
        valid_loss=valid.loss,
        valid_accuracy=valid.accuracy,
        seconds=time.perf_counter() - started,
    )


def _train_epoch(state: RetrainState) -> Score:
    config, network = state.config, state.network.train()
    meter = Meter(state.device)
    for images, labels in state.train.epoch(config.batch_size, state.generators["train"]):
        state.optimizer.zero_grad()
        logits, auxiliary = network.forward_with_auxiliary(images)
        loss = functional.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
        total = loss
        if auxiliary is not None:
            extra = functional.cross_entropy(auxiliary, labels, label_smoothing=config.label_smoothing)
            total = loss + config.auxiliary_weight * extra
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
        state.optimizer.step()
        meter.add(loss, logits, labels)
    return meter.score()


def learning_rate(config: RetrainConfig, epoch: int) -> float:
    """SGD learning rate of an epoch: a linear warm-up takes the place of the schedule's first epochs."""
    if epoch < config.learning_rate_warmup_epochs:
        return warmup_rate(epoch, config.learning_rate_warmup_epochs, config.learning_rate)
    schedule = cosine_rate if config.schedule == "cosine" else linear_rate
    return schedule(epoch, config.epochs, config.learning_rate)


def _result(state: RetrainState) -> RetrainResult:
    last, best = state.history[-1], state.history[state.best_epoch]
    state.network.load_state_dict(state.best_weights)
    test = evaluate(state.network, state.test.in_order(state.config.batch_size), state.device)
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
    )
