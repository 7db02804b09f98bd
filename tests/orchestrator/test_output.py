"""What the commands print."""

import os
import re
import shutil
import sys

import pytest

from analysis.records import RetrainJob
from orchestrator.output import program, queue, where_to_look
from tests.analysis.synthetic import queue_row, search_row


def test_a_command_is_named_so_that_it_can_be_typed(tmp_path, monkeypatch):
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    for name in ("python", "pcdarts"):
        (folder / name).touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    assert program() == str(folder / "pcdarts")
    monkeypatch.chdir(tmp_path)
    assert program() == ".venv/bin/pcdarts"
    assert "  .venv/bin/pcdarts queue studies/demo" in where_to_look("studies/demo")
    monkeypatch.setenv("PATH", str(folder))
    assert program() == "pcdarts"
    (folder / "pcdarts").unlink()
    assert program() == "pcdarts"


def test_an_empty_queue_says_why():
    why = "The queue is empty: no search of this study has completed yet."
    assert queue([]) == why
    assert queue([], ["e.json: why"]) == f"left out a broken event: e.json: why\n{why}"


@pytest.mark.parametrize(("terminal", "width"), [(None, 150), (200, 200), (40, 120)])
def test_the_queue_is_as_wide_as_the_terminal(monkeypatch, terminal, width):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal is not None, raising=False)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((terminal, 24)))
    row = queue_row(search_row(2, 0, 80.0), 1) | {"reason": "found twice, " * 30}
    lines = re.sub(r"\x1b\[\d*m", "", queue([RetrainJob(**row)])).splitlines()
    assert max(map(len, lines)) == width
    assert " queued " in lines[4] and " 556,670,592 " in lines[4]  # only the reason is wrapped
