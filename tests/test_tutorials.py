"""The tutorials run: their blocks of sh and python, in order, in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
QUICK = ("reading-tables",)
"""Tutorials that search nothing."""
TRIES = 5
"""Attempts to run a block on a machine that is too busy to start Ray."""


def blocks(page):
    """Language and text of the blocks that readers run."""
    return re.findall(r"```(sh|python)\n(.*?)```", page.read_text(), re.DOTALL)


def shell(text, folder):
    environment = {name: value for name, value in os.environ.items() if name != "PCDARTS_STORAGE"}
    # `pcdarts` is that of this checkout, whatever is installed.
    program = f'pcdarts() {{ "{sys.executable}" -m orchestrator.cli "$@"; }}\n'
    environment |= {"PYTHONPATH": str(ROOT), "RAY_ADDRESS": "local"}
    command = ["bash", "-euo", "pipefail", "-c", program + text]
    for _ in range(TRIES):
        result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if "Ray cannot start on this machine" not in result.stderr:  # it is busy; the remedy is to try again
            break
    assert result.returncode == 0, f"{text}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page.stem, marks=() if page.stem in QUICK else pytest.mark.slow) for page in TUTORIALS],
)
def test_a_tutorial_runs(page, tmp_path, monkeypatch):
    if "import polars" in page.read_text():
        pytest.importorskip("polars", reason="needs polars: pip install -e '.[dev]'")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(ROOT / "docs")  # what "in the project's folder" stands for
    names = {"__name__": "tutorial"}
    for language, text in blocks(page):
        if language == "sh":
            shell(text, tmp_path)
        else:
            exec(compile(text, str(page), "exec"), names)


def test_every_tutorial_is_executed_and_linked():
    index = (ROOT / "docs" / "index.md").read_text()
    assert len(TUTORIALS) == 6
    for page in TUTORIALS:
        assert len(blocks(page)) >= 3 and f"tutorials/{page.stem}\n" in index
