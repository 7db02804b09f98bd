import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli import main
from tests.analysis.synthetic import write_study

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def hear():
    """Undo what `nohup`, or a shell that starts a job in the background, ignores."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def watch(*arguments):
    command = [sys.executable, "-m", "orchestrator.cli", "watch", *map(str, arguments)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, preexec_fn=hear
    )
    lines = []
    while not lines or "Ctrl-C" not in lines[-1]:
        line = process.stdout.readline()
        assert line, lines
        lines.append(line)
    return process, "".join(lines)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_it_prints_an_address_with_a_token_and_ends_cleanly(tmp_path, number, code):
    write_study(str(tmp_path / "study"))
    process, text = watch(tmp_path / "study", "--port", 0)
    assert re.search(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{40,}\n", text)
    process.send_signal(number)
    rest, _ = process.communicate(timeout=300)
    assert process.returncode == code and rest == "\nStopped watching.\n"


def test_a_taken_port_is_said_and_the_next_one_used(tmp_path):
    write_study(str(tmp_path / "studies" / "one"))
    write_study(str(tmp_path / "studies" / "two"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process, text = watch(tmp_path / "studies", "--port", port)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=300)
    assert f"Port {port} is taken; using " in text and "2 studies" in text
    assert int(re.search(r"using (\d+)", text)[1]) > port


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--port", "70000"], "--port is 70000"),
        (["--host", "192.0.2.1"], "cannot listen on 192.0.2.1"),
    ],
)
def test_impossible_addresses_are_refused_in_one_line(tmp_path, capsys, arguments, reason):
    write_study(str(tmp_path / "study"))
    assert main(["watch", str(tmp_path / "study"), *arguments]) == 2
    assert reason in (error := capsys.readouterr().err) and error.count("\n") == 1


def test_a_folder_without_a_study_is_refused(tmp_path, capsys):
    assert main(["watch", str(tmp_path)]) == 2
    assert "holds no study" in capsys.readouterr().err
