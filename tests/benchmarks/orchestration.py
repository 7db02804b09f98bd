"""What orchestration costs: searches that compute nothing, through the real chain, against plain Ray Tune.

    python -m tests.benchmarks.orchestration [--searches 2000] [--plain 40] [--epochs 1]

"chain" is what a study runs: `run_trials` under Tune, the listener that writes the tables, the progress display; every
search reports its epochs and a result of the usual size.  "plain" is `tune.Tuner(...).fit()` as it comes, the same
reports, Tune's own loggers.  Both run in one Ray session on two CPUs, one after the other.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ray import tune

from analysis.store import ResultStore
from analysis.tables import EPOCHS, SEARCHES
from cluster.connect import TrialResources, connect
from orchestrator.presets import smoke
from orchestrator.progress import Progress
from orchestrator.searching import SearchListener
from orchestrator.trials import TrialSpec, report, run_trials
from pcdarts.config import SearchConfig
from pcdarts.results import EpochRecord, SearchResult
from tests.analysis.synthetic import epoch_rows, search_row

EDGE = 200
"""Searches at the start and at the end whose times are compared."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What so many trials cost their driver."""

    seconds: list[float]
    """When each trial ended, since the start."""
    rss: list[int]
    """Resident memory of the driver at these moments, bytes."""

    @property
    def seconds_each(self) -> float:
        """Mean time of a trial."""
        return self.seconds[-1] / len(self.seconds)

    @property
    def slowdown(self) -> float:
        """Time of the last trials over that of the first, after those that wait for Ray's workers to start."""
        edge, first = min(EDGE, len(self.seconds) // 3), 2
        return (self.seconds[-1] - self.seconds[-1 - edge]) / (self.seconds[first + edge] - self.seconds[first])

    @property
    def bytes_each(self) -> float:
        """Growth of the driver's memory per trial, after the first ones have loaded what they need."""
        edge = min(EDGE, len(self.rss) // 3)
        return (self.rss[-1] - self.rss[edge]) / (len(self.rss) - 1 - edge)


def contents(epochs: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The reports of a search: epochs and result, with values of the usual size."""
    search = search_row(4, 0, 84.0)
    rows = epoch_rows(search, epochs=epochs)
    names = [field.name for field in fields(EpochRecord)]
    return [{name: row[name] for name in names} for row in rows], {f.name: search[f.name] for f in fields(SearchResult)}


def search_without_work(trial: dict[str, Any]) -> None:
    """A trial that reports what a search would, at once."""
    epochs, result = contents(trial["spec"].config.epochs)
    for epoch in epochs:
        report("epoch", epoch)
    report("result", result)


class Clock:
    """Notes when trials end, and the driver's memory then."""

    def __init__(self) -> None:
        self.start, self.seconds, self.rss = time.perf_counter(), [], []  # type: float, list[float], list[int]

    def tick(self) -> None:
        """A trial ended."""
        self.seconds.append(time.perf_counter() - self.start)
        self.rss.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))

    def measurement(self) -> Measurement:
        """What was noted."""
        return Measurement(seconds=self.seconds, rss=self.rss)


class TimedListener(SearchListener):
    """A study's listener that notes when searches end."""

    clock: Clock

    def reported(self, spec: TrialSpec, report: dict[str, Any]) -> None:
        """Store as usual, and note the time."""
        super().reported(spec, report)
        if report["kind"] == "result":
            self.clock.tick()


def chain(searches: int, epochs: int, root: str) -> Measurement:
    """So many searches that compute nothing, as a study runs them."""
    store = ResultStore(root)
    configs = [SearchConfig(dataset="synthetic", seed=seed, epochs=epochs, warmup_epochs=0) for seed in range(searches)]
    specs = [TrialSpec(key=config.search_id, root=root, config=config) for config in configs]
    with Progress("searches", {spec.key: epochs for spec in specs}) as progress:
        listener = TimedListener(smoke(), store, progress)
        listener.clock = Clock()
        run_trials(search_without_work, specs, listener, resources=TrialResources(cpus=1), max_failures=2)
    return listener.clock.measurement()


def plain_trial(config: dict[str, Any]) -> None:
    """The same reports, to Tune alone."""
    epochs, result = contents(config["epochs"])
    for content in [*epochs, result]:
        tune.report(content)


class _Ended(tune.Callback):
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.clock.tick()


def plain(trials: int, epochs: int) -> Measurement:
    """So many trials under Ray Tune with its default settings."""
    clock = Clock()
    # Its own loggers are part of the default; `connect` turns them off for a study.
    hidden = os.environ.pop("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", None)
    try:
        with tempfile.TemporaryDirectory() as folder:
            tune.Tuner(
                plain_trial,
                param_space={"epochs": epochs, "seed": tune.grid_search(list(range(trials)))},
                run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=[_Ended(clock)]),
            ).fit()
    finally:
        if hidden is not None:
            os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = hidden
    return clock.measurement()


def line(name: str, m: Measurement) -> str:
    """A row of the table."""
    return (
        f"| {name} | {len(m.seconds)} | {m.seconds_each:.3f} | {m.slowdown:.2f} | {m.bytes_each / 1e3:.0f} "
        f"| {m.rss[-1] / 1e6:.0f} |"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=2000, help="searches through the chain")
    parser.add_argument("--plain", type=int, default=40, help="trials under plain Ray Tune")
    parser.add_argument("--epochs", type=int, default=1, help="epochs that a search reports")
    options = parser.parse_args(argv)
    connect("local")
    print("| driver | trials | s a trial | last / first | kB a trial | MB |", flush=True)
    print("|---|---:|---:|---:|---:|---:|", flush=True)
    with tempfile.TemporaryDirectory() as root:
        ours = chain(options.searches, options.epochs, root)
        print(line("chain", ours), flush=True)
        store = ResultStore(root)
        start = time.perf_counter()
        rows = len(store.read(SEARCHES)), len(store.read(EPOCHS))
        print(f"rows {rows} read in {time.perf_counter() - start:.2f} s", file=sys.stderr)
    if options.plain:
        theirs = plain(options.plain, options.epochs)
        print(line("plain Tune", theirs), flush=True)
        print(f"\nplain Tune / chain: {theirs.seconds_each / ours.seconds_each:.1f} times the seconds a trial")


if __name__ == "__main__":
    main()
