"""Seconds, memory and kernels of one forward and backward pass of the super-networks, against each other.

    python -m tests.benchmarks.supernet [--official DIR] [--k 1 2 4 8] [--batch 64 256] [--spatial-stride 1 2]
    python -m tests.benchmarks.supernet --project [--k 4 8] [--batch 256]

The networks take turns, each in a process of its own, ours with the memory settings of a search.  Seconds are medians,
by the clock and by the CPU time of the process: on a busy machine the latter, of one thread, says more.  "kept" is what
autograd keeps for the backward pass, each storage once; "kernels" are dispatched operations other than views, and "GB"
what they read and write, as if nothing stayed in a cache.  "GFLOP" are those of matrix products and convolutions, zeros
in block-diagonal matrices and in enlarged kernels included.  "peak" is the highest resident memory of another process,
which builds one network and does one step.

With `--project` nothing is measured: the calls of the fast network's passes in their form for a GPU are counted with
tensors that have no values, and their time in a captured step is projected: for every call its bytes at `BANDWIDTH`,
or `LAUNCH` if that is longer.
"""

import argparse
import collections
import json
import platform
import resource
import subprocess
import sys
import timeit
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from pcdarts.config import SearchConfig
from pcdarts.diagnostics.memory import step_bytes
from pcdarts.fast.fast_supernet import FastSupernet
from pcdarts.selftest.official_code import official_supernet
from pcdarts.supernet import Supernet
from pcdarts.training.allocator import keep_freed_memory
from tests.benchmarks.turns import take_turns

CLASSES = 10
NETWORKS = ("official", "reference", "fast")
COLUMNS = (
    "| network | k | batch | spatial stride | s/step | CPU s/step | speed "
    "| kept MB | ratio | peak MB | kernels | ratio | GFLOP | GB |"
)

PROJECTED = "| pass | k | batch | spatial stride | calls | below 1 MB | GB | ms | ms, bytes alone | ms, calls alone |"
NO_KERNEL = (torch.ops.aten.empty, torch.ops.aten.new_empty, torch.ops.aten.empty_like, torch.ops.aten._unsafe_view)
"""Calls that launch no kernel."""
BANDWIDTH, LAUNCH = 2.7e12, 2.5e-6
"""Bytes a second, 80 % of the data sheet of an H100 SXM, and seconds a call in a CUDA graph: assumptions."""

Step = Callable[[], Tensor]


class KernelCounter(TorchDispatchMode):
    """Counts dispatched operations that are not views, and the bytes that they read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: collections.Counter[str] = collections.Counter()
        self.sizes: list[int] = []

    @property
    def bytes(self) -> int:
        """Bytes of all kernels."""
        return sum(self.sizes)

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = operation(*args, **(kwargs or {}))
        if not operation.is_view and operation.overloadpacket not in NO_KERNEL:
            self.counts[str(operation)] += 1
            tensors = [x for x in tree_leaves((args, kwargs, results)) if isinstance(x, Tensor)]
            self.sizes.append(sum(min(x.nbytes, x.untyped_storage().nbytes()) for x in tensors))  # some are expanded
        return results


def make_network(name: str, config: SearchConfig, official: str | None) -> nn.Module:
    if name != "official":
        make = FastSupernet if name == "fast" else Supernet
        return make(config, CLASSES, generator=torch.Generator().manual_seed(0))
    assert official is not None
    return official_supernet(official, channels=config.channels, classes=CLASSES, layers=config.layers)


def make_step(network: nn.Module, batch: int, size: int) -> Step:
    """A function that computes the loss of a batch, with all gradients cleared before."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, size, size, generator=generator)
    labels = torch.randint(CLASSES, (batch,), generator=generator)

    def step() -> Tensor:
        network.zero_grad()
        for values in vars(network).get("_arch_parameters", ()):  # the official alphas are no parameters
            values.grad = None
        return functional.cross_entropy(network(images), labels)

    return step


