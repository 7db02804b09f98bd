"""Part `memory`: the predicted memory of a search against what it takes."""

import gc
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from pcdarts.config import SearchConfig
from pcdarts.data.datasets import DATASETS
from pcdarts.diagnostics.memory import predict_memory, step_bytes
from pcdarts.fast.fast_supernet import make_supernet
from pcdarts.search import search
from pcdarts.selftest.bench import Bench
from pcdarts.selftest.results import Verdict
from pcdarts.selftest.searches import graph_option, random_images
from pcdarts.training.device import GPU_CONTEXT

TOLERANCE = 0.15
"""Largest relative error of a prediction."""
SETTINGS: dict[str, dict[str, Any]] = {
    "K = 4": {"k": 4},
    "K = 4, spatial stride 2": {"k": 4, "spatial_stride": 2},
    "K = 1": {"k": 1},
}


def run(bench: Bench) -> tuple[Verdict, str]:
    """Compare predictions with peaks: of the allocator on a GPU, of the live tensors of a weight step on a CPU."""
    errors = _gpu(bench) if bench.on_gpu else _cpu(bench)
    wrong = {name: error for name, error in errors.items() if not abs(error) <= TOLERANCE}
    if wrong:
        return "fail", "predictions are wrong: " + "; ".join(f"{name} {error:+.0%}" for name, error in wrong.items())
    return "pass", f"predictions are within {max(abs(error) for error in errors.values()):.0%} of what was measured"


def _add(bench: Bench, setting: str, what: str, predicted: float, measured: float) -> float:
    error = predicted / measured - 1
    row = {"predicted, MB": predicted / 1e6, "measured, MB": measured / 1e6, "error, %": 100 * error}
    bench.add("Peak memory of a search", setting=setting, what=what, **row)
    return error


def _cpu(bench: Bench) -> dict[str, float]:
    """Bytes of all tensors that live at the peak of a weight step."""
    sizes, errors = bench.sizes, {}
    batch = sizes.batches[-1]
    images, labels = bench.normal(batch, 3, 32, 32), bench.labels(batch)
    for name, options in list(SETTINGS.items())[:2]:
        options = {"channels": sizes.channels, "layers": sizes.layers, "batch_size": batch} | options
        config = SearchConfig(**options, eigenvalue_every=0)
        supernet = make_supernet(config, 10, 3, generator=torch.Generator().manual_seed(0))
        weights = list(supernet.weights().values())

        def step(supernet: Any = supernet, weights: Any = weights) -> None:
            functional.cross_entropy(supernet(images), labels).backward(inputs=weights)

        step()  # cached matrices would count in the first step only
        supernet.zero_grad()
        _, live = step_bytes(step, [*supernet.parameters(), *supernet.buffers()])
        prediction = predict_memory(config)
        assert prediction is not None
        errors[name] = _add(bench, name, "live tensors", prediction.kept + prediction.temporary, live)
    return errors


def _gpu(bench: Bench) -> dict[str, float]:
    """Peaks of PyTorch's allocator in searches of a few steps, and what the process takes outside of it."""
    sizes, errors = bench.sizes, {}
    batch = sizes.batches[-1]
    images = 2 * sizes.memory_batches * batch
    for graphs in (False, True):  # graphs last: their pools may outlive a search
        for name, options in SETTINGS.items():
            if name == "K = 1" and graphs:
                continue
            config = SearchConfig(
                channels=sizes.channels,
                layers=sizes.layers,
                batch_size=batch,
                epochs=2,
                warmup_epochs=0,
                eigenvalue_every=0,
                max_images=images,
                device=str(bench.device),
                threads=torch.get_num_threads(),
                **options | graph_option(bench, graphs),
            )
            prediction = predict_memory(config, gpu=True)
            assert prediction is not None
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(bench.device)
            before = torch.cuda.memory_reserved(bench.device)
            search(config, data=random_images(images, DATASETS["cifar10"].image_size[0]))
            setting = f"{name}, {'with' if graphs else 'without'} graphs"
            measured = partial(_add, bench, setting)
            allocated = torch.cuda.max_memory_allocated(bench.device)
            reserved = torch.cuda.max_memory_reserved(bench.device)
            errors[f"{setting}, allocated"] = measured("allocated", prediction.allocated, allocated)
            errors[f"{setting}, reserved"] = measured("reserved", prediction.reserved, reserved)
            bench.add("Left over by searches before", setting=setting, **{"reserved before, MB": before / 1e6})
    free, total = torch.cuda.mem_get_info(bench.device)
    outside = total - free - torch.cuda.memory_reserved(bench.device)
    row = {"assumed, MB": GPU_CONTEXT / 1e6, "measured, MB": outside / 1e6}
    bench.add("Outside PyTorch's allocator: context, libraries, graphs, and other processes", **row)
    return errors
