"""Calls that take turns, each in a process of its own: a process has one allocator, with one setting.

So the official code runs with the memory settings that its scripts leave alone, and ours with those that a search or a
retraining makes.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, TypeVar

WARM_UPS = 3
"""Turns that are not counted: it takes a few until a process has the memory that it uses again and again."""

Maker = Callable[[], Callable[[], Any]]
"""Makes what is timed.  It must be picklable: a function of a module, or a `functools.partial` of one."""

Found = TypeVar("Found")


def apart(call: Callable[[], Found]) -> Found:
    """What a call returns, in a process of its own, whose memory nothing else has used; `call` must be picklable."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(call).result()


def take_turns(
    makers: Mapping[str, Maker], repetitions: int, warm_ups: int = WARM_UPS
) -> dict[str, tuple[float, float]]:
    """Median seconds and CPU seconds of a call of each, after turns that warm up."""
    spawn = multiprocessing.get_context("spawn")
    ends, processes = {}, []
    try:
        for name, make in makers.items():
            ends[name], theirs = spawn.Pipe()
            processes.append(spawn.Process(target=_measure_on_demand, args=(theirs, make)))
            processes[-1].start()
            theirs.close()
        turns = [{name: _turn(end) for name, end in ends.items()} for _ in range(warm_ups + repetitions)]
    finally:
        for end in ends.values():
            end.close()
        for process in processes:
            process.join()
    return {name: _medians([turn[name] for turn in turns[warm_ups:]]) for name in makers}


def _medians(turns: list[tuple[float, float]]) -> tuple[float, float]:
    clock, used = zip(*turns, strict=True)
    return statistics.median(clock), statistics.median(used)


def _turn(end: Connection) -> tuple[float, float]:
    end.send(None)
    found: tuple[float, float] = end.recv()
    return found


def _measure_on_demand(end: Connection, make: Maker) -> None:
    call = make()
    while True:
        try:
            end.recv()
        except EOFError:  # no turn is left
            return
        start = time.perf_counter(), time.process_time()
        call()
        end.send((time.perf_counter() - start[0], time.process_time() - start[1]))
