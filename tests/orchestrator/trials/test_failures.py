"""Why a trial failed: one example for every text that is recognized."""

import pytest

from orchestrator.trials.failures import classify

LOST = """Failure # 1 (occurred at 2026-11-28_17-00-00)
The actor died unexpectedly before finishing this task.
\tclass_name: ImplicitFunc
\tactor_id: 7d5d
\tpid: 26322
\tnamespace: 41f3
\tip: 127.0.0.1
"""
EXIT = "Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with a connection error code 2."
CAUSES = "Some common causes include: (1) the process was killed by the OOM killer due to high memory usage, ..."
MONITOR = "1 worker(s) were killed due to the node running low on memory. Memory on the node was 3.0GB / 3.1GB"
KILLED = "OutOfMemoryError: killed by Ray's memory monitor, as its node ran out of memory"
TASK = (
    "Failure # 1 (occurred at 2026-11-28_17-00-00)\n\x1b[36mray::ImplicitFunc.train()\x1b[39m (pid=1, ip=127.0.0.1)\n"
)


@pytest.mark.parametrize(
    "error",
    [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.",
        "torch.cuda.OutOfMemoryError: CUDA out of memory",
        "MemoryError",
        "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 7.28 TiB",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you",
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "RuntimeError: GET was unable to find an engine to execute this computation",
    ],
)
def test_an_allocation_that_failed(error):
    failure = classify(f"{TASK}  File search.py\n{error}\nmore\n")
    assert (failure.kind, failure.message, failure.out_of_memory) == ("out of memory", error, True)
    assert failure.traceback_text.startswith("ray::ImplicitFunc.train() (pid=1")


@pytest.mark.parametrize("text", [f"Failure # 1 (now)\n{MONITOR}\n", f"{LOST}{MONITOR}\n", MONITOR])
def test_a_process_that_the_memory_monitor_killed(text):
    failure = classify(text)
    assert (failure.kind, failure.message, failure.out_of_memory) == ("memory monitor", KILLED, True)


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        (
            f"The actor is dead because its worker process has died. {EXIT} End of file. {CAUSES}",
            f"{EXIT} End of file.",
        ),
        ("The actor died because its node has died. Node Id: 9a: health check failed", "health check failed"),
    ],
)
def test_a_process_that_ended_alone_or_with_its_node(reason, message):
    failure = classify(f"{LOST}{reason}\n")
    assert (failure.kind, failure.out_of_memory) == ("process lost", False)
    assert failure.message.startswith("process lost: The actor ") and failure.message.endswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FloatingPointError: training loss is nan in epoch 0", "FloatingPointError: training loss is nan in epoch 0"),
        ("  raise MemoryError\nRuntimeError: shapes do not match", "RuntimeError: shapes do not match"),
        ("ray.exceptions.RayTaskError: x", "RayTaskError: x"),
        ("no error is named here\n\n", "no error is named here"),
        ("", "unknown error"),
        (f"{TASK}KeyError: '{'a' * 600}'", f"KeyError: '{'a' * 489}"),
    ],
)
def test_any_other_error_is_its_line(text, message):
    failure = classify(text)
    assert (failure.kind, failure.message, failure.out_of_memory) == ("error", message, False)


def test_only_the_last_failure_counts():
    text = f"Failure # 1 (occurred at noon)\n{MONITOR}\nFailure # 2 (occurred at one)\nTraceback\nKeyError: 1\n"
    failure = classify(text)
    assert (failure.kind, failure.traceback_text) == ("error", "Traceback\nKeyError: 1\n")


def test_other_code_than_the_drivers_is_recognized():
    failure = classify(f"{TASK}cluster.code.OtherCodeError: a trial would run the code in /b, but its driver ...\n")
    assert failure.kind == "other code" and failure.message.endswith(
        "OtherCodeError: a trial would run the code in /b, but its driver ..."
    )
