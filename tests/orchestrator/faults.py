"""A cluster of three Ray nodes on this machine, a study that runs on it, and what can go wrong."""

import contextlib
import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

SEARCHES_EPOCHS = 8
"""Epochs of all searches of the study that `Study` runs."""
PATIENCE = 600.0
"""Seconds after which a test gives up waiting."""


def wait_until(condition, what):
    """Wait for a condition; fail after PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE:g} s until {what}")
        time.sleep(0.02)
    return found


class Nodes:
    """A head without resources and two nodes that run trials, with a logical GPU each."""

    def __init__(self) -> None:
        from ray._private import services
        from ray.cluster_utils import Cluster

        # Else, where this process has a Ray of its own on loopback, the nodes would be there; drivers do not look.
        self.address = services.node_ip_address_from_perspective()
        head = {"num_cpus": 0, "include_dashboard": False, "node_ip_address": self.address}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.workers = [self._add(), self._add()]

    def _add(self):
        return self.cluster.add_node(num_cpus=1, num_gpus=1, node_ip_address=self.address)

    def kill_a_worker(self, choose: random.Random) -> None:
        """SIGKILL for a process that runs a trial."""
        os.kill(choose.choice(wait_until(self._trials, "a trial runs")), signal.SIGKILL)

    def _trials(self) -> list[int]:
        raylets = {_raylet(node) for node in self.workers}
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parent = int(path.read_text().rpartition(")")[2].split()[1])
                if parent in raylets and (path.parent / "cmdline").read_bytes().startswith(b"ray::ImplicitFunc"):
                    found.append(int(path.parent.name))
        return found

    def kill_a_node(self, choose: random.Random) -> None:
        """SIGKILL for a node's raylet; another node comes, as on a cluster of spot machines."""
        node = self.workers.pop(choose.randrange(2))
        os.kill(_raylet(node), signal.SIGKILL)
        self.cluster.remove_node(node, allow_graceful=False)
        self.workers.append(self._add())


def _raylet(node) -> int:
    return node.all_processes["raylet"][0].process.pid


class Study:
    """Four small searches, run by a driver in a process of its own until they are done."""

    def __init__(self, address: str, storage: str, **options: object) -> None:
        self.root = f"{storage}/smoke" if "?" not in storage else storage.replace("?", "/smoke?")
        self.command = [sys.executable, "-m", "orchestrator.cli", "run", "smoke", "--storage", storage, "--no-retrain"]
        self.command += ["--address", address, "--gpus-per-trial", "0.5"]
        self.command += ["--set", "run.max_failures=20", *(f"run.{name}={value}" for name, value in options.items())]
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start the driver unless it runs."""
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ
            )

    def epochs(self) -> int:
        """Epochs that are stored."""
        from analysis.store import ResultStore
        from analysis.tables import EPOCHS

        return len(ResultStore(self.root).read(EPOCHS, columns=["epoch"]))

    def wait_for(self, epochs: int) -> None:
        """Wait until so many epochs are stored; fail where the driver ends before."""

        def reached():
            if self.process.poll() is not None and self.epochs() < epochs:
                pytest.fail(f"the driver ended too early: {self.process.stdout.read()}")
            return self.epochs() >= epochs

        wait_until(reached, f"{epochs} epochs are stored")

    def end(self, code: int = 0) -> str:
        """Wait for the driver's end, with this exit code; what it printed."""
        output, _ = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == code, output
        return output

    def kill(self) -> None:
        """SIGKILL for the driver, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int = 24) -> Iterator[Path]:
    """A file system of its own in memory; skips the test where none can be mounted."""
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"no file system can be mounted here, which needs root: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all the room that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC
    return filler


def set_read_only(disk: Path, read_only: bool) -> None:
    """Remount, once no file is open for writing."""
    flag = "ro" if read_only else "rw"
    command = ["mount", "-o", f"remount,{flag}", str(disk)]
    wait_until(lambda: subprocess.run(command, capture_output=True).returncode == 0, f"the disk is {flag}")


def failures(root: str) -> pd.DataFrame:
    """The table `failures`."""
    from analysis.store import ResultStore
    from analysis.tables import FAILURES

    return ResultStore(root).read(FAILURES)
