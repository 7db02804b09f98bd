"""`ray up` and `ray submit` over ssh, to a head and a worker that this machine plays; the code changes in between.

Where the programs are missing it is skipped; under .ci/run, which sets PCDARTS_CI, it fails instead.
"""

import getpass
import http.client
import ipaddress
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.cluster.ssh import HEAD, WORKER, free_port, missing, processes, ssh_server, wait_for
from tests.sockets import listening, tree

pytestmark = pytest.mark.slow  # a cluster starts, twice

ROOT = Path(__file__).parents[2]
PROJECT = (".git", "analysis", "cluster", "orchestrator", "pcdarts", "pyproject.toml", "constraints.txt")
PCDARTS = (sys.executable, "-m", "orchestrator.cli")

ONE_SEARCH = ("smoke", "--seeds", "0", "--k", "2")


@dataclass(frozen=True, kw_only=True)
class Head:
    """A running head, and a user with a checkout of the project at another end of ssh."""

    folder: Path
    """What all of them have on this machine: homes, the user's checkout with cluster.yaml in it, studies."""
    environment: dict
    """Of the user's processes."""
    port: int
    """Of Ray on the head."""
    ray_tmpdir: Path
    """By which the processes of the test are known."""

    @property
    def project(self):
        return self.folder / "project"

    def status(self, **environment):
        """Exit code and output of `ray status`, as the user, or with another token."""
        return self.run(
            "ray", "status", "--address", f"{HEAD}:{self.port}", **{"RAY_AUTH_MODE": "token", **environment}
        )

    def run(self, *command, **environment):
        """Run a command in the checkout; its exit code and output."""
        done = subprocess.run(
            command,
            cwd=self.project,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout

    def succeed(self, *command, **environment):
        """Output of a command whose exit code must be 0."""
        code, text = self.run(*command, **environment)
        assert code == 0, text
        return text


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    reason = f"{', '.join(missing())} missing: apt-get install openssh-server rsync" if missing() else ""
    if reason and os.environ.get("PCDARTS_CI"):
        pytest.fail(f"continuous integration must test ray submit over ssh: {reason}")
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("ssh")
    project = folder / "project"
    project.mkdir()
    for name in PROJECT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, project / name)
    ray_tmpdir = Path(tempfile.mkdtemp(prefix="ray-ssh-", dir="/tmp"))  # short: the names of sockets have a limit
    try:
        with ssh_server(folder, ray_tmpdir) as environment:
            running = Head(folder=folder, environment=environment, port=free_port(), ray_tmpdir=ray_tmpdir)
            init = ("--head", HEAD, "--workers", WORKER, "--user", getpass.getuser())
            running.succeed(*PCDARTS, "cluster", "init", "onprem", *init, "--storage", str(folder / "studies"))
            file = project / "cluster.yaml"
            file.write_text(yaml.safe_dump(on_this_machine(yaml.safe_load(file.read_text()), running)))
            running.succeed("ray", "up", "-y", "cluster.yaml")
            wait_for(lambda: "1.0 CPU" in running.status()[1], "the head starts the worker")
            yield running
    finally:
        shutil.rmtree(ray_tmpdir, ignore_errors=True)


def on_this_machine(config, head):
    """The cluster file with the environment of this Python and ports of its own; only the worker has a CPU.

    It must not say `ray stop`, which ends every Ray of the machine.
    """
    make, install, path, *others = config["setup_commands"]
    assert "venv" in make and "pip install" in install and "pcdarts-env/bin" in path
    path = path.replace("$HOME/pcdarts-env/bin", f"{head.folder}/bin:{Path(sys.executable).parent}")
    stop, start_head = config["head_start_ray_commands"]
    stop_too, start_worker = config["worker_start_ray_commands"]
    assert stop == stop_too == "ray stop" and "--port=6379" in start_head and ":6379" in start_worker
    ports = f"--port={head.port} --dashboard-port={free_port()} --ray-client-server-port={free_port()}"
    agents = [f"--dashboard-agent-listen-port={free_port()} --disable-usage-stats" for _ in range(2)]
    worker = f":{head.port} --num-cpus=1 --node-ip-address={WORKER} {agents[1]}"
    return config | {
        "cluster_name": head.ray_tmpdir.name,
        "setup_commands": [path, *others],
        "head_start_ray_commands": [start_head.replace("--port=6379", f"{ports} --num-cpus=0 {agents[0]}")],
        "worker_start_ray_commands": [start_worker.replace(":6379", worker)],
    }


