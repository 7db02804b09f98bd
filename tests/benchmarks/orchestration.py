"""What orchestration costs: searches that compute nothing, through the real chain, against plain Ray Tune.

    python -m tests.benchmarks.orchestration [--searches 2000] [--plain 40] [--long 60]
    python -m tests.benchmarks.orchestration --pair            two real searches at once against one at a time
    python -m tests.benchmarks.orchestration --nodes 13        how busy 13 nodes of 8 logical GPUs are kept
    python -m tests.benchmarks.orchestration --nodes 13 --latency 0.2 --seconds 60     the same on slow storage
    python -m tests.benchmarks.orchestration --nodes 13 --retrain    trainings of the queue instead of searches
    python -m tests.benchmarks.orchestration --feed 1000       the driver's own part, fed as by 1,000 GPUs

"chain" is what a study runs: `run_trials` under Tune, the listener that writes the tables, the progress display; every
search reports its epochs and a result of the usual size.  "plain" is `tune.Tuner(...).fit()` as it comes, the same
reports, Tune's own loggers.  Both run in one Ray session on two CPUs, one after the other.  "chain, 50 epochs": as many
reports as a search on CIFAR-10 makes.  With --nodes, trials sleep for --seconds, a third more or less, and report five
epochs; "busy" is the share of all GPUs' time that trials slept, from when every GPU had its first trial (so many
processes take long to start on two CPUs) to when the last trial began; a GPU whose trial waits for the storage is not
busy.  With --feed, no trials run: on one core, the listener gets the recorded reports of a search, 50 epochs each time,
at the pace of so many GPUs, for --feed-seconds; "lag" is the longest time from a report to when its row is stored.
With --rows, the table `epochs` has so many rows before.  --latency adds a sleep to every operation of the storage, as
of an object store.
"""

import argparse
import io
import itertools
import math
import os
import random
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import ray
from ray import tune
from ray.cluster_utils import Cluster
from rich.console import Console

from analysis.storage.compaction import SIZE
from analysis.store import ResultStore
from analysis.tables import EPOCHS, RETRAIN_EPOCHS, SEARCHES
from cluster.connect import connect
from orchestrator.config import FinalConfig
from orchestrator.options import RunOptions
from orchestrator.presets import smoke
from orchestrator.queue.retrain_queue import RetrainQueue
from orchestrator.storage.background import BackgroundWork
from orchestrator.storage.lease import Lease
from orchestrator.storage.table_writer import TableWriter
from orchestrator.trials.failures import TrialFailure
from orchestrator.trials.progress import Progress
from orchestrator.trials.retrain_listener import RetrainListener
from orchestrator.trials.search_listener import SearchListener
from orchestrator.trials.tune_trials import TrialLine, TrialSpec, report, run_trials
from pcdarts.config import SearchConfig
from pcdarts.presets import digits
from pcdarts.results import EpochRecord, SearchResult
from pcdarts.search import search
from tests.analysis.synthetic import epoch_rows, search_row
from tests.benchmarks.sleeping import SleepSpec, SlowFiles, sleeping_trial
from tests.orchestrator.queue.killing import RESULT, make_study, study_with_searches

SLEEP_EPOCHS = 5
"""Epochs that a sleeping trial reports."""
EPOCH = {"learning_rate": 0.1, "train_loss": 2.0, "train_accuracy": 40.0, "valid_loss": 2.1}
"""What a sleeping training does not report of an epoch."""
EDGE = 200
"""Searches at the start and at the end whose times are compared."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What so many trials cost their driver."""

    seconds: list[float]
    """When each trial ended, since the start."""
    rss: list[int]
    """Resident memory of the driver at these moments, bytes."""
    main_cpu: float = 0.0
    """CPU seconds of the driver's main thread."""
    cpu: float = 0.0
    """CPU seconds of the driver with all its threads."""

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
    """The reports of a search of the published study, epochs and result; its epochs recur if they are too few."""
    store = ResultStore(str(Path(__file__).parents[2] / "docs" / "results" / "fashion-14"))
    search = next(row for row in store.rows(SEARCHES) if row["status"] == "completed" and row["method"] == "pcdarts")
    rows = [row for row in store.rows(EPOCHS) if row["search_id"] == search["search_id"]]
    names = [field.name for field in fields(EpochRecord)]
    recorded = [{name: rows[epoch % len(rows)][name] for name in names} | {"epoch": epoch} for epoch in range(epochs)]
    return recorded, {field.name: search[field.name] for field in fields(SearchResult)}


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
        self.cpu_before = time.thread_time(), time.process_time()

    def tick(self) -> None:
        """A trial ended."""
        self.seconds.append(time.perf_counter() - self.start)
        self.rss.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))

    def measurement(self) -> Measurement:
        """What was noted."""
        main, cpu = self.cpu_before
        return Measurement(
            seconds=self.seconds, rss=self.rss, main_cpu=time.thread_time() - main, cpu=time.process_time() - cpu
        )


