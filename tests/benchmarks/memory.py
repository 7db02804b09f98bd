"""Predicted memory of a search against what its real steps take.

    python -m tests.benchmarks.memory [--batch 32] [--threads 2]

"kept" is what autograd keeps for the backward pass of the largest step, plus weights; "live" all tensors that the step
makes and that live at one time.  "resident" is what the process grows by, from before the super-network is made to the
peak of one step of each kind: for information, as the allocator and the kernels' workspaces are part of it.  Every
configuration is measured in a process of its own, on files in CIFAR-10's format that hold noise.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pcdarts.config import SearchConfig
from pcdarts.diagnostics import eigenvalue as stability
from pcdarts.diagnostics.eigenvalue import dominant_eigenvalue
from pcdarts.diagnostics.memory import predict_memory, step_bytes
from pcdarts.search import SearchState, weight_step
from pcdarts.training.device import peak_memory_bytes
from tests.benchmarks.epoch import write_cifar10
from tests.benchmarks.supernet import processor

NO_EIGENVALUE = {"eigenvalue_every": 0}
CONFIGS: tuple[dict[str, Any], ...] = (
    NO_EIGENVALUE,
    {"k": 1, **NO_EIGENVALUE},
    {"k": 2, **NO_EIGENVALUE},
    {"channels": 32, **NO_EIGENVALUE},
    {"stem": "imagenet", **NO_EIGENVALUE},
    {"side_operation": "conv_1x1", **NO_EIGENVALUE},
    {"spatial_stride": 2, **NO_EIGENVALUE},
    {"implementation": "reference", **NO_EIGENVALUE},
    {"order": 2, "spatial_stride": 2, **NO_EIGENVALUE},
    {},
)
COLUMNS = "| configuration | largest step | kept MB | predicted | ratio | live MB | predicted | ratio | resident MB |"


def real_steps(state: SearchState) -> dict[str, Callable[[], object]]:
    """One step of each kind that a search does, on its real images, by its name in a `MemoryPrediction`."""
    config, generator = state.config, torch.Generator().manual_seed(0)
    train, valid = (next(part.stream(config.batch_size, generator)) for part in (state.train, state.valid))
    steps: dict[str, Callable[[], object]] = {
        "weights": lambda: weight_step(state, *train),
        "alpha": lambda: state.architect.step(train, valid, 0.1),
    }
    if config.eigenvalue_every:
        some = next(state.valid.stream(config.eigenvalue_batch, generator))
        steps["eigenvalue"] = lambda: dominant_eigenvalue(state.supernet, *some, tolerance=10.0, generator=generator)
    return steps


def measure_steps(state: SearchState) -> dict[str, tuple[int, int]]:
    """Bytes kept, and bytes of all tensors that live at one time, of one step of each kind."""
    tensors = [*state.supernet.parameters(), *state.supernet.buffers()]
    return {name: step_bytes(step, tensors) for name, step in real_steps(state).items()}


def measure(config: SearchConfig) -> dict[str, Any]:
    """The row of a configuration, without its predictions, bytes."""
    stability.KRYLOV_DIMENSION = 2  # a few products instead of many, which take as much each
    SearchState(dataclasses.replace(config, channels=4, k=1, layers=3))  # imports and the data come before
    before = _resident()
    state = SearchState(config)
    for step in real_steps(state).values():
        step()
    resident = peak_memory_bytes(state.device) - before
    counts = measure_steps(state)
    largest = max(counts, key=lambda name: counts[name][1])
    weights = sum(t.nbytes for t in (*state.supernet.parameters(), *state.supernet.buffers()))
    return {"step": largest, "kept": counts[largest][0] + weights, "live": counts[largest][1], "resident": resident}


def _resident() -> int:
    """Resident size of this process now, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def row(config: SearchConfig, name: str) -> str:
    """A row of the table: measured in another process, predicted here."""
    command = [sys.executable, "-m", "tests.benchmarks.memory", "--one", json.dumps(dataclasses.asdict(config))]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    predicted = predict_memory(config)
    assert predicted is not None
    kept, live = predicted.kept + predicted.weights, predicted.kept + predicted.temporary
    return (
        f"| {name} | {found['step']} | {found['kept'] / 1e6:.1f} | {kept / 1e6:.1f} | {kept / found['kept']:.3f} "
        f"| {found['live'] / 1e6:.1f} | {live / 1e6:.1f} | {live / found['live']:.3f} | {found['resident'] / 1e6:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", metavar="JSON", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(SearchConfig(**json.loads(args.one)))))
        return
    torch.set_num_threads(args.threads)
    print(f"{processor()}, {args.threads} threads, torch {torch.__version__}, C = 16, 8 layers, batch {args.batch}\n")
    print(COLUMNS, "|---" * COLUMNS.count(" | ") + "|---|", sep="\n")
    with tempfile.TemporaryDirectory() as data:
        write_cifar10(Path(data, "cifar-10-batches-py"), 4 * args.batch)
        common = SearchConfig(
            data_dir=data, batch_size=args.batch, eigenvalue_batch=args.batch, threads=args.threads, device="cpu"
        )
        for changes in CONFIGS:
            name = ", ".join(f"{field}={value}" for field, value in changes.items()) or "defaults"
            print(row(dataclasses.replace(common, **changes), name), flush=True)


if __name__ == "__main__":
    main()
