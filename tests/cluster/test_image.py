"""The container image: what it copies is there, and what runs in it needs neither root nor a home."""

import fnmatch
import re
import shutil
import subprocess
import sys
from pathlib import PurePosixPath

import pandas as pd
import pytest

from cluster.templates import FOLDER
from tests.cluster import hosts

ROOT = FOLDER.parent
DOCKERFILE = (FOLDER / "Dockerfile").read_text()


def ignored(path):
    """Whether .dockerignore keeps a path, relative to the checkout, out of the image."""
    patterns = (ROOT / ".dockerignore").read_text().split()
    parts = [path, *PurePosixPath(path).parents]
    return any(
        fnmatch.fnmatchcase(str(part), pattern.removeprefix("**/"))
        or (pattern.startswith("**/") and fnmatch.fnmatchcase(PurePosixPath(part).name, pattern.removeprefix("**/")))
        for pattern in patterns
        for part in parts
    )


def test_the_image_has_all_that_it_installs():
    ((source, target),) = re.findall(r"^COPY --chown=\w+ (\S+) (\S+)$", DOCKERFILE, re.MULTILINE)
    assert source == "."
    installed = re.findall(rf"{target}(/\S*)?(?=\s|$)", DOCKERFILE)
    assert {path for path in installed if path} == {"/constraints.txt"}
    needed = ["pyproject.toml", "README.md", "MANIFEST.in", "constraints.txt"]
    needed += [
        str(path.relative_to(ROOT))
        for package in ("analysis", "cluster", "orchestrator", "pcdarts")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert all((ROOT / path).is_file() for path in needed)
    assert [path for path in needed if ignored(path)] == []
    assert all(
        map(ignored, (".venv/bin/python", ".git/config", "studies/smoke", "data/x", "pcdarts/__pycache__/a.pyc"))
    )


def test_the_image_runs_as_a_normal_user():
    """By number, which Kubernetes needs to know that it is not root."""
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)[-1] == "1000"


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_image_builds():
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("needs docker and its daemon")
    command = ["docker", "build", "--quiet", "-f", "cluster/Dockerfile", "-t", "pcdarts-test", "."]
    subprocess.run(command, cwd=ROOT, check=True)
    run = ["docker", "run", "--rm", "--shm-size=1g", "--user=4242", "--env=HOME=/nonexistent", "pcdarts-test"]
    subprocess.run([*run, "pcdarts", "check", "smoke"], check=True)


@pytest.mark.slow
def test_a_study_needs_neither_root_nor_a_home(tmp_path):
    """As in a pod: a user without a name, whose home cannot be written to; the token is in the environment."""
    hosts.require()
    user = ("setpriv", "--reuid=4242", "--regid=4242", "--clear-groups")
    if subprocess.run([*user, sys.executable, "-c", "import torch"], cwd=ROOT).returncode:
        pytest.skip(f"another user cannot read {ROOT} and its environment")
    with hosts.network(tmp_path, "pod") as found:
        pod = found["pod"]
        (tmp_path / "shared").chmod(0o777)
        study = ("smoke", "--seeds", "0", "--k", "2", "--no-retrain", "--storage", f"{hosts.SHARED}/studies")
        environment = {"HOME": "/nonexistent", "USER": "", "PYTHONPATH": str(ROOT)}
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
        pod.succeed(*user, "python", "-m", "orchestrator.cli", "run", *study, cwd="/tmp", **environment, **token)
    assert list(pd.read_parquet(tmp_path / "shared" / "studies" / "smoke" / "searches").status) == ["completed"]
