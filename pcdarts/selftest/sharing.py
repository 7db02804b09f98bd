"""Part `sharing`: two processes on one device, each with a limit of memory, against one alone.

Run as a program it is one of these processes: it computes weight steps for a time whenever it reads a line.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import torch

from pcdarts.selftest.bench import SMALL, Bench, Sizes
from pcdarts.selftest.results import Verdict
from pcdarts.training.cuda_graphs import CapturedStep
from pcdarts.training.device import limit_gpu_memory, mps_runs, prepare_device

SHARE = 0.45
"""Share of a GPU's memory that a process may use."""
WORTHWHILE = 0.9
"""Two processes together should reach this part of one alone, or sharing costs time."""
CHECK_EVERY = 5
"""Steps after which a process looks at the clock, which makes it wait for the GPU."""


def run(bench: Bench) -> tuple[Verdict, str]:
    """Measure images a second of one and of two processes, without and with MPS, eager and captured."""
    found: dict[str, float] = {}
    for mps in (False, True) if bench.on_gpu and mps_runs() else (False,):
        for captured in (False, True) if bench.on_gpu else (False,):
            name = f"{'with' if mps else 'without'} MPS, {'captured' if captured else 'eager'}"
            try:
                with _two_processes(bench, mps, captured) as processes:
                    (alone,) = _rates(processes[:1], bench.sizes.share_seconds)
                    together = _rates(processes, bench.sizes.share_seconds)
            except RuntimeError as error:
                if mps or not mps_runs():
                    raise
                # A GPU in the mode EXCLUSIVE_PROCESS takes a second process through MPS only.
                bench.add("Images a second of weight steps", setting=name, error=str(error))
                continue
            found[name] = sum(together) / alone
            bench.add(
                "Images a second of weight steps",
                setting=name if bench.on_gpu else "CPU, one thread each",
                **{"one alone": alone, "first of two": together[0], "second of two": together[1]},
                **{"two / one alone": found[name]},
            )
    if not found:
        raise RuntimeError("two processes could not share the GPU; see the table")
    text = ", ".join(f"{ratio:.2f} {name}" for name, ratio in found.items())
    missing = "" if mps_runs() or not bench.on_gpu else "; no MPS daemon was found, so MPS was not measured"
    if not bench.on_gpu:
        return "pass", f"two processes reach {next(iter(found.values())):.2f} times the throughput of one"
    slow = min(found.values()) < WORTHWHILE
    return "slower than expected" if slow else "pass", f"throughput of two processes against one: {text}{missing}"


@contextlib.contextmanager
def _two_processes(bench: Bench, mps: bool, captured: bool) -> Iterator[list[subprocess.Popen[str]]]:
    """Two processes that have warmed up; ended at the end."""
    order = json.dumps({"device": str(bench.device), "captured": captured})
    with tempfile.TemporaryDirectory() as nothing:
        # Without a daemon behind this variable, CUDA does not use MPS even if one runs.
        changes = {} if mps or not bench.on_gpu else {"CUDA_MPS_PIPE_DIRECTORY": nothing}
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "pcdarts.selftest.sharing", order],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | changes,
            )
            for _ in range(2)
        ]
        try:
            for process in processes:
                _answer(process)
            yield processes
        finally:
            for process in processes:
                process.kill()
                process.communicate()


def _rates(processes: list[subprocess.Popen[str]], seconds: float) -> list[float]:
    """Images a second of processes that compute at the same time."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(f"{seconds}\n")
        process.stdin.flush()
    return [float(_answer(process)) for process in processes]


def _answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a process that shares the device ended with code {process.wait()}; see its error above")
    return line


def _work(device_name: str, captured: bool) -> None:
    """Answer every line, a number of seconds, with the images a second of weight steps in that time."""
    from pcdarts.selftest.steps import weight_step

    device = prepare_device(device_name, 1)
    limit_gpu_memory(SHARE, device_name)
    bench = Bench(device, Sizes() if device.type == "cuda" else SMALL, deadline=0)
    batch, side = bench.sizes.batches[-1], bench.sizes.image_size
    images, labels = bench.normal(batch, 3, side, side), bench.labels(batch)
    step: Any = weight_step(bench, "fast")
    if captured:
        step = CapturedStep(step)
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for answers
        bench.seconds(lambda: step(images, labels), warmups=4, repetitions=1)
    print("ready", flush=True)
    for line in sys.stdin:
        steps, started = 0, time.perf_counter()
        while time.perf_counter() - started < float(line):
            for _ in range(CHECK_EVERY if device.type == "cuda" else 1):
                step(images, labels)
                steps += 1
            if device.type == "cuda":
                torch.cuda.synchronize(device)
        print(steps * batch / (time.perf_counter() - started), flush=True)


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    _work(options["device"], options["captured"])
