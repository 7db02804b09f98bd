"""Studies in unusual environments: they run, or are refused in one line that names the value and the remedy."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.store import ResultStore
from analysis.tables import SEARCHES

ROOT = Path(__file__).parents[2]
RUN = "import sys; sys.path.insert(0, {root!r}); from orchestrator.cli import main; sys.exit(main(sys.argv[1:]))"
"""As the installed command: the working directory is not on the path, but our packages are."""


def command(*arguments):
    return [sys.executable, "-P", "-c", RUN.format(root=str(ROOT)), *arguments]


def environment(**changes):
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "RAY_ADDRESS")}
    return {name: value for name, value in (kept | changes).items() if value is not None}


def done(*arguments, cwd, **changes):
    return subprocess.run(
        command(*arguments), cwd=cwd, env=environment(**changes), capture_output=True, text=True, check=False
    )


SMALL = ("smoke", "--seeds", "0", "--k", "2", "--no-retrain")


def unused_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"RAY_ADDRESS": f"127.0.0.1:{unused_port()}"}, "the value of RAY_ADDRESS"),
        ({"RAY_TMPDIR": None, "TMPDIR": f"/tmp/{'x' * 90}"}, f"TMPDIR is '/tmp/{'x' * 90}'"),
    ],
)
def test_an_environment_that_cannot_work_is_one_line_and_exit_code_2(changes, message, tmp_path):
    run = done("run", *SMALL, cwd=tmp_path, **changes)
    assert run.returncode == 2 and run.stderr.startswith("pcdarts: error: ") and message in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1


def test_a_missing_data_folder_is_refused_before_ray_starts(tmp_path):
    # Ray could not start here, which would be another error.
    run = done("run", "imagenet", "--data-dir", "nowhere", cwd=tmp_path, RAY_TMPDIR="/proc/nowhere")
    assert run.returncode == 2 and f"{tmp_path}/nowhere" in run.stderr and "RAY_TMPDIR" not in run.stderr
    assert "and set data_dir" in run.stderr and not (tmp_path / "nowhere").exists()


@pytest.fixture
def crowded(tmp_path):
    """A working directory whose modules have the names of our packages, and must not be imported."""
    folder = tmp_path / "crowded"
    for name in ("analysis", "orchestrator", "pcdarts"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise RuntimeError('imported from the working directory')\n")
    (folder / "cluster.py").write_text("raise RuntimeError('imported from the working directory')\n")
    return folder


@pytest.mark.slow
def test_a_study_runs_in_a_crowded_folder_without_a_home_under_uv(crowded, tmp_path):
    """`uv run` is a parent named uv with the argument run; a shell plays it."""
    home = tmp_path / "home"
    home.mkdir()
    words = command("run", *SMALL, "--retrain", "--storage=~/my studies #1", "--address", "local")
    (crowded / "run").write_text('"$@"\n')
    run = subprocess.run(
        ["uv", "run", *words],
        executable=shutil.which("bash"),
        cwd=crowded,
        env=environment(HOME=str(home), RAY_AUTH_TOKEN_PATH=None),
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    root = home / "my studies #1" / "smoke"
    assert f"queue '{root}'" in run.stdout and not (crowded / "~").exists()
    (row,) = ResultStore(str(root)).rows(SEARCHES)
    assert row["status"] == "completed"
    shutil.rmtree(home)
    again = done(
        "run", *SMALL, "--address", "local", "--storage", str(tmp_path / "other"), cwd=crowded, HOME="/proc/nowhere"
    )
    assert again.returncode == 0, again.stdout + again.stderr


@pytest.mark.slow
def test_paths_count_from_where_the_driver_runs_not_from_where_the_cluster_was_started(tmp_path):
    from tests.orchestrator.faults import Nodes
    from tests.pcdarts.data.own_images import write_arrays

    work = tmp_path / "work"
    work.mkdir()
    write_arrays(work / "scans.npz", train=60, test=12)
    nodes = Nodes()  # in the working directory of the tests
    try:
        flags = ("--seeds", "0", "--k", "2", "--dataset", "arrays", "--data-dir", "scans.npz", "--epochs", "2")
        address = ("--address", nodes.cluster.address, "--gpus-per-trial", "0.5")
        run = done("run", "smoke", *flags, *address, "--retrain", cwd=work)
    finally:
        nodes.cluster.shutdown()
    assert run.returncode == 0, run.stdout + run.stderr
    (row,) = ResultStore(str(work / "studies" / "smoke")).rows(SEARCHES)
    assert row["status"] == "completed" and row["data_dir"] == str(work / "scans.npz")
