"""What only runs on a GPU, on a CPU that pretends to be one: the logic of the parts, not their numbers."""

import dataclasses
import math
import time
from types import SimpleNamespace

import pytest
import torch

from pcdarts.results import EpochRecord
from pcdarts.selftest import calls, loading, machine, memory, retraining, searches, steps
from pcdarts.selftest.bench import SMALL, Bench


class Event:
    """A CUDA event by the clock."""

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.time = time.perf_counter()

    def elapsed_time(self, end):
        return 1000 * (end.time - self.time)


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.setattr(Bench, "on_gpu", True)
    for name in ("synchronize", "empty_cache", "reset_peak_memory_stats", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, lambda *args: None)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    for module in (searches, steps, memory):
        monkeypatch.setattr(module, "graph_option", lambda bench, graphs: {})
    return Bench(torch.device("cpu"), SMALL, deadline=math.inf)


def epochs(**changes):
    """Three epochs of a search, as far as the part reads them."""
    fields = {field.name: 1.0 for field in dataclasses.fields(EpochRecord)}
    return [SimpleNamespace(**fields | changes) for _ in range(searches.EPOCHS)]


def test_calls_also_measure_tf32(bench):
    assert calls.run(bench)[0] == "pass"
    assert {row["form"] for row in bench.tables["Single calls"]} >= {"NHWC", "NCHW", "TF32", "fp32", "cat"}
    assert all(row["ms"] > 0 for row in bench.tables["Single calls"])


def test_products_are_measured_with_and_without_tf32(bench, monkeypatch):
    monkeypatch.setattr(machine, "gpu_facts", lambda index: {"GPU name": "none"})
    assert machine.run(bench)[0] == "pass"
    assert [row["what"].split(", ")[-1] for row in bench.tables["Ceilings"][1:]] == ["fp32", "TF32"]


@pytest.mark.parametrize(
    ("repeated", "with_graphs", "verdict", "reason"),
    [
        ({}, {}, "pass", "all runs have equal bits"),
        ({"seconds_weights": 2.0, "peak_memory_bytes": 2}, {"eigenvalue_seconds": 2.0}, "pass", "all runs have equal"),
        (
            {},
            {"train_loss": 1.002},
            "fail",
            "graphs change losses by more than rounding and repetitions do: batch 8, with",
        ),
        ({}, {"alphas_normal": 1.001}, "pass", "not all bits are equal"),
        ({"train_loss": 1.001}, {"train_loss": 1.005}, "pass", "not all bits are equal"),
        ({"train_loss": 1.001}, {"train_loss": 1.5}, "fail", "graphs change losses"),
        ({"train_loss": 1.001}, {"train_loss": math.nan}, "fail", "graphs change losses"),
    ],
)
def test_searches_with_graphs_are_compared_with_searches_without(
    bench, monkeypatch, repeated, with_graphs, verdict, reason
):
    runs = iter([epochs(), epochs(**repeated), epochs(**with_graphs), epochs(**with_graphs)])
    monkeypatch.setattr(searches, "short_search", lambda bench, batch, graphs: (next(runs), ["logged"]))
    found = searches.run(bench)
    assert found[0] == verdict and reason in found[1]
    table, logged = bench.tables.values()
    assert [row["run"] for row in table] == ["without graphs, 2", "with graphs, 1", "with graphs, 2"]
    assert logged == [{"line": "logged"}]


def test_a_search_whose_captures_fail_is_slower_than_expected(bench, monkeypatch):
    line = "a CUDA graph could not be captured, so the steps run eagerly: no such thing"
    monkeypatch.setattr(searches, "short_search", lambda bench, batch, graphs: (epochs(), [line] if graphs else []))
    assert searches.run(bench) == ("slower than expected", line)


