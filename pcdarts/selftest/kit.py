"""The self-test: runs its parts in order, and writes verdicts after each of them to `selftest.json` and a page.

On a GPU every part runs in a process of its own, so that a part that crashes or hangs leaves the GPU to the others.
Importing this module needs the standard library alone.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pcdarts.selftest.page import page
from pcdarts.selftest.results import PartResult, Row, Verdict, costs, from_dict, overall, to_json
from pcdarts.training.atomic_write import replace_file

if TYPE_CHECKING:
    from pcdarts.selftest.bench import Bench

Outcome = tuple[Verdict, str]
Run = Callable[["Bench"], Outcome]

MINUTES = 10.0
"""Time of the whole self-test."""
PATIENCE = 2.5
"""A part in a process of its own is stopped after its planned time, times this factor."""
LINES = 20
"""Lines of a traceback, or of what a process printed, that are kept."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of the self-test."""

    title: str
    """What it measures, in one line."""
    minutes: float
    """Planned time on a GPU."""
    run: Run
    """Adds rows to the tables of a bench; returns a verdict and the reason for it."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the self-test runs.  Raises ValueError for settings that cannot work."""

    device: str = "auto"
    """auto (a GPU if available), cpu, cuda or cuda:N."""
    out: Path = Path("selftest")
    """Folder to write to; made if it is missing."""
    official: Path | None = None
    """Checkout of the official PC-DARTS code to compare with, or None."""
    minutes: float = MINUTES
    """Time of the whole self-test; parts for which none is left are not run."""

    def __post_init__(self) -> None:
        if not self.minutes > 0:
            raise ValueError(f"minutes is {self.minutes:g}, but must be above 0; the default is {MINUTES:g}")
        if self.official is not None and not (self.official / "model_search.py").is_file():
            raise ValueError(
                f"official is {str(self.official)!r}, but must be a checkout of the official code, which holds "
                "model_search.py; give its path, or leave it out"
            )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the options of the self-test to a command line."""
    parser.add_argument("--device", default="auto", help="auto (a GPU if available), cpu, cuda or cuda:N")
    parser.add_argument(
        "--out", type=Path, default=Path("selftest"), metavar="DIR", help="folder to write to (selftest)"
    )
    parser.add_argument("--official", type=Path, metavar="DIR", help="checkout of the official code, to compare with")
    parser.add_argument(
        "--minutes",
        type=float,
        default=MINUTES,
        metavar="N",
        help=f"parts for which no time is left are not run ({MINUTES:g})",
    )


def options_of(arguments: argparse.Namespace) -> Options:
    """The options in a parsed command line; raises ValueError for settings that cannot work."""
    return Options(device=arguments.device, out=arguments.out, official=arguments.official, minutes=arguments.minutes)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the self-test from a command line; its exit code: 1 if a part failed, 2 for options that cannot work."""
    parser = argparse.ArgumentParser(prog="python -m pcdarts.selftest", description=__doc__.splitlines()[0])
    add_flags(parser)
    parser.add_argument("--part", help=argparse.SUPPRESS)  # what run_apart starts
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    try:
        options = options_of(arguments)
        if arguments.part:
            _run_here_for_parent(arguments.part, options, arguments.folder)
            return 0
        return selftest(options)
    except ValueError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2


def selftest(options: Options, parts: Mapping[str, Part] | None = None, say: Callable[[str], None] = print) -> int:
    """Run all parts and write `selftest.json` and `selftest.html` after each; 1 if a part failed, else 0.

    Raises ValueError for a device that does not exist, and OSError if nothing can be written.
    """
    from pcdarts.selftest.machine import versions
    from pcdarts.training.device import resolve_device

    deadline = time.monotonic() + 60 * options.minutes
    device = resolve_device(options.device)
    options = dataclasses.replace(options, device=str(device))
    parts = all_parts() if parts is None else parts
    machine = versions(device) | {"device": str(device), "minutes": options.minutes}
    cut_off = "the run was cut off before this part; run it again"
    results = {
        name: PartResult(name=name, title=part.title, verdict="not run", reason=cut_off) for name, part in parts.items()
    }

    def write(finished: bool) -> None:
        found = list(results.values())
        replace_file(options.out / "selftest.json", to_json(machine, found, finished=finished))
        replace_file(options.out / "selftest.html", page(machine, found, finished=finished).encode())

    write(False)
    for name, part in parts.items():
        if time.monotonic() >= deadline:
            reason = f"the {options.minutes:g} minutes were used up by the parts before; give more --minutes"
            results[name] = dataclasses.replace(results[name], reason=reason)
        elif device.type == "cuda":
            results[name] = run_apart(name, part, options, deadline)
        else:
            results[name] = run_here(name, part, options, deadline)
        say(f"{results[name].verdict:22s} {part.title}: {results[name].reason}")
        write(False)
    write(True)
    for run, hours in costs(list(results.values())).items():
        say(f"about {hours:.3g} hours: {run} (extrapolated)")
    say(f"wrote {options.out / 'selftest.html'} and {options.out / 'selftest.json'}")
    return 1 if overall(list(results.values())) == "fail" else 0


