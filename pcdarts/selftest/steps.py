"""Part `steps`: steps of the super-networks, eager and captured, the costliest kernels, and a whole search."""

import contextlib
import io
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from pcdarts.architect import Architect
from pcdarts.config import SearchConfig
from pcdarts.fast.fast_supernet import make_supernet
from pcdarts.results import EpochRecord
from pcdarts.search import search
from pcdarts.selftest.bench import Bench
from pcdarts.selftest.official_code import official_supernet
from pcdarts.selftest.results import Verdict
from pcdarts.selftest.searches import failed_captures, graph_option, official_rate, random_images
from pcdarts.supernet import Supernet
from pcdarts.training.cuda_graphs import EAGER_CALLS, CapturedStep

CLASSES = 10
KERNELS = 20
GPU_DAYS = 0.01
"""A whole search on a GPU is expected to take less."""
OFFICIAL_IMAGES = 25_000
"""Images in each half of CIFAR-10's training images."""

Step = Callable[..., tuple[Tensor, ...]]


def run(bench: Bench) -> tuple[Verdict, str]:
    """Time steps and a search; slower than expected on a GPU if the whole search takes more than 0.01 GPU-days."""
    failed = [problem for batch in bench.sizes.batches for problem in _steps(bench, batch)]
    _kernels(bench)
    hours, problem = _whole_search(bench)
    failed += [problem] if problem else []
    if failed:
        return "fail", "; ".join(failed)
    days = hours / 24
    if not bench.on_gpu:
        return "pass", f"a whole search of this small network would take {hours:.2g} hours"
    if days > GPU_DAYS:
        return "slower than expected", f"a whole search takes {days:.3f} GPU-days, more than {GPU_DAYS:g}"
    return "pass", f"a whole search takes {days:.4f} GPU-days, at most {GPU_DAYS:g}"


def _steps(bench: Bench, batch: int) -> list[str]:
    """Add the rows of a batch size; returns what failed of our networks."""
    sizes, failed = bench.sizes, list[str]()
    images = bench.normal(batch, 3, sizes.image_size, sizes.image_size)
    labels = bench.labels(batch)
    warmups = EAGER_CALLS + 1 if bench.on_gpu else 1
    base: dict[str, float] = {}  # eager times of the first network
    kept = []  # captured steps, so that all of them live while others share their memory pool
    for name in ("official", "reference", "fast") if bench.official else ("reference", "fast"):
        for what, make in (_official_steps if name == "official" else _our_steps)(bench, name).items():
            for mode in ("eager", "captured") if bench.on_gpu else ("eager",):
                row: dict[str, Any] = {"network": name, "batch": batch, "step": what, "mode": mode}
                try:
                    step = make()
                    if mode == "captured":
                        step = CapturedStep(step)
                        kept.append(step)
                    printed = io.StringIO()
                    with contextlib.redirect_stdout(printed):  # what a capture that fails prints
                        seconds = bench.seconds(partial(step, images, labels), warmups=warmups)
                    if printed.getvalue():
                        raise RuntimeError(printed.getvalue())
                    row |= {"ms": 1000 * seconds, "images/s": batch / seconds}
                    row["speed"] = base.setdefault(what, seconds) / seconds
                except (RuntimeError, AttributeError, TypeError) as error:
                    row["error"] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                    if name != "official" and not isinstance(error, torch.OutOfMemoryError):
                        failed.append(f"{name}, {what}, {mode}, batch {batch}: {row['error']}")
                bench.add(f"Steps, K = 4, C = {sizes.channels}, {sizes.layers} cells", **row)
    return failed


def _config(bench: Bench, **changes: Any) -> SearchConfig:
    sizes = bench.sizes
    options: dict[str, Any] = {"channels": sizes.channels, "layers": sizes.layers, "device": str(bench.device)}
    return SearchConfig(**options | {"threads": torch.get_num_threads()} | changes)


