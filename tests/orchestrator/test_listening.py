"""A study on one machine: every socket that it opens listens on loopback, and answers none without the token."""

import ipaddress
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LOOPBACK = "127.0.0.1"
OWN, OTHER = "", "0" * 64
"""Tokens: of the file in the home directory, and a wrong one."""


def tree(pid):
    """The process and all that descend from it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit():
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # ended meanwhile
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def inodes(pid):
    """Numbers of the sockets that a process holds."""
    try:
        links = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return set()
    return {link[8:-1] for link in links if link.startswith("socket:[")}


def listening(pids):
    """Addresses and ports where these processes wait for TCP connections."""
    mine = set().union(*map(inodes, pids))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in mine:
                found.add(address(fields[1]))
    return found


def address(text):
    """The address and port of /proc/net/tcp: words of the host's byte order, in hexadecimal."""
    host, port = text.split(":")
    words = [bytes.fromhex(host[i : i + 8]) for i in range(0, len(host), 8)]
    raw = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    ip = ipaddress.ip_address(raw)
    return str(getattr(ip, "ipv4_mapped", None) or ip), int(port, 16)


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
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)


def test_addresses_are_read_as_the_kernel_writes_them():
    if sys.byteorder != "little":
        pytest.skip("written out for little-endian machines")
    assert address("0100007F:1F90") == ("127.0.0.1", 8080)
    assert address("0000000000000000FFFF00000100007F:0016") == ("127.0.0.1", 22)
    assert address("00000000000000000000000000000000:0016") == ("::", 22)


@pytest.mark.timeout(400)
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
    seen, answers, end = set(), {}, time.monotonic() + 300
    while study.poll() is None and time.monotonic() < end:
        started = tree(study.pid)
        seen |= listening(started)
        control = listening({pid for pid in started if name(pid) == "gcs_server"})
        if control and not answers:
            (place,) = control
            answers = {token: status(place, environment, home, token) for token in (OWN, OTHER)}
        time.sleep(0.2)
    if study.poll() is None:
        os.kill(study.pid, signal.SIGKILL)
    _, errors = study.communicate()
    assert study.returncode == 0, errors
    assert len(seen) >= 6, f"Ray's processes listen on more ports than {seen}"
    assert {host for host, _ in seen} == {LOOPBACK}
    assert answers[OWN].returncode == 0, answers[OWN].stderr
    assert answers[OTHER].returncode != 0 and "InvalidAuthToken" in answers[OTHER].stderr
    token = home / ".ray" / "auth_token"
    assert len(token.read_text()) == 64 and token.stat().st_mode & 0o777 == 0o600
