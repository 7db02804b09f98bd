"""Processes that are stopped and killed at random moments fight for a study: what two of them wrote never counts twice.

Each writes events that number themselves, in knowledge of those before, as long as it holds the lease.  If writes of
two holders counted, two events would have the same number.
"""

import multiprocessing
import os
import random
import signal
import time
from collections import Counter

import pytest

from analysis.storage.study_files import StudyFiles, join
from orchestrator.queue.events import EventLog
from orchestrator.storage.lease import Lease, LeaseLostError
from tests.object_store import seaweed

FIGHTERS = 8
EVENTS = 20
"""Events that each process wants to write, in as many leases as that takes."""
DISTURBANCES = 4
"""Processes that are stopped or killed in a round."""
TIMEOUTS = {"disk": 0.6, "object store": 2.0}
"""Of the lease, seconds; an object store gives times in whole seconds."""
PATIENCE = 600.0
"""Seconds after which a round counts as stuck."""
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["orchestrator.queue.events", "orchestrator.storage.lease", "obstore"])


def fight(root, timeout, seed, environment):
    """Take the lease and write events, until all are written."""
    os.environ.update(environment)
    choose = random.Random(seed)
    # Half of them take over as from another machine, where they see neither that a process is dead nor that it lives.
    is_dead = choose.choice([None, lambda term: False])
    events = StudyFiles(join(root, "events"), patience=60.0)
    log, written = EventLog(events), 0
    while written < EVENTS:
        lease = Lease(join(root, "lease"), what="study", timeout=timeout, is_dead=is_dead)
        lease.wait(poll=0.02, say=lambda line: None)
        with lease, events.guarded(lease.confirm):
            log.read()
            try:
                while written < EVENTS:
                    time.sleep(max(0.0, choose.uniform(-0.02, 0.02)))  # a trial runs
                    number = {"epochs": lambda state: state.epochs + 1, "attempt": 1}
                    log.append("job", "progress", dispatcher=lease.id, term=lease.term, **number)
                    written += 1
            except LeaseLostError:
                continue
    os._exit(0)


def disturb(root, timeout, processes, choose):
    """Kill the holder at a random moment, or stop it for up to two time-outs; returns what was done."""
    kills, moment, pause = choose.random() < 0.3, choose.uniform(0, 0.3), choose.uniform(0, 2 * timeout)
    time.sleep(moment)
    process = holder_of(root, processes, choose)
    try:
        if kills:
            os.kill(process.pid, signal.SIGKILL)
            return "killed"
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(pause)
        os.kill(process.pid, signal.SIGCONT)
        return "stopped"
    except ProcessLookupError:
        return "ended"


def holder_of(root, processes, choose):
    """The process of the last term, or any if that one has ended."""
    files = StudyFiles(join(root, "lease"))
    last = max((name for name in files.names() if name.endswith(".json")), default="")
    text = files.read_text(last) if last else None
    found = [each for each in processes if each.is_alive() and text and f'"process {each.pid} on ' in text]
    return choose.choice(found or processes)


def run_round(root, timeout, seed, environment):
    """One fight; returns what happened."""
    choose, counts = random.Random(seed), Counter()
    seeds = range(FIGHTERS * seed, FIGHTERS * (seed + 1))
    processes = [FORKS.Process(target=fight, args=(root, timeout, each, environment)) for each in seeds]
    deadline = time.monotonic() + PATIENCE
    try:
        for process in processes:
            process.start()
        for _ in range(DISTURBANCES):
            counts[disturb(root, timeout, processes, choose)] += 1
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
            assert process.exitcode in (0, -signal.SIGKILL), f"round {seed}: {process}"
    finally:
        for process in processes:
            process.kill()
    return counts + judged(root, seed, sum(process.exitcode == 0 for process in processes))


def judged(root, seed, finished):
    """What was written in a round; fails if writes of two holders counted, or if anything was lost."""
    events = sorted(EventLog(StudyFiles(join(root, "events"))).read()["job"], key=lambda event: event.order)
    assert [event.order for event in events] == list(range(1, len(events) + 1)), seed
    writers = {}
    for event in events:
        assert writers.setdefault(event.term, event.dispatcher) == event.dispatcher, (seed, event)
    counted, late, term = [], Counter(), 0
    for event in events:
        if event.term >= term:
            counted.append(event)
            term = event.term
        else:
            late[event.term] += 1
    assert max(late.values(), default=0) <= 1, (seed, late)  # the one that was in flight
    assert [event.epochs for event in counted] == list(range(1, len(counted) + 1)), seed
    assert len(events) >= finished * EVENTS, seed
    return Counter(events=len(events), ignored=len(events) - len(counted), terms=len(writers))


@pytest.mark.parametrize("rounds", [pytest.param(3, marks=pytest.mark.slow), pytest.param(200, marks=pytest.mark.long)])
@pytest.mark.parametrize("storage", ["disk", "object store"])
@pytest.mark.timeout(4 * 3600)
def test_writes_of_two_holders_never_count(tmp_path, storage, rounds):
    timeout = TIMEOUTS[storage]
    if storage == "disk":
        counts = [run_round(str(tmp_path / str(seed)), timeout, seed, {}) for seed in range(rounds)]
    else:
        with seaweed(tmp_path) as server:
            environment = {name: os.environ[name] for name in os.environ if name.startswith("AWS_")}
            counts = [run_round(server.uri(f"fight{seed}"), timeout, seed, environment) for seed in range(rounds)]
    total = sum(counts, Counter())
    print(rounds, "rounds on", storage, dict(total))
    assert total["stopped"] + total["killed"] >= rounds
    assert total["terms"] >= rounds * (FIGHTERS - DISTURBANCES)