def _our_steps(bench: Bench, name: str) -> dict[str, Callable[[], Step]]:
    """Functions that make a step of each kind, each with a network of its own."""
    config = _config(bench, implementation=name, **graph_option(bench, True))

    def on_alpha() -> Step:
        supernet = _supernet(bench, config)
        architect = Architect(config, supernet, torch.optim.SGD(supernet.weights().values()))

        def step(images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
            architect.step((images, labels), (images, labels), config.learning_rate)
            return ()

        return step

    def validation() -> Step:
        supernet = _supernet(bench, config).eval()

        @torch.no_grad()
        def step(images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
            return (functional.cross_entropy(supernet(images), labels),)

        return step

    return {"weights": lambda: weight_step(bench, name), "alpha": on_alpha, "validation": validation}


def weight_step(bench: Bench, name: str) -> Step:
    """A weight step of a new network, `reference` or `fast`, from images (N, 3, H, W) and labels (N,)."""
    config = _config(bench, implementation=name, **graph_option(bench, True))
    supernet = _supernet(bench, config)
    return _sgd_step(supernet, list(supernet.weights().values()), config, bench)


def _supernet(bench: Bench, config: SearchConfig) -> Supernet:
    supernet = make_supernet(config, CLASSES, 3, generator=torch.Generator().manual_seed(0))
    return supernet.to(bench.device)


def _official_steps(bench: Bench, name: str) -> dict[str, Callable[[], Step]]:
    assert bench.official is not None
    official, config = bench.official, _config(bench)

    def on_weights() -> Step:
        network = official_supernet(
            official,
            channels=config.channels,
            classes=CLASSES,
            layers=config.layers,
            device=str(bench.device),
        )
        return _sgd_step(network, list(network.parameters()), config, bench)

    return {"weights": on_weights}


def _sgd_step(network: nn.Module, weights: list[nn.Parameter], config: SearchConfig, bench: Bench) -> Step:
    """Forward pass, backward pass, clipping and SGD."""
    optimizer = torch.optim.SGD(
        weights,
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        fused=bench.on_gpu,
    )

    def step(images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        optimizer.zero_grad()
        loss = functional.cross_entropy(network(images), labels)
        loss.backward(inputs=weights)
        nn.utils.clip_grad_norm_(weights, config.gradient_clip)
        optimizer.step()
        return (loss.detach(),)

    return step


def _kernels(bench: Bench) -> None:
    """The costliest kernels of an eager weight step of the fast network; on a CPU the costliest operations."""
    batch = bench.sizes.batches[-1]
    images, labels = bench.normal(batch, 3, bench.sizes.image_size, bench.sizes.image_size), bench.labels(batch)
    step = weight_step(bench, "fast")
    for _ in range(2):
        step(images, labels)
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if bench.on_gpu else [])
    with profile(activities=activities) as profiler:
        step(images, labels)
        if bench.on_gpu:
            torch.cuda.synchronize(bench.device)
    wanted = "CUDA" if bench.on_gpu else "CPU"
    field = "self_device_time_total" if bench.on_gpu else "self_cpu_time_total"
    events = [
        event
        for event in profiler.key_averages()
        if event.device_type.name == wanted and not getattr(event, "is_user_annotation", False)  # they hold kernels
    ]
    total = sum(getattr(event, field) for event in events) or 1.0
    for event in sorted(events, key=lambda event: -getattr(event, field))[:KERNELS]:
        time = getattr(event, field)
        bench.add(
            f"Costliest kernels of a weight step, fast, batch {batch}",
            kernel=event.key[:120],
            calls=event.count,
            ms=time / 1000,
            **{"share, %": 100 * time / total},
        )
    bench.add(
        f"Costliest kernels of a weight step, fast, batch {batch}",
        kernel="all",
        calls=sum(event.count for event in events),
        ms=total / 1000,
        **{"share, %": 100.0},
    )


def _whole_search(bench: Bench) -> tuple[float, str]:
    """Hours of the official search, extrapolated from three epochs on fewer images; and what failed, or ''."""
    sizes, problem = bench.sizes, ""
    hours = math.nan
    for graphs in (False, True) if bench.on_gpu else (False,):
        config = _config(
            bench,
            batch_size=sizes.batches[-1],
            epochs=3,
            warmup_epochs=0,
            eigenvalue_every=3 if bench.on_gpu else 0,  # it takes longer than all the rest on a CPU
            learning_rate=official_rate(sizes.batches[-1]),
            eigenvalue_batch=min(32, sizes.batches[-1]),
            **graph_option(bench, graphs),
        )
        mode = "with graphs" if graphs else "without graphs"
        records: list[EpochRecord] = []
        lines: list[str] = []
        data = random_images(sizes.search_images, sizes.image_size)
        try:
            search(config, data=data, on_epoch=records.append, log=lines.append)
        except RuntimeError as error:
            problem = f"search {mode}: {' '.join(str(error).split())[:300]}"
            bench.add("Parts of a whole search", mode=mode, error=problem)
            continue
        parts = extrapolated(records, sizes.search_images // 2, config.batch_size)
        hours = sum(parts.values()) / 3600
        for part, seconds in parts.items():
            bench.add("Parts of a whole search", mode=mode, part=part, minutes=seconds / 60)
        size = f"C = {sizes.channels}, {sizes.layers} cells, {sizes.image_size} pixels, batch {config.batch_size}"
        bench.costs[f"search, CIFAR-10, 50 epochs, K = 4, {size}, {mode}"] = hours
        for line in lines:
            bench.add("What the searches logged", mode=mode, line=line)
        problem = problem or failed_captures(lines)
    return hours, problem


def extrapolated(records: list[EpochRecord], images: int, batch: int) -> dict[str, float]:
    """Seconds of the parts of the official search, from three epochs with alpha on so many images a half.

    The first epoch also holds what happens once, such as captures; the last one also measures what is measured in
    every second epoch.
    """
    official = SearchConfig()
    scale = math.ceil(OFFICIAL_IMAGES / batch) / math.ceil(images / batch)
    first, second, last = records

    def mean(name: str) -> float:
        return float((getattr(second, name) + getattr(last, name)) / 2)

    eigenvalue, metrics = last.eigenvalue_seconds or 0.0, last.seconds_metrics or 0.0
    measured = official.epochs // official.eigenvalue_every
    return {
        "weights": scale * official.epochs * mean("seconds_weights"),
        "alpha": scale * (official.epochs - official.warmup_epochs) * mean("seconds_alpha"),
        "data": scale * official.epochs * mean("seconds_data"),
        "validation": scale * official.epochs * mean("seconds_validation"),
        "discretized accuracy": scale * measured * max(0.0, metrics - eigenvalue),
        "eigenvalue": measured * eigenvalue,
        "once": max(0.0, first.seconds - second.seconds),
    }
