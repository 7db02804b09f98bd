"""One PC-DARTS search: `search(config) -> SearchResult`.

Bilevel optimization on two halves of the training images (algorithm 1 of DARTS, with the partial channels and edge
weights of PC-DARTS): `weight_step` trains the weights of the super-network on one half by SGD, `alpha_step` updates
alpha and beta on the other by Adam, and `train_epoch` alternates the two.  Alpha and beta are frozen for the first
epochs.  Official settings: `pcdarts.presets.cifar10` and `pcdarts.presets.imagenet`.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pcdarts.architect import Architect
from pcdarts.complexity import count_parameters
from pcdarts.config import SearchConfig, identity, learning_rate_advice
from pcdarts.data.batches import search_batches, spread
from pcdarts.data.datasets import ImageSet
from pcdarts.diagnostics.collapse import Verdict, early_stop_of, stopping, verdicts
from pcdarts.diagnostics.discretization import discretization_columns
from pcdarts.diagnostics.eigenvalue import drawing_from, eigenvalue_columns
from pcdarts.diagnostics.measures import architecture_columns, cell_columns, chosen_columns, norm, time_columns
from pcdarts.fast.fast_supernet import make_supernet
from pcdarts.genotype import Genotype
from pcdarts.results import STOPPED_BY_HAND, EpochRecord, SearchResult
from pcdarts.spaces import SPACES, random_genotype
from pcdarts.supernet import derive_genotype
from pcdarts.training.allocator import keep_freed_memory
from pcdarts.training.checkpoint import CheckpointFile, load_moments
from pcdarts.training.cuda_graphs import CapturedStep, GraphPool, Step, Tensors
from pcdarts.training.device import device_name, peak_memory_bytes, prepare_device, seeded_generator
from pcdarts.training.evaluation import Clock, Meter, Score, evaluate
from pcdarts.training.schedules import cosine_rate, learning_rate_on, set_learning_rate, warmup_rate

GAP_IMAGES = 10_000
"""Images of the training half, at most, on which the super-network is evaluated."""


def search(
    config: SearchConfig,
    *,
    checkpoint: CheckpointFile | None = None,
    data: ImageSet | None = None,
    on_epoch: Callable[[EpochRecord], None] = lambda record: None,
    should_stop: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda message: None,
) -> SearchResult:
    """Search a cell.

    With a checkpoint an interrupted search resumes, and ends bit for bit as if uninterrupted (on a GPU as far as its
    kernels are deterministic).  `on_epoch` gets the epochs before the interruption once more, so a listener needs no
    memory.  Once `should_stop`, which is asked after every epoch, returns true, the search ends with its last cell.
    `data` holds the images that `pcdarts.data.sources.load` returns; with it no file is read.  The method `random`
    reads, trains and saves nothing, and has no epochs.

    Raises ValueError for data or checkpoints that cannot be read; FloatingPointError if loss, alpha or beta are not
    finite and nonfinite_rule finds no sound cell to return.
    """
    if config.method == "random":
        return _random_result(config)
    if config.keep_freed_memory:
        keep_freed_memory()
    state = SearchState(config, data, log=log)
    saved = checkpoint.load(identity(config)) if checkpoint else None
    if saved is not None:
        state.load(saved)
        log(f"resumed after epoch {len(state.history) - 1}")
    for message in notes(config):
        log(message)
    for record in state.history:
        on_epoch(record)
    while not state.ended and not (state.history and should_stop()):
        record = run_epoch(state)
        for message in state.append(record):
            log(f"warning: epoch {record.epoch}: {message}")
        if checkpoint and (len(state.history) % config.checkpoint_every == 0 or state.ended):
            checkpoint.save(state.to_dict())
        on_epoch(state.history[-1])
    if checkpoint and not state.ended and len(state.history) % config.checkpoint_every:  # stopped by hand
        checkpoint.save(state.to_dict())
    return _result(state)


class SearchState:
    """Everything a search resumes from: super-network, optimizers, random generators, data and history."""

    def __init__(
        self, config: SearchConfig, data: ImageSet | None = None, *, log: Callable[[str], None] = lambda message: None
    ) -> None:
        self.config = config
        self.device = prepare_device(config.device, config.threads)
        self.graphs = self._graph_pool(log)  # before all else that computes on a GPU
        self._steps: dict[Callable[..., Tensors], CapturedStep] = {}
        # A generator for each purpose: searches of equal seed see the same images, whatever else differs.
        self.generators = {name: seeded_generator(config.seed, name) for name in ("supernet", "train", "valid")}
        self.train, self.valid = search_batches(config, self.device, data=data)
        self.supernet = make_supernet(
            config, self.train.classes, self.train.image_channels, generator=self.generators["supernet"]
        ).to(self.device)
        if config.channels_last:
            self.supernet.to(memory_format=torch.channels_last)
        if config.compile:
            self.supernet.compile()
        self.optimizer = torch.optim.SGD(
            self.supernet.weights().values(),
            lr=learning_rate_on(self.device, config.learning_rate),
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            fused=True if self.device.type == "cuda" else None,  # other forms would wait for a learning rate on a GPU
        )
        self.architect = Architect(config, self.supernet, self.optimizer)
        self.clock = Clock(self.device)
        self.history: list[EpochRecord] = []
        self.verdicts: list[Verdict] = []
        """Of the collapse rules after the last epoch."""
        self.warnings: list[str] = []
        """Verdicts of all epochs, each sentence once."""

    def _graph_pool(self, log: Callable[[str], None]) -> GraphPool | None:
        """Where steps are captured in CUDA graphs; None on a CPU, and where they are off or not possible."""
        if self.device.type != "cuda" or not self.config.cuda_graphs:
            return None
        if self.config.capture_obstacle:
            log(f"cuda_graphs has no effect: {self.config.capture_obstacle}")
            return None
        return GraphPool(log)

    def run(self, step: Callable[..., Tensors], *inputs: Tensor) -> Tensors:
        """Run a step of the search, `step(self, *inputs)`: from its CUDA graph, captured once a search, if it has one.

        The results are overwritten by the next call.
        """
        if self.graphs is None:
            return step(self, *inputs)
        if step not in self._steps:
            self._steps[step] = CapturedStep(partial(step, self), self.graphs)
        return self._steps[step](*inputs)

    def captured(self, step: Step) -> Step:
        """A step that is not run for the whole search, in a CUDA graph of its own if the search has graphs."""
        return step if self.graphs is None else CapturedStep(step, self.graphs)

    @property
    def ended(self) -> bool:
        """Whether all epochs were trained or a collapse rule stopped the search."""
        return len(self.history) == self.config.epochs or stopping(self.verdicts) is not None

    def append(self, record: EpochRecord) -> list[str]:
        """Add an epoch to the history and apply the collapse rules; returns the warnings that are new."""
        self.verdicts = verdicts(self.config, [*self.history, record])
        found = [str(verdict) for verdict in self.verdicts]
        self.history.append(dataclasses.replace(record, warnings="; ".join(found)))
        new = [warning for warning in found if warning not in self.warnings]
        self.warnings += new
        return new

    def to_dict(self) -> dict[str, Any]:
        """Tensors and plain values, for a checkpoint."""
        return {
            "config": identity(self.config),
            "supernet": self.supernet.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "alpha_optimizer": self.architect.optimizer.state_dict(),
            "generators": {name: generator.get_state() for name, generator in self.generators.items()},
            "history": [dataclasses.asdict(record) for record in self.history],
            "warnings": self.warnings,
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Restore what `to_dict` returned."""
        self.supernet.load_state_dict(saved["supernet"])
        load_moments(self.optimizer, saved["optimizer"])
        load_moments(self.architect.optimizer, saved["alpha_optimizer"])
        self._steps.clear()  # graphs would go on with the moments from before
        for name, generator in self.generators.items():
            generator.set_state(saved["generators"][name])
        self.history = [EpochRecord(**record) for record in saved["history"]]
        self.verdicts = verdicts(self.config, self.history)
        self.warnings = saved["warnings"]


