"""One PC-DARTS search, start to end: `search(config) -> SearchResult`.  To be read beside the paper.

Bilevel optimization on two halves of the training images: SGD trains the weights of the super-network on one, Adam
moves alpha and beta on the other (algorithm 1 of DARTS, with the partial channels and edge weights of PC-DARTS).
Alpha and beta are frozen for the first epochs.  Official settings: `pcdarts.presets.cifar10` and `imagenet`.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pcdarts.architect import Architect
from pcdarts.checkpoint import CheckpointFile
from pcdarts.complexity import count_parameters
from pcdarts.config import SearchConfig, identity, learning_rate_advice
from pcdarts.data import search_batches
from pcdarts.fast_supernet import FastSupernet
from pcdarts.results import EpochRecord, SearchResult
from pcdarts.supernet import EDGES_INTO, Supernet, derive_genotype, softmax_into_nodes
from pcdarts.training import (
    Meter,
    Score,
    cosine_rate,
    device_name,
    evaluate,
    peak_memory_bytes,
    prepare_device,
    seeded_generator,
    set_learning_rate,
    warmup_rate,
)


def search(
    config: SearchConfig,
    *,
    checkpoint: CheckpointFile | None = None,
    on_epoch: Callable[[EpochRecord], None] = lambda record: None,
    log: Callable[[str], None] = lambda message: None,
) -> SearchResult:
    """Search a cell.

    With a checkpoint the search goes on where the checkpoint was written, and ends bit for bit where it would have
    ended uninterrupted; epochs done before are reported to `on_epoch` once more, so that a listener needs no memory.
    Raises ValueError for data or checkpoints that cannot be read, FloatingPointError where the loss is not finite.
    """
    state = SearchState(config)
    saved = checkpoint.load(identity(config)) if checkpoint else None
    if saved is not None:
        state.load(saved)
        log(f"resumed after epoch {len(state.history) - 1}")
    for message in notes(config):
        log(message)
    for record in state.history:
        on_epoch(record)
    for epoch in range(len(state.history), config.epochs):
        state.history.append(_run_epoch(state, epoch))
        if checkpoint and ((epoch + 1) % config.checkpoint_every == 0 or epoch + 1 == config.epochs):
            checkpoint.save(state.to_dict())
        on_epoch(state.history[-1])
    return _result(state)


class SearchState:
    """All that a search needs to go on: super-network, optimizers, random generators, data and history."""

    def __init__(self, config: SearchConfig) -> None:
        self.config = config
        self.device = prepare_device(config.device, config.threads)
        # One generator a purpose: searches of equal seed see the same images, whatever else differs.
        self.generators = {name: seeded_generator(config.seed, name) for name in ("supernet", "train", "valid")}
        self.train, self.valid = search_batches(config, self.device)
        implementation = FastSupernet if config.implementation == "fast" else Supernet
        self.supernet = implementation(
            config, self.train.classes, self.train.image_channels, generator=self.generators["supernet"]
        ).to(self.device)
        self.optimizer = torch.optim.SGD(
            self.supernet.weights().values(),
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )
        self.architect = Architect(config, self.supernet, self.optimizer)
        self.history: list[EpochRecord] = []

    def to_dict(self) -> dict[str, Any]:
        """Tensors and plain values, for a checkpoint."""
        return {
            "config": identity(self.config),
            "supernet": self.supernet.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "alpha_optimizer": self.architect.optimizer.state_dict(),
            "generators": {name: generator.get_state() for name, generator in self.generators.items()},
            "history": [dataclasses.asdict(record) for record in self.history],
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Take over what `to_dict` gave."""
        self.supernet.load_state_dict(saved["supernet"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.architect.optimizer.load_state_dict(saved["alpha_optimizer"])
        for name, generator in self.generators.items():
            generator.set_state(saved["generators"][name])
        self.history = [EpochRecord(**record) for record in saved["history"]]


def _run_epoch(state: SearchState, epoch: int) -> EpochRecord:
    config, started = state.config, time.perf_counter()
    rate = learning_rate(config, epoch)
    set_learning_rate(state.optimizer, rate)
    alpha_trained = epoch >= config.warmup_epochs
    train = _train_epoch(state, rate, alpha_trained)
    if not math.isfinite(train.loss):
        raise FloatingPointError(f"training loss is {train.loss} in epoch {epoch}; lower learning_rate ({rate:.3g})")
    measured = (epoch + 1) % config.validate_every == 0 or epoch + 1 == config.epochs
    valid = evaluate(state.supernet, state.valid.in_order(config.batch_size), state.device) if measured else None
    genotype = derive_genotype(_architecture(state), config.edge_normalization)
    return EpochRecord(
        epoch=epoch,
        alpha_trained=alpha_trained,
        learning_rate=rate,
        train_loss=train.loss,
        train_accuracy=train.accuracy,
        valid_loss=valid and valid.loss,
        valid_accuracy=valid and valid.accuracy,
        genotype=str(genotype),
        genotype_digest=genotype.digest,
        **_architecture_columns(_architecture(state)),
        skip_connections_normal=genotype.count("skip_connect")[0],
        skip_connections_reduce=genotype.count("skip_connect")[1],
        seconds=time.perf_counter() - started,
        peak_memory_bytes=peak_memory_bytes(state.device),
    )


def _train_epoch(state: SearchState, rate: float, alpha_trained: bool) -> Score:
    """One pass over the training half: before every step on the weights, one on alpha and beta."""
    config = state.config
    state.supernet.train()
    valid_batches = state.valid.stream(config.batch_size, state.generators["valid"])
    meter = Meter(state.device)
    for images, labels in state.train.epoch(config.batch_size, state.generators["train"]):
        if alpha_trained:
            state.architect.step((images, labels), next(valid_batches), rate)
        loss, logits = weight_step(state, images, labels)
        meter.add(loss, logits, labels)
    return meter.score()


def weight_step(state: SearchState, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """One SGD step on the weights from images (N, C, H, W) and labels (N,); the loss () and the logits (N, classes)."""
    weights = list(state.supernet.weights().values())
    state.optimizer.zero_grad()
    logits = state.supernet(images)
    loss = functional.cross_entropy(logits, labels)
    loss.backward(inputs=weights)
    torch.nn.utils.clip_grad_norm_(weights, state.config.gradient_clip)
    state.optimizer.step()
    return loss, logits


def learning_rate(config: SearchConfig, epoch: int) -> float:
    """SGD learning rate of an epoch: a linear warm-up takes the place of the cosine's first epochs."""
    if epoch < config.learning_rate_warmup_epochs:
        return warmup_rate(epoch, config.learning_rate_warmup_epochs, config.learning_rate)
    return cosine_rate(epoch, config.epochs, config.learning_rate, config.learning_rate_min)


def _architecture(state: SearchState) -> dict[str, Tensor]:
    return {name: p.detach().double().cpu() for name, p in state.supernet.architecture.named_parameters()}


def notes(config: SearchConfig) -> list[str]:
    """What people should know before a search starts: frozen alpha, an unusual learning rate."""
    lines = []
    if config.warmup_epochs:
        lines.append(
            f"alpha and beta are frozen for the first {config.warmup_epochs} of {config.epochs} epochs: "
            f"until epoch {config.warmup_epochs} the genotype does not change"
        )
    advice = learning_rate_advice(config)
    return [*lines, f"warning: {advice}"] if advice else lines


def _result(state: SearchState) -> SearchResult:
    last, history = state.history[-1], state.history
    assert last.valid_loss is not None and last.valid_accuracy is not None
    changes = [0] + [
        after.epoch
        for before, after in zip(history, history[1:], strict=False)
        if before.genotype_digest != after.genotype_digest
    ]
    return SearchResult(
        genotype=last.genotype,
        genotype_digest=last.genotype_digest,
        train_loss=last.train_loss,
        train_accuracy=last.train_accuracy,
        valid_loss=last.valid_loss,
        valid_accuracy=last.valid_accuracy,
        supernet_parameters=count_parameters(state.supernet) - count_parameters(state.supernet.architecture),
        epochs_trained=len(history),
        last_genotype_change=changes[-1],
        skip_connections_normal=last.skip_connections_normal,
        skip_connections_reduce=last.skip_connections_reduce,
        seconds=sum(record.seconds for record in history),
        peak_memory_bytes=max(record.peak_memory_bytes for record in history),
        device_name=device_name(state.device),
    )