class TimedListener(SearchListener):
    """A study's listener that notes when searches end."""

    clock: Clock

    def reported(self, spec: TrialSpec, report: dict[str, Any]) -> None:
        """Store as usual, and note the time."""
        super().reported(spec, report)
        if report["kind"] == "result":
            self.clock.tick()


class SlowStore(SlowFiles, ResultStore):
    """A store whose operations take a while, as in an object store."""


def chain(searches: int, epochs: int, root: str, latency: float = 0.0) -> Measurement:
    """So many searches that compute nothing, as a study runs them."""
    configs = [SearchConfig(dataset="synthetic", seed=seed, epochs=epochs, warmup_epochs=0) for seed in range(searches)]
    specs = [TrialSpec(key=config.search_id, root=root, config=config) for config in configs]
    progress = Progress("searches", {spec.key: epochs for spec in specs})
    clock = Clock()
    with progress, TableWriter(SlowStore(root, latency), (EPOCHS, SEARCHES)) as writer:
        listener = TimedListener(smoke(), writer, Lease(f"{root}/lease"), progress)
        listener.clock = clock
        run_trials(search_without_work, specs, listener, resources=lambda spec: {"CPU": 1})
    return clock.measurement()


@dataclass(frozen=True, kw_only=True)
class Feed:
    """What the tables cost with a steady stream of reports."""

    reports: int
    """Reports of epochs and results."""
    searches: int
    """Results among them."""
    seconds: float
    """How long they took to arrive."""
    main_cpu: float
    """CPU seconds of the thread that received them."""
    cpu: float
    """CPU seconds of all threads."""
    lag: float
    """Longest time from a report to its row, seconds."""