def run_epoch(state: SearchState) -> EpochRecord:
    """Train one epoch, validate and measure; the history stays as it is."""
    config, clock, epoch, started = state.config, state.clock, len(state.history), time.perf_counter()
    rate = learning_rate(config, epoch)
    state.supernet.drop_path = drop_path(config, epoch)
    alpha_trained = epoch >= config.warmup_epochs
    train = train_epoch(state, rate, alpha_trained)
    valid = None
    if config.due(config.validate_every, epoch):
        with clock.part("validation"):
            valid = _evaluated(state, state.valid.in_order(config.batch_size))
    with clock.part("metrics"):
        genotype = derive_genotype(_architecture(state), config.edge_normalization, config.space)
        measures = _measures(state, genotype, valid)
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
        **measures,
        **time_columns(clock.seconds(), len(state.train)),
        seconds=time.perf_counter() - started,
        peak_memory_bytes=peak_memory_bytes(state.device),
    )


def train_epoch(state: SearchState, rate: float, alpha_trained: bool) -> Score:
    """One pass over the training half: a step on alpha and beta, if they are trained, before every step on weights.

    `rate` is the learning rate of the weights.
    """
    config, clock = state.config, state.clock
    set_learning_rate(state.optimizer, rate)
    state.supernet.train()
    valid_batches = clock.over("data", state.valid.stream(config.batch_size, state.generators["valid"]))
    meter = Meter(state.device)
    for images, labels in clock.over("data", state.train.epoch(config.batch_size, state.generators["train"])):
        if alpha_trained:
            valid_images, valid_labels = next(valid_batches)
            with clock.part("alpha"):
                train_batch = (images, labels) if config.order == 2 else ()
                state.run(alpha_step, *train_batch, valid_images, valid_labels)
        with clock.part("weights"):
            loss, logits = state.run(weight_step, images, labels)
            meter.add(loss, logits, labels)
    return meter.score()


