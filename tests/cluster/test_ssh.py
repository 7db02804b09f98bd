"""`ray up` and `ray submit` over ssh: a study on a head that this machine plays, twice, with a change of the code between.

Where the programs are missing it is skipped; under .ci/run, which sets PCDARTS_CI, it fails instead.
"""

import getpass
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.cluster.ssh import free_port, missing, ssh_server

ROOT = Path(__file__).parents[2]
PACKAGES = ("analysis", "cluster", "orchestrator", "pcdarts")


@dataclass(frozen=True, kw_only=True)
class Head:
    """A running head, the project whose copy it has, and the command line that speaks to it."""

    project: Path
    home: Path
    environment: dict

    def run(self, *command, fails=False):
        """Output of a command, run in the project; with `fails` its exit code is not 0."""
        done = subprocess.run(
            command, cwd=self.project, env=self.environment, capture_output=True, text=True, timeout=200
        )
        text = done.stdout + done.stderr
        assert bool(done.returncode) == fails, text
        return text


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    if lacking := missing():
        reason = f"{', '.join(lacking)} missing: apt-get install openssh-server rsync"
        (pytest.fail if os.environ.get("PCDARTS_CI") else pytest.skip)(reason)
    folder = tmp_path_factory.mktemp("ssh")
    home, project = folder / "home", folder / "project"
    home.mkdir()
    project.mkdir()
    for package in PACKAGES:
        shutil.copytree(ROOT / package, project / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / file, project)
    ray_tmpdir = Path(tempfile.mkdtemp(prefix="ray-ssh-", dir="/tmp"))  # short: the names of sockets have a limit
    try:
        with ssh_server(folder, home, ray_tmpdir) as environment:
            token = folder / "client" / ".ray" / "auth_token"
            token.parent.mkdir()
            token.write_text("0123456789abcdef" * 4)
            token.chmod(0o600)
            running = Head(project=project, home=home, environment=environment)
            (project / "cluster.yaml").write_text(yaml.safe_dump(cluster_file(ray_tmpdir.name)))
            running.run("ray", "up", "-y", "cluster.yaml")
            yield running
    finally:
        shutil.rmtree(ray_tmpdir, ignore_errors=True)


def cluster_file(name):
    """cluster/onprem.yaml with this machine as its only one, the environment of this Python, and ports of its own.

    It must not say `ray stop`, which ends every Ray of the machine.
    """
    config = yaml.safe_load((ROOT / "cluster" / "onprem.yaml").read_text())
    config["cluster_name"] = name
    config["provider"] |= {"head_ip": "127.0.0.1", "worker_ips": []}
    config["auth"]["ssh_user"] = getpass.getuser()
    config["file_mounts"] = {"~/pcdarts-orchestrator": ".", "~/.ray/auth_token": "~/.ray/auth_token"}
    environment = f"export PATH={Path(sys.executable).parent}:$PATH RAY_AUTH_MODE=token"
    config["setup_commands"] = [f"echo '{environment}' > ~/.bashrc"]
    ports = f"--port={free_port()} --dashboard-port={free_port()} --ray-client-server-port={free_port()}"
    config["head_start_ray_commands"] = [
        f"ray start --head {ports} --dashboard-host=127.0.0.1 --num-cpus=1 --disable-usage-stats"
    ]
    return config


def searches(storage, study):
    return pd.read_parquet(Path(storage) / study / "searches")


def test_a_study_is_submitted_with_ray_submit(head, tmp_path):
    head.run("ray", "submit", "cluster.yaml", "orchestrator/run.py", "smoke", "--storage", str(tmp_path))
    assert set(searches(tmp_path, "smoke").status) == {"completed"}
    assert sorted(path.name for path in head.home.iterdir() if not path.name.startswith(".")) == [
        "pcdarts-orchestrator",
        "ray_bootstrap_config.yaml",
        "run.py",
    ]


def test_the_token_is_private_on_the_head(head):
    token = head.home / ".ray" / "auth_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