@pytest.mark.slow
def test_steps_are_measured_eager_and_captured(bench, monkeypatch):
    made = []

    class Captured:
        def __init__(self, step):
            made.append(step)
            self.step = step

        def __call__(self, *inputs):
            return self.step(*inputs)

    monkeypatch.setattr(steps, "CapturedStep", Captured)
    assert steps._steps(bench, 4) == []
    (table,) = bench.tables.values()
    assert [(row["network"], row["step"], row["mode"]) for row in table] == [
        (network, step, mode)
        for network in ("reference", "fast")
        for step in ("weights", "alpha", "validation")
        for mode in ("eager", "captured")
    ]
    assert len(made) == 6 and all(row["ms"] > 0 for row in table)


def test_a_step_that_cannot_be_captured_fails_with_its_row(bench, monkeypatch):
    monkeypatch.setattr(steps, "_our_steps", lambda bench, name: {"weights": lambda: lambda images, labels: ()})
    monkeypatch.setattr(steps, "CapturedStep", lambda step: lambda *inputs: print("could not be captured"))
    failed = steps._steps(bench, 4)
    assert len(failed) == 2 and all("could not be captured" in line for line in failed)


def test_memory_compares_the_peaks_of_the_allocator(bench, monkeypatch):
    prediction = SimpleNamespace(allocated=110, reserved=200)
    monkeypatch.setattr(memory, "predict_memory", lambda config, gpu: prediction)
    monkeypatch.setattr(memory, "search", lambda config, data: None)
    for name, value in {"max_memory_allocated": 100, "max_memory_reserved": 150, "memory_reserved": 10}.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (500, 1000))
    verdict, reason = memory.run(bench)
    assert verdict == "fail" and "K = 4, with graphs, reserved +33%" in reason
    assert "allocated" not in reason
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 190)
    assert memory.run(bench) == ("pass", "predictions are within 10% of what was measured")


def test_retraining_takes_the_fastest_layout_of_every_precision(bench, monkeypatch):
    seconds = {"fp32": 0.4, "tf32": 0.2, "bf16": 0.1}

    def step_seconds(bench, setting):
        if setting.recipe == "imagenet" and setting.precision == "bf16":
            raise FloatingPointError("loss is nan in bf16")
        return seconds[setting.precision] * (0.5 if setting.channels_last else 1)

    monkeypatch.setattr(retraining, "step_seconds", step_seconds)
    monkeypatch.setattr(retraining, "_compiled", lambda bench: None)
    verdict, reason = retraining.run(bench)
    assert verdict == "fail" and reason.startswith("imagenet, bf16: FloatingPointError: loss is nan")
    hours = 600 * 50_000 * 0.05 / SMALL.network_batch / 3600
    name = "retraining, cifar10, 600 epochs, C = 4, 3 cells, bf16, steps alone"
    assert bench.costs[name] == pytest.approx(hours)
    assert sum("imagenet" in cost for cost in bench.costs) == 2


def test_a_compiled_step_that_takes_too_long_is_a_row(bench, monkeypatch):
    monkeypatch.setattr(retraining, "COMPILE_SECONDS", 1e-3)
    retraining._compiled(bench)
    (row,) = bench.tables[retraining.CAPTION]
    assert row["error"] == "not compiled after 0 s"


def test_files_are_loaded_with_and_without_processes(bench, monkeypatch):
    monkeypatch.setattr(loading.os, "cpu_count", lambda: 2)
    assert loading.run(bench)[0] == "pass"
    assert [row["processes"] for row in bench.tables["Training images a second"]] == [0, 0, 1]


@pytest.mark.slow
def test_a_slow_search_is_slower_than_expected(bench, monkeypatch):
    monkeypatch.setattr(steps, "_steps", lambda bench, batch: [])
    monkeypatch.setattr(steps, "_kernels", lambda bench: None)
    verdict, reason = steps.run(bench)
    assert verdict == "slower than expected" and "GPU-days" in reason
    assert {row["part"] for row in bench.tables["Parts of a whole search"]} >= {"eigenvalue", "discretized accuracy"}