def searches(storage, study="smoke"):
    return pd.read_parquet(Path(storage) / study / "searches")


def test_a_study_runs_with_ray_submit(head):
    head.succeed("ray", "submit", "cluster.yaml", "orchestrator/run.py", *ONE_SEARCH)
    (row,) = searches(head.folder / "studies").itertuples()
    assert row.status == "completed" and row.device_name.startswith("cpu")
    revision = ("git", "rev-parse", "HEAD")
    assert row.git_revision == head.succeed(*revision).strip() + "+"  # tests and docs were not copied
    shown = {path.name for path in (head.folder / HEAD).iterdir() if not path.name.startswith(".")}
    assert shown == {"pcdarts-orchestrator", "ray_bootstrap_config.yaml", "run.py"}


def test_the_study_is_brought_home(head, tmp_path):
    head.succeed("ray", "rsync-down", "cluster.yaml", f"{head.folder}/studies/smoke/", f"{tmp_path}/smoke/")
    pd.testing.assert_frame_equal(searches(tmp_path), searches(head.folder / "studies"))


def test_changed_code_and_arguments_with_spaces_arrive_by_pcdarts_cluster_submit(head, tmp_path):
    source = head.project / "pcdarts" / "training" / "device.py"
    source.write_text(source.read_text().replace('f"cpu (', 'f"changed cpu ('))
    storage = tmp_path / "two  words; $HOME 'quoted'"
    head.succeed(*PCDARTS, "cluster", "submit", "cluster.yaml", *ONE_SEARCH, "--no-retrain", "--storage", str(storage))
    (row,) = searches(storage).itertuples()
    assert row.device_name.startswith("changed cpu")
    there = head.folder / WORKER / "pcdarts-orchestrator" / "pcdarts" / "training" / "device.py"
    assert (
        "changed cpu" not in there.read_text()
    )  # it came with the study, the worker's checkout is as `ray up` left it


def test_the_exit_code_of_a_study_that_fails_comes_back(head):
    code, text = head.run("ray", "submit", "cluster.yaml", "orchestrator/run.py", "nothing")
    assert code == 1 and "preset is 'nothing'" in text


def test_the_token_is_private_everywhere(head):
    tokens = [head.folder / home / ".ray" / "auth_token" for home in ("user", HEAD, WORKER)]
    assert len({token.read_text() for token in tokens}) == 1 and len(tokens[0].read_text()) == 64
    assert {stat.S_IMODE(token.stat().st_mode) for token in tokens} == {0o600}


def test_who_has_not_the_token_is_refused(head, tmp_path):
    for other in ({"RAY_AUTH_TOKEN": "0" * 64}, {"RAY_AUTH_MODE": "disabled"}):
        code, text = head.status(HOME=str(tmp_path), **other)
        assert code != 0 and "InvalidAuthToken" in text


def test_what_the_head_serves_beyond_loopback_demands_the_token(head):
    everywhere = {
        (host, port)
        for pid in processes(head.ray_tmpdir)
        for host, port in listening(tree(pid))
        if not ipaddress.ip_address(host).is_loopback
    }
    assert head.port in {port for _, port in everywhere}
    mine = socket.gethostbyname(socket.gethostname())
    for host, port in everywhere:
        target = mine if ipaddress.ip_address(host).is_unspecified else host
        assert answer(target, port) in (401, "no http"), (host, port)


def answer(host, port):
    """Status code of Ray's job service without the token, or that the port does not speak HTTP: Ray's own protocol."""
    connection = http.client.HTTPConnection(host, port, timeout=240)
    try:
        connection.request("GET", "/api/job_agent/jobs/")
        return connection.getresponse().status
    except (http.client.BadStatusLine, ConnectionResetError):
        return "no http"
    finally:
        connection.close()