def run_here(name: str, part: Part, options: Options, deadline: float, rows_file: Path | None = None) -> PartResult:
    """Run a part in this process; one that raises has failed, and keeps its rows."""
    import torch

    from pcdarts.selftest.bench import SMALL, Bench, Sizes
    from pcdarts.training.device import prepare_device

    started = time.monotonic()
    on_gpu = options.device.startswith("cuda")
    device = prepare_device(options.device, min(8, os.cpu_count() or 1) if on_gpu else 1)
    sizes = Sizes() if on_gpu else SMALL
    bench = Bench(device, sizes, deadline=deadline, official=options.official, rows_file=rows_file)
    try:
        verdict, reason = part.run(bench)
    except Exception as error:
        verdict, reason = "fail", _in_words(error)
        _add_lines(bench.tables, "Traceback", traceback.format_exc())
    if on_gpu and verdict != "fail":
        try:
            torch.cuda.synchronize(device)  # an error of the last kernels belongs to this part
        except RuntimeError as error:
            verdict, reason = "fail", _in_words(error)
    return PartResult(
        name=name,
        title=part.title,
        verdict=verdict,
        reason=reason,
        seconds=time.monotonic() - started,
        tables=bench.tables,
        costs=bench.costs,
    )


def run_apart(
    name: str, part: Part, options: Options, deadline: float, command: Sequence[str] | None = None
) -> PartResult:
    """Run a part in a process of its own; one that crashes or does not end in time keeps the rows it added."""
    from pcdarts.selftest.bench import rows_of

    started = time.monotonic()
    left = deadline - started
    patience = PATIENCE * 60 * part.minutes * options.minutes / MINUTES
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        command = command or [sys.executable, "-m", "pcdarts.selftest", "--part", name, "--folder", place]
        command = [*command, "--device", options.device, "--minutes", str(max(left, 1) / 60)]
        command += ["--official", str(options.official)] if options.official else []
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                code = process.wait(min(left, patience))
                verdict: Verdict = "fail"
                reason = f"its process ended with code {code}; the last lines that it printed are below"
            except subprocess.TimeoutExpired:
                seconds = time.monotonic() - started
                verdict, reason = "fail", f"it had not ended after {seconds:.0f} s, and was stopped"
                if left <= patience:
                    verdict, reason = "not run", f"stopped after {seconds:.0f} s as time was up; give more --minutes"
            finally:
                process.kill()
                process.wait()
        if (result := folder / "result.json").exists():
            return from_dict(json.loads(result.read_bytes()))
        tables = rows_of(folder / "rows")
        _add_lines(tables, "What its process printed", (folder / "log").read_text(errors="replace"))
        return PartResult(
            name=name,
            title=part.title,
            verdict=verdict,
            reason=reason,
            seconds=time.monotonic() - started,
            tables=tables,
        )


def _run_here_for_parent(name: str, options: Options, folder: Path) -> None:
    deadline = time.monotonic() + 60 * options.minutes
    result = run_here(name, all_parts()[name], options, deadline, folder / "rows")
    replace_file(folder / "result.json", json.dumps(dataclasses.asdict(result)).encode())


def _in_words(error: BaseException) -> str:
    """An error in one line of bounded length."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return " ".join(text.split())[:500]


def _add_lines(tables: dict[str, list[Row]], caption: str, text: str) -> None:
    """Add a table of the last lines of a text that are not empty."""
    lines = [line.rstrip()[:300] for line in text.splitlines() if line.strip()]
    if lines:
        tables[caption] = [{"line": line} for line in lines[-LINES:]]


def all_parts() -> dict[str, Part]:
    """All parts in their order."""
    from pcdarts.selftest import (
        calls,
        gradients,
        loading,
        machine,
        memory,
        retraining,
        searches,
        sharing,
        steps,
    )

    return {
        "machine": Part(title="Versions and what the machine can reach", minutes=0.5, run=machine.run),
        "gradients": Part(title="Loss and gradients", minutes=1, run=gradients.run),
        "graphs": Part(title="Searches repeated, with and without CUDA graphs", minutes=1, run=searches.run),
        "calls": Part(title="Single calls", minutes=1, run=calls.run),
        "steps": Part(title="Steps of the super-networks and a whole search", minutes=2.5, run=steps.run),
        "bf16": Part(title="Gradients of the reference super-network in bf16", minutes=0.5, run=gradients.run_bf16),
        "memory": Part(title="Predicted and measured memory", minutes=1, run=memory.run),
        "sharing": Part(title="Two processes that share the device", minutes=1, run=sharing.run),
        "retraining": Part(title="Retraining steps and whole retrainings", minutes=1.5, run=retraining.run),
        "loading": Part(title="Loading images", minutes=0.5, run=loading.run),
    }
