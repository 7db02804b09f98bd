"""SIGTERM, SIGHUP and Ctrl-C end a command in order; a second signal ends it at once."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.options import RunOptions
from orchestrator.storage.lease import open_lease
from tests.orchestrator.faults import wait_until

COMMAND = """
import argparse, sys, time
from orchestrator import cli

def command(arguments):
    try:
        print("ready", flush=True)
        time.sleep(600)
    finally:
        print("cleaning up", flush=True)
        if "slowly" in arguments.argv:
            time.sleep(600)

parser = argparse.ArgumentParser()
parser.add_argument("how")
parser.set_defaults(command=command)
cli._parser = lambda: parser
cli.command()
"""


def hear():
    """Undo what `nohup`, or a shell that starts a job in the background, ignores."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def started(how="promptly", preexec_fn=hear):
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        preexec_fn=preexec_fn,
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(
    ("number", "code", "what"),
    [(signal.SIGINT, 130, "Interrupted"), (signal.SIGTERM, 143, "Terminated"), (signal.SIGHUP, 143, "Terminated")],
)
def test_a_signal_ends_a_command_in_order_with_one_line(number, code, what):
    process = started()
    process.send_signal(number)
    output, errors = process.communicate()
    assert (process.returncode, output) == (code, "cleaning up\n")
    assert errors == f"\n{what}. Progress is saved; resume with:  {errors.rpartition(':  ')[2]}"
    assert errors.rstrip().endswith("promptly")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_it_at_once(number, code):
    process = started("slowly")
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "cleaning up\n"

    def ended():
        process.send_signal(number)  # the first ones may still count as the same signal
        return process.poll() is not None

    wait_until(ended, "the process ends")
    assert process.communicate() == ("", "") and process.returncode == code


def test_what_is_ignored_stays_ignored():
    process = started(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))  # as nohup does
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert "Terminated" in process.communicate()[1] and process.returncode == 143


def test_a_terminal_that_is_gone_is_no_error():
    controller, terminal = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "promptly"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=hear,
        cwd=Path(__file__).parents[2],
    )
    os.close(terminal)
    assert os.read(controller, 100).strip() == b"ready"
    os.close(controller)  # as when ssh breaks off
    process.send_signal(signal.SIGHUP)
    assert process.wait() == 143


def study(storage, *more):
    command = [
        sys.executable,
        "-m",
        "orchestrator.cli",
        "run",
        "smoke",
        "--storage",
        str(storage),
        "--address",
        "local",
    ]
    return subprocess.Popen(
        [*command, "--seeds", "0", "--k", "2", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def children(pid):
    """Names of the processes that this one has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        if rest.split()[1] == str(pid):
            found.append(name)
    return found


def phase(root):
    try:
        return json.loads((root / "live.json").read_text())["driver"]["phase"]
    except (OSError, ValueError):
        return ""


@pytest.mark.slow
def test_a_study_is_interrupted_by_sigterm_whatever_it_does_and_resumes_at_once(tmp_path):
    root = tmp_path / "smoke"
    moments = {
        "Ray starts": lambda process: "gcs_server" in children(process.pid),
        "Ray has started": lambda process: "raylet" in children(process.pid),
        "searches run": lambda process: any((root / "checkpoints").glob("*.pt")),
    }
    for moment, reached in moments.items():
        process = study(tmp_path)
        wait_until(lambda reached=reached, process=process: process.poll() is not None or reached(process), moment)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()
        assert (moment, process.returncode) == (moment, 143), errors
        lines = errors.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("Terminated. Progress is saved; resume with:  "), errors
        assert phase(root) == "interrupted"

    with open_lease(str(root), RunOptions(), "study"):
        waiting = study(tmp_path, "--set", "run.wait=true")
        assert waiting.stdout.readline().startswith("waiting: another process")
        waiting.send_signal(signal.SIGTERM)
        assert "Terminated" in waiting.communicate()[1] and waiting.returncode == 143
    process = study(tmp_path)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert phase(root) == "finished"
