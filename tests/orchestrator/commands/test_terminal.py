"""What the commands print."""

import os
import re
import shlex
import shutil
import sys

import pytest

from analysis.store import ResultStore
from analysis.tables import RETRAINS, SEARCHES
from orchestrator.commands.terminal import program, queue, summary, where_to_look
from tests.analysis.synthetic import queue_row, retrain_row, search_row


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


def test_what_is_printed_can_be_pasted(tmp_path, monkeypatch):
    folder = tmp_path / "my env" / "bin"
    folder.mkdir(parents=True)
    for name in ("python", "pcdarts"):
        (folder / name).touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    root = 'my studies #1/de"mo'
    lines = where_to_look(root).splitlines()
    names = {}
    for line in lines[2:4]:
        exec(line.strip().replace("pd.read_parquet", ""), names)
    assert (names["searches"], names["epochs"]) == (f"{root}/searches", f"{root}/epochs")
    assert shlex.split(lines[4].partition(":  ")[2]) == [str(folder / "pcdarts"), "queue", root]
    assert shlex.split(lines[5].partition(":  ")[2]) == [f"{root}/report.html"]


def test_an_empty_queue_says_why():
    why = "The queue is empty: no search of this study has completed yet."
    assert queue([]) == why
    assert queue([], ["e.json: why"]) == f"left out a broken event: e.json: why\n{why}"


@pytest.mark.parametrize(("terminal", "width"), [(None, 100), (200, 200), (40, 100)])
def test_the_queue_has_a_line_a_job_as_wide_as_the_terminal(monkeypatch, terminal, width):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal is not None, raising=False)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((terminal, 24)))
    row = queue_row(search_row(2, 0, 80.0), 1) | {"reason": "found twice, " * 30}
    lines = re.sub(r"\x1b\[\d*m", "", queue([row] * 2)).splitlines()
    jobs = [line for line in lines if " queued " in line]
    assert len(jobs) == 2 and max(map(len, lines)) == width
    assert "found twice" in jobs[0] and jobs[0].rstrip().endswith("…") and "556,670,592" not in jobs[0]


def test_a_wide_queue_is_never_cut():
    row = queue_row(search_row(2, 0, 80.0), 1) | {"error": "line one\n" * 99}
    (line,) = [line for line in queue([row], wide=True).splitlines() if " queued " in line]
    assert " 556,670,592 " in line and "line one " * 98 + "line one" in line


def test_the_summary_says_what_is_known_of_the_settings(tmp_path):
    store = ResultStore(str(tmp_path))
    store.append(SEARCHES, [search_row(2, 0, 95.0), search_row(4, 0, 80.0)], "a")
    lines = [" ".join(line.split()) for line in summary(store).splitlines()]
    assert lines[0] == "No setting can be called better: no cell of k=2 or k=4 was retrained."
    assert "k=2 1 0 1 0 -" in lines and "k=4 1 0 1 0 -" in lines
    assert "Best setting" not in summary(store) and "95.00" not in summary(store)


def test_retrained_cells_stand_by_level_and_validation_accuracy(tmp_path):
    store = ResultStore(str(tmp_path))
    job = queue_row(search_row(4, 0, 80.0), 1)
    rows = [
        retrain_row(job, 99.0, valid_accuracy=95.0) | {"job_id": "a"},
        retrain_row(job, 94.0, valid_accuracy=96.0) | {"job_id": "b", "seed": 1},
        retrain_row(job, 59.0, valid_accuracy=60.0) | {"job_id": "c", "dataset": "imagenet", "epochs": 250},
    ]
    rows[2] |= {"chosen_weights": "ema", "ema_valid_accuracy": 75.0, "ema_test_accuracy": 74.0}
    store.append(RETRAINS, rows, "a")
    lines = [
        " ".join(line.split())
        for line in summary(store).splitlines()
        if line.strip().startswith(job["genotype_digest"])
    ]
    assert [line.split(" ", 1)[1].rsplit(" ", 3)[0] for line in lines] == [
        "final 600 epochs on cifar10 1 96.00 94.00",
        "final 600 epochs on cifar10 0 95.00 99.00",
        "final 250 epochs on imagenet 0 75.00 (EMA) 74.00 (EMA)",
    ]


def test_a_retraining_without_validation_is_shown(tmp_path):
    store = ResultStore(str(tmp_path))
    job = queue_row(search_row(4, 0, 80.0), 1)
    store.append(RETRAINS, [retrain_row(job, 99.0, valid_accuracy=None)], "a")
    assert "600 epochs on cifar10 0 - 99.00" in " ".join(summary(store).split())
