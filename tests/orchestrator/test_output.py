"""What the commands print."""

import sys

from orchestrator.output import program, queue, where_to_look


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
