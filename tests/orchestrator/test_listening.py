"""A study on one machine: every socket that it opens listens on loopback, and answers none without the token."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.sockets import listening, tree

LOOPBACK = "127.0.0.1"
OWN, OTHER = "", "0" * 64
"""Tokens: of the file in the home directory, and a wrong one."""


def name(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def status(control, environment, home, token):
    """What `ray status` gets from the control service with the study's own token, or with another."""
    environment = environment | {"HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # else Ray takes 127.0.0.1 for the machine's other address
    ray = Path(sys.executable).with_name("ray")
    command = [str(ray), "status", "--address", "{}:{}".format(*control)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's /proc")
def test_a_study_on_one_machine_listens_on_loopback_alone(tmp_path):
    command = [sys.executable, "-m", "orchestrator.cli", "run", "smoke", "--seeds", "0", "--k", "2"]
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    study = subprocess.Popen(
        [*command, "--no-retrain", "--address", "local", "--storage", str(tmp_path / "studies")],
        env=environment | {"HOME": str(home)},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    seen, answers = set(), {}
    try:
        while study.poll() is None:
            started = tree(study.pid)
            seen |= listening(started)
            control = listening({pid for pid in started if name(pid) == "gcs_server"})
            if control and not answers:
                (place,) = control
                answers = {token: status(place, environment, home, token) for token in (OWN, OTHER)}
            time.sleep(1)
    finally:
        study.kill()  # nothing happens where it has ended
        _, errors = study.communicate()
    assert study.returncode == 0, errors
    assert len(seen) >= 6, f"Ray's processes listen on more ports than {seen}"
    assert {host for host, _ in seen} == {LOOPBACK}
    assert answers[OWN].returncode == 0, answers[OWN].stderr
    assert answers[OTHER].returncode != 0 and "InvalidAuthToken" in answers[OTHER].stderr
    token = home / ".ray" / "auth_token"
    assert len(token.read_text()) == 64 and token.stat().st_mode & 0o777 == 0o600