def feed(gpus: int, epoch_seconds: float, seconds: float, root: str, *, latency: float, rows_before: int) -> Feed:
    """Feed the listener as `gpus` GPUs do whose searches of 50 epochs are at different epochs."""
    add_rows(ResultStore(root), rows_before)
    epochs, (rows, result) = 50, contents(50)
    configs = (
        SearchConfig(dataset="synthetic", seed=seed, epochs=epochs, warmup_epochs=0) for seed in itertools.count()
    )
    specs = [TrialSpec(key=config.search_id, root=root, config=config) for config in itertools.islice(configs, gpus)]
    reached = [gpu * epochs // gpus for gpu in range(gpus)]
    progress = Progress("feed", {spec.key: epochs for spec in specs}, console=Console(file=io.StringIO()))
    added_at: deque[float] = deque()
    lag, reports, searches = 0.0, 0, 0

    def stored() -> None:
        nonlocal lag
        lag = max(lag, time.perf_counter() - added_at.popleft())

    with TableWriter(SlowStore(root, latency), (EPOCHS, SEARCHES)) as writer:
        listener = SearchListener(smoke(), writer, Lease(f"{root}/lease"), progress)

        def report(gpu: int) -> None:
            nonlocal searches
            spec = specs[gpu]
            listener.reported(spec, {"kind": "epoch", "content": rows[reached[gpu]]})
            reached[gpu] += 1
            if reached[gpu] == epochs:
                listener.reported(spec, {"kind": "result", "content": result})
                searches += 1
                config = next(configs)
                specs[gpu], reached[gpu] = TrialSpec(key=config.search_id, root=root, config=config), 0
                progress.epochs[config.search_id] = epochs
                listener.started(specs[gpu])

        for gpu, spec in enumerate(specs):
            listener.started(spec)
            for epoch in range(reached[gpu]):
                listener.reported(spec, {"kind": "epoch", "content": rows[epoch]})
        writer.flush()
        start, main_cpu, cpu = time.perf_counter(), time.thread_time(), time.process_time()
        while (now := time.perf_counter() - start) < seconds:
            while reports < now * gpus / epoch_seconds:
                report(reports % gpus)
                reports += 1
            added_at.append(time.perf_counter())
            writer.finish(EPOCHS, "none", then=stored)
            listener.tick()
            time.sleep(0.05)
        used = time.thread_time() - main_cpu, time.process_time() - cpu
    return Feed(reports=reports, searches=searches, seconds=seconds, main_cpu=used[0], cpu=used[1], lag=lag)


def add_rows(store: ResultStore, rows: int) -> None:
    """Fill the table `epochs` with searches of 50 epochs, in packs."""
    parts: dict[str, pa.Table] = {}
    for number in range(math.ceil(rows / 50)):
        search = search_row(4, number, 84.0)
        parts[search["search_id"]] = EPOCHS.to_arrow(epoch_rows(search, epochs=50))
    names = sorted(parts)
    packs = [{name: parts[name] for name in names[i : i + SIZE]} for i in range(0, len(names), SIZE)]
    if packs:
        store.append_packs(EPOCHS, packs)


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


@dataclass(frozen=True, kw_only=True)
class Utilisation:
    """How busy the GPUs were kept."""

    gpus: int
    """GPUs of all nodes."""
    trials: int
    """Trials that ran."""
    seconds: float
    """Length of the time that was looked at."""
    busy: float
    """Share of the GPUs' time in it that trials slept."""
    waited: float
    """Share of the time of all trials in which they waited for the storage and for the driver to take their reports."""


class Times(NamedTuple):
    """A trial that slept."""

    began: float
    """Seconds since some moment."""
    ended: float
    """Likewise."""
    slept: float
    """Seconds in between without waiting for the storage."""


class SleepListener(SearchListener):
    """A study's listener: sleeping trials stand for searches, whose rows it writes."""

    def __init__(self, *arguments: Any, epochs: int) -> None:
        super().__init__(*arguments)
        self.epoch_rows, self.result = contents(epochs)
        self.times: list[Times] = []

    def reported(self, spec: TrialSpec, report: dict[str, Any]) -> None:
        """Store what a search would have reported."""
        kind, content = report["kind"], report["content"]
        if kind == "began":
            return
        if kind == "result":
            self.times.append(Times(**content))
        full = self.result if kind == "result" else self.epoch_rows[content["epoch"]]
        super().reported(spec, {"kind": kind, "content": full})


class SleepRetrainListener(RetrainListener):
    """A queue's listener: sleeping trials stand for its jobs, whose events and rows it writes."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.times: list[Times] = []

    def reported(self, spec: TrialSpec, report: dict[str, Any]) -> None:
        """Store what a training would have reported."""
        if report["kind"] == "result":
            self.times.append(Times(**report["content"]))
            report = report | {"content": RESULT}
        elif report["kind"] == "epoch":
            report = report | {"content": EPOCH | report["content"]}
        super().reported(spec, report)


@dataclass(frozen=True, kw_only=True)
class Sleep:
    """How trials sleep."""

    seconds: float
    """How long on average; a third more or less."""
    latency: float
    """Seconds that every storage operation takes longer."""

    def specs(self, configs: dict[str, Any], root: str) -> list[SleepSpec]:
        """Trials with these configurations, by key."""
        draw = random.Random(0)
        return [
            SleepSpec(
                key=key,
                root=root,
                config=config,
                seconds=self.seconds * draw.uniform(2 / 3, 4 / 3),
                latency=self.latency,
            )
            for key, config in configs.items()
        ]


def utilisation(nodes: int, gpus: int, rounds: int, sleep: Sleep, root: str, *, retrain: bool) -> Utilisation:
    """Keep nodes with logical GPUs busy with trials that sleep."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(nodes):
        cluster.add_node(num_cpus=gpus, num_gpus=gpus)
    connect(cluster.address)
    run = sleeping_trainings if retrain else sleeping_searches
    times = run(nodes * gpus * rounds, sleep, root)
    ray.shutdown()
    cluster.shutdown()
    return busy(times, nodes * gpus)


def sleeping_searches(number: int, sleep: Sleep, root: str) -> list[Times]:
    """Run so many trials that stand for searches."""
    configs = [
        SearchConfig(dataset="synthetic", seed=seed, epochs=SLEEP_EPOCHS, warmup_epochs=0) for seed in range(number)
    ]
    specs = sleep.specs({config.search_id: config for config in configs}, root)
    with Progress("sleeping", {spec.key: SLEEP_EPOCHS for spec in specs}) as progress:
        with TableWriter(SlowStore(root, sleep.latency), (EPOCHS, SEARCHES)) as writer:
            listener = SleepListener(smoke(), writer, Lease(f"{root}/lease"), progress, epochs=SLEEP_EPOCHS)
            run_trials(sleeping_trial, specs, listener, resources=lambda spec: {"CPU": 1, "GPU": 1})
    return listener.times


def sleeping_trainings(number: int, sleep: Sleep, root: str) -> list[Times]:
    """Run so many trials that stand for trainings of three published cells with many seeds."""
    study = make_study()
    recipe = replace(study.retrain, epochs=SLEEP_EPOCHS)
    study, fast = study_with_searches(root, replace(study, retrain=recipe, final=FinalConfig(seeds=-(-number // 3))))
    RetrainQueue(study, fast).update()
    queue = RetrainQueue(study, SlowStore(root, sleep.latency))
    jobs = [queued.job for queued in queue.pending()]
    specs = sleep.specs({job.job_id: queue.recipe(job) for job in jobs}, root)
    lease = Lease(f"{root}/lease")
    with lease, queue.store.guarded(lease.confirm), Progress("sleeping", {s.key: SLEEP_EPOCHS for s in specs}) as shown:
        with TableWriter(queue.store, (RETRAIN_EPOCHS,)) as writer, BackgroundWork() as work:
            listener = SleepRetrainListener(queue, lease, shown, RunOptions(), writer=writer, work=work)
            line = TrialLine(specs, ahead=False)
            run_trials(sleeping_trial, line, listener, resources=lambda spec: {"CPU": 1, "GPU": 1})
    return listener.times


def busy(times: Sequence[Times], slots: int) -> Utilisation:
    """The share of the slots' time that trials slept between the first `slots` starts and the last one.

    A trial sleeps for the same share of all its time.
    """
    begins = sorted(trial.began for trial in times)
    start, end = begins[slots - 1], begins[-1]
    taken = sum(
        max(0.0, min(trial.ended, end) - max(trial.began, start)) * trial.slept / (trial.ended - trial.began)
        for trial in times
    )
    return Utilisation(
        gpus=slots,
        trials=len(times),
        seconds=end - start,
        busy=taken / slots / (end - start),
        waited=1 - sum(trial.slept for trial in times) / sum(trial.ended - trial.began for trial in times),
    )


def timed_search(trial: dict[str, Any]) -> None:
    """A real search that reports how long it took as a whole."""
    spec: TrialSpec = trial["spec"]
    start = time.perf_counter()
    search(spec.config)
    report("seconds", {"seconds": time.perf_counter() - start})


class Seconds:
    """A listener that collects the seconds of searches."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def reported(self, spec: TrialSpec, report: dict[str, Any]) -> None:
        """Keep the seconds."""
        self.found.append(report["content"]["seconds"])

    def started(self, spec: TrialSpec) -> None:
        """Nothing to do."""

    def tick(self) -> None:
        """Nothing to do."""

    def failed(self, spec: TrialSpec, failure: TrialFailure) -> bool:
        """A search that fails ends the benchmark."""
        raise RuntimeError(failure.traceback_text)


def seconds_of_searches(at_once: int, searches: int) -> float:
    """Median time of a search with so many at once, one thread each; the first ones, which warm up, are left out."""
    configs = [replace(digits(), seed=seed, epochs=2, warmup_epochs=1, threads=1) for seed in range(searches)]
    specs = [TrialSpec(key=config.search_id, root="", config=config) for config in configs]
    listener = Seconds()
    run_trials(timed_search, specs, listener, resources=lambda spec: {"CPU": 1}, max_concurrent=at_once)
    return statistics.median(listener.found[at_once : len(specs) + 1 - at_once])


def line(name: str, m: Measurement) -> str:
    """A row of the table."""
    return (
        f"| {name} | {len(m.seconds)} | {m.seconds_each:.3f} | {m.main_cpu / len(m.seconds):.3f} "
        f"| {m.cpu / len(m.seconds):.3f} | {m.slowdown:.2f} | {m.bytes_each / 1e3:.0f} | {m.rss[-1] / 1e6:.0f} |"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=2000, help="searches through the chain")
    parser.add_argument("--plain", type=int, default=40, help="trials under plain Ray Tune")
    parser.add_argument("--long", type=int, default=60, help="searches through the chain that report 50 epochs")
    parser.add_argument("--pair", action="store_true", help="compare two real searches at once with one at a time")
    parser.add_argument("--nodes", type=int, default=0, help="simulate so many nodes")
    parser.add_argument("--retrain", action="store_true", help="with --nodes: trainings instead of searches")
    parser.add_argument("--gpus", type=int, default=8, help="logical GPUs of a simulated node")
    parser.add_argument("--rounds", type=int, default=6, help="trials for each simulated GPU")
    parser.add_argument("--seconds", type=float, default=20.0, help="mean time of a simulated trial")
    parser.add_argument("--feed", type=int, default=0, help="feed the tables as so many GPUs do")
    parser.add_argument("--feed-seconds", type=float, default=30.0, help="how long to feed them")
    parser.add_argument("--rows", type=int, default=0, help="rows of the table `epochs` before, with --feed")
    parser.add_argument("--epoch", type=float, default=7.2, help="seconds of an epoch with --feed")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that every storage operation takes longer")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as root:
        if options.nodes:
            sleep = Sleep(seconds=options.seconds, latency=options.latency)
            u = utilisation(options.nodes, options.gpus, options.rounds, sleep, root, retrain=options.retrain)
            print(
                f"{u.gpus} logical GPUs, {u.trials} trials: busy {u.busy:.1%} of {u.seconds:.0f} s; "
                f"trials waited for storage and driver {u.waited:.1%} of their time"
            )
        elif options.feed:
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before its threads start, which inherit it
            f = feed(
                options.feed,
                options.epoch,
                options.feed_seconds,
                root,
                latency=options.latency,
                rows_before=options.rows,
            )
            print(
                f"{f.reports} epochs and {f.searches} results in {f.seconds:.0f} s: lag at most {f.lag:.1f} s; "
                f"CPU {f.main_cpu:.1f} s in the main thread, {f.cpu:.1f} s in all"
            )
        elif options.pair:
            connect("local")
            alone, together = seconds_of_searches(1, 4), seconds_of_searches(2, 6)
            print(f"a search takes {alone:.1f} s alone, {together:.1f} s beside another: {2 * alone / together:.2f} x")
        else:
            connect("local")
            compare_with_plain_tune(options.searches, options.plain, options.long, root, options.latency)


def compare_with_plain_tune(searches: int, trials: int, long: int, root: str, latency: float) -> None:
    """Print the table of the chain and plain Tune."""
    print(
        "| driver | trials | s a trial | CPU s, main thread | CPU s, all | last / first | kB a trial | MB |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        flush=True,
    )
    ours = chain(searches, 1, f"{root}/one", latency)
    print(line("chain", ours), flush=True)
    if long:
        print(line("chain, 50 epochs", chain(long, 50, f"{root}/long", latency)), flush=True)
    if trials:
        theirs = plain(trials, 1)
        print(line("plain Tune", theirs), flush=True)
        print(f"\nplain Tune / chain: {theirs.seconds_each / ours.seconds_each:.1f} times the seconds a trial")
    store = ResultStore(f"{root}/one")
    seconds = [_seconds(lambda: store.read(SEARCHES))]
    for table in (SEARCHES, EPOCHS):
        store.compact(table)
    seconds += [_seconds(lambda: store.read(SEARCHES)), _seconds(lambda: store.read(EPOCHS))]
    print(
        f"{searches} searches are read in {seconds[0]:.2f} s, compacted in {seconds[1]:.2f} s, "
        f"their epochs in {seconds[2]:.2f} s"
    )


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
