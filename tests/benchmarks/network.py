"""Seconds and memory of a retraining step: the official network, the reference and the fast one, taking turns.

    python -m tests.benchmarks.network [--official DIR] [--genotype PC_DARTS_cifar ...] [--batch 16 64] [--layers 8]

All do equal work: forward pass with dropped paths and auxiliary head, backward pass, clipping and SGD.  Each has a
process of its own, ours with the memory settings of a retraining (`retrain.keep_freed_memory`).  Seconds are medians,
by the clock and by the CPU time of the process: on a busy machine the latter, of one thread, says more.
"kept" is what autograd keeps for the backward pass, each storage once.  "error" is the relative L2 distance of the
gradients, in single precision without dropped paths, from those of the reference in double precision.
"""

import argparse
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional

from pcdarts.diagnostics.memory import step_bytes
from pcdarts.fast.fast_network import FastNetwork
from pcdarts.genotype import PUBLISHED
from pcdarts.network import CellNetwork
from pcdarts.selftest.official_code import cuda_calls_do_nothing
from pcdarts.training.allocator import keep_freed_memory
from tests.benchmarks.supernet import machine_rates, processor
from tests.benchmarks.turns import apart, take_turns

CLASSES, DROP_PATH, AUXILIARY_WEIGHT = 10, 0.3, 0.4
GENOTYPES = ("PC_DARTS_cifar", "PC_DARTS_image", "DARTS_V2")

Loss = Callable[[], Tensor]


def our_network(kind: type[CellNetwork], genotype: str, args: argparse.Namespace) -> CellNetwork:
    return kind(
        PUBLISHED[genotype],
        channels=args.channels,
        layers=args.layers,
        classes=CLASSES,
        auxiliary=True,
        generator=torch.Generator().manual_seed(0),
    )


def official_network(directory: str, genotype: str, args: argparse.Namespace) -> nn.Module:
    if directory not in sys.path:
        sys.path.insert(0, directory)
    model: Any = importlib.import_module("model")
    with mock.patch("builtins.print"):
        found: nn.Module = model.NetworkCIFAR(
            args.channels, CLASSES, args.layers, True, getattr(importlib.import_module("genotypes"), genotype)
        )
    return found


NETWORKS = {"official": None, "reference": CellNetwork, "fast": FastNetwork}


def names(args: argparse.Namespace) -> list[str]:
    return [name for name in NETWORKS if name != "official" or args.official]


def make_network(name: str, genotype: str, args: argparse.Namespace) -> tuple[nn.Module, Callable[[Tensor], Any]]:
    """A network, and its function that returns logits and auxiliary logits."""
    kind = NETWORKS[name]
    if kind is None:
        official = official_network(args.official, genotype, args)
        official.drop_path_prob = DROP_PATH  # type: ignore[assignment]
        return official, official
    network = our_network(kind, genotype, args)
    network.drop_path = DROP_PATH
    return network, network.forward_with_auxiliary


def make_batch(batch: int, size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, 3, size, size, generator=generator), torch.randint(CLASSES, (batch,), generator=generator)


def make_loss(network: nn.Module, forward: Callable[[Tensor], Any], images: Tensor, labels: Tensor) -> Loss:
    """The loss of a training step, with all gradients cleared before."""

    def loss() -> Tensor:
        network.zero_grad()
        logits, auxiliary = forward(images)
        return functional.cross_entropy(logits, labels) + AUXILIARY_WEIGHT * functional.cross_entropy(auxiliary, labels)

    return loss


def make_step(name: str, genotype: str, batch: int, args: argparse.Namespace) -> Callable[[], None]:
    """A training step, in the process that runs it."""
    torch.set_num_threads(args.threads)
    if name != "official":
        keep_freed_memory()
    network, forward = make_network(name, genotype, args)
    loss = make_loss(network, forward, *make_batch(batch, args.size))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.025, momentum=0.9, weight_decay=3e-4)

    def step() -> None:
        with official_calls():
            loss().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()

    return step


@contextmanager
def official_calls() -> Iterator[None]:
    """Context in which the official code runs on a CPU."""
    with cuda_calls_do_nothing(), mock.patch("torch.cuda.FloatTensor", torch.FloatTensor):
        yield


def kept_bytes(name: str, genotype: str, batch: int, args: argparse.Namespace) -> int:
    """Bytes that autograd keeps for the backward pass."""
    network, forward = make_network(name, genotype, args)
    with official_calls():
        return step_bytes(make_loss(network, forward, *make_batch(batch, args.size)))[0]


def gradient_errors(genotype: str, args: argparse.Namespace, batch: int) -> dict[str, float]:
    """Relative L2 distance of the gradients in single precision from those of the reference in double precision."""
    images, labels = make_batch(batch, args.size)

    def gradients(kind: type[CellNetwork], dtype: torch.dtype) -> Tensor:
        network = our_network(kind, genotype, args).to(dtype)
        make_loss(network, network.forward_with_auxiliary, images.to(dtype), labels)().backward()
        return torch.cat([p.grad.double().flatten() for p in network.parameters() if p.grad is not None])

    truth = gradients(CellNetwork, torch.float64)
    return {
        name: float((gradients(kind, torch.float32) - truth).norm() / truth.norm())
        for name, kind in {"reference": CellNetwork, "fast": FastNetwork}.items()
    }


def compare(genotype: str, args: argparse.Namespace, batch: int) -> list[str]:
    """Rows of the table; speeds are relative to the first network."""
    makers = {name: partial(make_step, name, genotype, batch, args) for name in names(args)}
    kept = {name: apart(partial(kept_bytes, name, genotype, batch, args)) for name in makers}
    seconds = take_turns(makers, args.repetitions)
    errors = apart(partial(gradient_errors, genotype, args, batch)) if args.errors else {}
    base = next(iter(makers))
    return [
        f"| {genotype} | {batch} x {args.layers} | {name} | {clock:.3f} | {used:.3f} "
        f"| {seconds[base][0] / clock:.2f} x | {seconds[base][1] / used:.2f} x | {kept[name] / 1e6:.0f} "
        f"| {f'{errors[name]:.1e}' if name in errors else ''} |"
        for name, (clock, used) in seconds.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", metavar="DIR", help="checkout of the official PC-DARTS code")
    parser.add_argument("--genotype", nargs="+", default=GENOTYPES)
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--channels", type=int, default=36)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--size", type=int, default=32, help="height and width of the images")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--errors", action="store_true", help="measure the errors of the gradients, too")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{processor()}, {args.threads} threads, torch {torch.__version__}, medians of {args.repetitions}")
    print(f"a matrix product and a copy reach {machine_rates()}\n")
    columns = "| genotype | batch x layers | network | s/step | CPU s/step | speed | CPU speed | kept MB | error |"
    print(columns, "|---" * (columns.count("|") - 1) + "|", sep="\n")
    for genotype in args.genotype:
        for batch in args.batch:
            print(*compare(genotype, args, batch), sep="\n", flush=True)


if __name__ == "__main__":
    main()