def count_kernels(step: Step) -> tuple[int, int]:
    """Kernels of a step, and the bytes they read and write."""
    with KernelCounter() as counter:
        step().backward()
    return counter.counts.total(), counter.bytes


def project(config: SearchConfig, args: argparse.Namespace, batch: int) -> list[str]:
    """Rows of the projected table: forward and backward pass for the weights, for alpha and beta, and evaluation."""
    network = make_network("fast", config, None).to("meta")
    assert isinstance(network, Supernet)
    images = torch.empty(batch, 3, args.size, args.size, device="meta")
    labels = torch.empty(batch, dtype=torch.int64, device="meta")
    weights, alphas = list(network.weights().values()), list(network.architecture.parameters())

    def train(parameters: list[nn.Parameter]) -> None:
        for parameter in (*weights, *alphas):
            parameter.requires_grad_(any(parameter is each for each in parameters))
        functional.cross_entropy(network.train()(images), labels).backward()

    @torch.no_grad()
    def evaluation() -> None:
        network.eval()(images)

    passes = {"weights": partial(train, weights), "alpha": partial(train, alphas), "evaluation": evaluation}
    rows = []
    for name, run in passes.items():
        run()  # cached matrices are made once
        with KernelCounter() as counter:
            run()
        total = counter.bytes
        seconds = sum(max(size / BANDWIDTH, LAUNCH) for size in counter.sizes)
        rows.append(
            f"| {name} | {config.k} | {batch} | {config.spatial_stride} | {len(counter.sizes):,} "
            f"| {sum(size < 1e6 for size in counter.sizes):,} | {total / 1e9:.1f} | {seconds * 1e3:.1f} "
            f"| {total / BANDWIDTH * 1e3:.1f} | {len(counter.sizes) * LAUNCH * 1e3:.1f} |"
        )
    return rows


def convolution_backward_flops(
    gradient: torch.Size, x: torch.Size, weight: torch.Size, *args: Any, out_shape: Any = None, **kwargs: Any
) -> int:
    """As many as the forward pass for each of both gradients; torch's own formula ignores groups."""
    mask = args[-1]
    return 2 * gradient.numel() * weight[1:].numel() * sum(mask[:2])


def addmm_flops(out: torch.Size, a: torch.Size, b: torch.Size, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """Of products added in place, which torch does not count."""
    return 2 * out.numel() * a[-1]


def count_flops(step: Step) -> int:
    products = {operation: addmm_flops for operation in (torch.ops.aten.addmm_, torch.ops.aten.baddbmm_)}
    mapping = {torch.ops.aten.convolution_backward: convolution_backward_flops, **products}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        step().backward()
    return int(counter.get_total_flops())


def resident_peak() -> float:
    """Peak resident memory of this process in MB; getrusage would count that of the parent before exec on Linux."""
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) / 1e3 for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def count(step: Step) -> dict[str, float]:
    """Peak memory, kept bytes, kernels, bytes moved and FLOPs of a step, each in a pass of its own."""
    step().backward()
    peak = resident_peak()
    kept, _ = step_bytes(step)
    kernels, moved = count_kernels(step)
    return {"peak": peak, "kept": kept, "kernels": kernels, "moved": moved, "flops": count_flops(step)}


def count_apart(name: str, config: SearchConfig, args: argparse.Namespace, batch: int) -> dict[str, float]:
    """`count` in a process of its own: others would leave it less memory, and a higher peak."""
    command = [sys.executable, "-m", "tests.benchmarks.supernet", "--count", name, "--batch", str(batch)]
    command += ["--k", str(config.k), "--spatial-stride", str(config.spatial_stride), "--threads", str(args.threads)]
    command += ["--channels", str(config.channels), "--layers", str(config.layers), "--size", str(args.size)]
    command += ["--official", args.official] if args.official else []
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)  # type: ignore[no-any-return]