def alpha_step(state: SearchState, *batches: Tensor) -> Tensors:
    """One Adam step on alpha and beta; `batches` are training images and labels, then validation images and labels.

    First order needs only the latter.  Second order takes the learning rate of the weights from their optimizer.
    """
    images, labels = batches[:2]
    valid_images, valid_labels = batches[-2:]
    rate = state.optimizer.param_groups[0]["lr"]
    state.architect.step((images, labels), (valid_images, valid_labels), rate)
    return ()


def weight_step(state: SearchState, images: Tensor, labels: Tensor) -> Tensors:
    """One SGD step on the weights from images (N, C, H, W) and labels (N,); the loss () and the logits (N, classes)."""
    weights = list(state.supernet.weights().values())
    state.optimizer.zero_grad()
    logits = state.supernet(images)
    loss = functional.cross_entropy(logits, labels)
    loss.backward(inputs=weights)
    torch.nn.utils.clip_grad_norm_(weights, state.config.gradient_clip)
    state.optimizer.step()
    return loss, logits


def forward_pass(state: SearchState, images: Tensor) -> Tensors:
    """Logits (N, classes) of images (N, C, H, W), in the mode in which the super-network is."""
    return (state.supernet(images),)


def _evaluated(state: SearchState, batches: Iterable[tuple[Tensor, Tensor]]) -> Score:
    """Score of the super-network over batches of images and labels."""
    return evaluate(state.supernet, batches, state.device, forward=partial(state.run, forward_pass))


def _measures(state: SearchState, genotype: Genotype, valid: Score | None) -> dict[str, Any]:
    """Columns that describe alpha, beta, the weights and the derived cells after an epoch; nothing is changed."""
    config, supernet, epoch = state.config, state.supernet, len(state.history)
    before = state.history[-1] if epoch else None
    columns = architecture_columns(_architecture(state), before, genotype, config.edge_normalization, config.space)
    columns["weight_norm"] = norm(list(supernet.weights().values()))
    if config.due(config.eigenvalue_every, epoch):
        columns |= eigenvalue_columns(config, supernet, state.valid)
        if valid is not None:
            halves = (state.train, state.valid)
            columns |= discretization_columns(
                config, supernet, halves, genotype, valid.accuracy, captured=state.captured
            )
            columns |= _gap_columns(state, valid)
    return columns


def _gap_columns(state: SearchState, valid: Score) -> dict[str, float]:
    """Accuracy on images of the training half, measured as on the validation half, and their difference."""
    count = min(GAP_IMAGES, len(state.valid))
    images = state.train.in_order(state.config.batch_size, spread(len(state.train), count))
    with drawing_from(state.supernet, seeded_generator(state.config.seed, "training half")):
        accuracy = _evaluated(state, images).accuracy
    return {"train_accuracy_evaluated": accuracy, "train_valid_gap": accuracy - valid.accuracy}


def _architecture(state: SearchState) -> dict[str, Tensor]:
    return {name: p.detach().double().cpu() for name, p in state.supernet.architecture.named_parameters()}


def learning_rate(config: SearchConfig, epoch: int) -> float:
    """SGD learning rate of an epoch: a linear warm-up replaces the first epochs of the cosine schedule."""
    if epoch < config.learning_rate_warmup_epochs:
        return warmup_rate(epoch, config.learning_rate_warmup_epochs, config.learning_rate)
    return cosine_rate(epoch, config.epochs, config.learning_rate, config.learning_rate_min)


def drop_path(config: SearchConfig, epoch: int) -> float:
    """Probability of dropping a path: a linear ramp from 0 in the first epoch to `config.drop_path` in the last.

    A search of one epoch drops none.
    """
    return config.drop_path * epoch / max(1, config.epochs - 1)


def notes(config: SearchConfig) -> list[str]:
    """Messages for the start of a search: frozen alpha, a slow super-network, an unusual learning rate."""
    if config.method == "random":
        return []
    lines = []
    if config.warmup_epochs:
        lines.append(
            f"alpha and beta are frozen for the first {config.warmup_epochs} of {config.epochs} epochs: "
            f"the genotype does not change before epoch {config.warmup_epochs}"
        )
    if config.implementation == "fast" and (config.space != "darts" or config.drop_path):
        why = f"space {config.space}" if config.space != "darts" else "drop_path"
        lines.append(f"{why}: not supported by the fast super-network; the slower reference one is used")
    advice = learning_rate_advice(config)
    return [*lines, f"warning: {advice}"] if advice else lines


def _result(state: SearchState) -> SearchResult:
    """Cell and measures of the chosen epoch."""
    history = state.history
    stop = stopping(state.verdicts)
    chosen = history[-1] if stop is None or stop.epoch is None else history[stop.epoch]
    until = history[: chosen.epoch + 1]
    changes = [0] + [
        after.epoch
        for before, after in zip(until, until[1:], strict=False)
        if before.genotype_digest != after.genotype_digest
    ]
    seconds = sum(record.seconds for record in history)
    return SearchResult(
        **chosen_columns(history, chosen.epoch),
        supernet_parameters=count_parameters(state.supernet) - count_parameters(state.supernet.architecture),
        epochs_trained=len(history),
        last_genotype_change=changes[-1],
        seconds=seconds,
        peak_memory_bytes=max(record.peak_memory_bytes for record in history),
        device_name=device_name(state.device),
        chosen_epoch=chosen.epoch,
        stop_reason=str(stop) if stop else "" if state.ended else STOPPED_BY_HAND,
        warnings="; ".join(state.warnings),
        early_stop_epoch=early_stop_of(history),
        gpu_days=seconds / 86400 if state.device.type == "cuda" else None,
    )


def _random_result(config: SearchConfig) -> SearchResult:
    started, device = time.perf_counter(), prepare_device(config.device, config.threads)
    genotype = random_genotype(SPACES[config.space], config.seed)
    return SearchResult(
        genotype=str(genotype),
        genotype_digest=genotype.digest,
        train_loss=None,
        train_accuracy=None,
        valid_loss=None,
        valid_accuracy=None,
        supernet_parameters=0,
        epochs_trained=0,
        last_genotype_change=0,
        **cell_columns(genotype),
        seconds=time.perf_counter() - started,
        peak_memory_bytes=peak_memory_bytes(device),
        device_name=device_name(device),
    )