def make_call(name: str, config: SearchConfig, batch: int, args: argparse.Namespace) -> Callable[[], None]:
    """A forward and backward pass, in the process that runs it."""
    torch.set_num_threads(args.threads)
    if name != "official":
        keep_freed_memory()
    step = make_step(make_network(name, config, args.official), batch, args.size)
    return lambda: step().backward()


def compare(config: SearchConfig, args: argparse.Namespace, batch: int) -> list[str]:
    """Rows of the table for one configuration; ratios are to the first network.

    The official code has no other K than 4 and no other spatial stride than 1 on CIFAR.
    """
    names = [name for name in args.networks if name != "official" or (config.k == 4 and config.spatial_stride == 1)]
    counts = {name: count_apart(name, config, args, batch) for name in names}
    seconds = take_turns({name: partial(make_call, name, config, batch, args) for name in names}, args.repetitions)
    base, rows = names[0], []
    for name in names:
        (clock, used), c, b = seconds[name], counts[name], counts[base]
        rows.append(
            f"| {name} | {config.k} | {batch} | {config.spatial_stride} "
            f"| {clock:.3f} | {used:.3f} | {seconds[base][0] / clock:.2f} x "
            f"| {c['kept'] / 1e6:.0f} | {c['kept'] / b['kept']:.3f} | {c['peak']:.0f} "
            f"| {c['kernels']:,} | {c['kernels'] / b['kernels']:.3f} "
            f"| {c['flops'] / 1e9:.1f} | {c['moved'] / 1e9:.1f} |"
        )
    return rows


def processor() -> str:
    """Name of the CPU, as far as the system tells it."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def machine_rates() -> str:
    """What this machine reaches on a matrix product and on a copy, both in fp32: the floor for FLOPs and bytes."""
    matrix, images = torch.randn(2000, 2000), torch.randn(2**26)
    target = torch.empty_like(images)
    product, copy = (
        min(timeit.repeat(call, number=1, repeat=7)) for call in (lambda: matrix @ matrix, lambda: target.copy_(images))
    )
    return f"{2 * 2000**3 / product / 1e9:.0f} GFLOP/s, {2 * images.nbytes / copy / 1e9:.1f} GB/s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", metavar="DIR", help="checkout of the official PC-DARTS code")
    parser.add_argument("--k", type=int, nargs="+", default=[4])
    parser.add_argument("--batch", type=int, nargs="+", default=[64])
    parser.add_argument("--spatial-stride", type=int, nargs="+", default=[1, 2], choices=[1, 2])
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--size", type=int, default=32, help="height and width of the images")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, help="default: all, the official one if it is there")
    parser.add_argument("--project", action="store_true", help="count for a GPU, and project; nothing is measured")
    parser.add_argument("--count", choices=NETWORKS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.networks = args.networks or [name for name in NETWORKS if name != "official" or args.official]
    torch.set_num_threads(args.threads)
    configs = [
        SearchConfig(k=k, channels=args.channels, layers=args.layers, spatial_stride=stride)
        for k in args.k
        for stride in args.spatial_stride
    ]
    if args.count:
        print(
            json.dumps(count(make_step(make_network(args.count, configs[0], args.official), args.batch[0], args.size)))
        )
        return
    if args.project:
        print(PROJECTED, "|---" * PROJECTED.count(" | ") + "|---|", sep="\n")
        for batch in args.batch:
            for config in configs:
                print(*project(config, args, batch), sep="\n", flush=True)
        return
    print(f"{processor()}, {args.threads} threads, torch {torch.__version__}, medians of {args.repetitions}")
    print(f"a matrix product and a copy reach {machine_rates()}\n")
    print(COLUMNS, "|---" * COLUMNS.count(" | ") + "|---|", sep="\n")
    for batch in args.batch:
        for config in configs:
            print(*compare(config, args, batch), sep="\n", flush=True)


if __name__ == "__main__":
    main()
