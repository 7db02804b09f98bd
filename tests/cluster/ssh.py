"""An ssh server of its own on loopback addresses, each a machine: its sessions have a home of their own.

Nothing of the user's is read or changed: host key, user key, configuration and home are made for the test, and a
command `ssh` in front of PATH knows the port.  Every process inherits a RAY_TMPDIR that no other has; by it they are
found and ended.
"""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

BINARIES = ("sshd", "ssh", "ssh-keygen", "rsync")
HEAD, WORKER = "127.0.0.1", "127.0.0.2"
PATIENCE = 300.0
"""Seconds after which a test stops waiting: many times what an idle machine takes."""
SERVER = """
Port {port}
ListenAddress {head}
ListenAddress {worker}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
ForceCommand {folder}/session
"""
SESSION = """#!/bin/bash
read -r _ _ address _ <<< "$SSH_CONNECTION"
export HOME={folder}/$address RAY_TMPDIR={ray_tmpdir} RAY_worker_niceness=0
cd "$HOME" || exit 1
exec bash -c "$SSH_ORIGINAL_COMMAND"
"""
CLIENT = """
Port {port}
IdentityFile {folder}/user_key
StrictHostKeyChecking no
UserKnownHostsFile /dev/null
LogLevel ERROR
"""


def binary(name):
    """Path of a program, also where only root's PATH has it."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def missing():
    """The programs that the tests need and that are not here."""
    return [name for name in BINARIES if binary(name) is None]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(condition, what, patience=PATIENCE):
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {patience:g} s"
        time.sleep(0.1)


@contextmanager
def ssh_server(folder: Path, ray_tmpdir: Path):
    """Run the server; gives the environment of a user at home in `folder/user`; machines are in `folder/ADDRESS`."""
    values = {"folder": folder, "ray_tmpdir": ray_tmpdir, "port": free_port(), "head": HEAD, "worker": WORKER}
    for key in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    bin_dir = folder / "bin"
    bin_dir.mkdir()
    wrapper = f'#!/bin/sh\nexec {binary("ssh")} -F {folder}/client_config "$@"\n'
    for path, text in (
        (folder / "server_config", SERVER.format(**values)),
        (folder / "client_config", CLIENT.format(**values)),
        (folder / "session", SESSION.format(**values)),
        (bin_dir / "ssh", wrapper),
    ):
        path.write_text(text)
        path.chmod(0o755)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where root's sshd jails its unprivileged half
    user = folder / "user"
    for home in (user, folder / HEAD, folder / WORKER):
        home.mkdir()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHONPATH", "PCDARTS_"))
    }
    environment |= {
        "PATH": f"{bin_dir}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(user),
        "RAY_TMPDIR": str(ray_tmpdir),
        "TMPDIR": str(folder),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
    }
    command = [binary("sshd"), "-D", "-e", "-f", str(folder / "server_config")]
    with (folder / "sshd.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stderr=log, stdin=subprocess.DEVNULL)
    try:
        login = ["ssh", f"{getpass.getuser()}@{HEAD}", "true"]

        def answers():
            assert server.poll() is None, (folder / "sshd.log").read_text()
            return subprocess.run(login, env=environment, capture_output=True).returncode == 0

        wait_for(answers, "sshd answers")
        yield environment
    finally:
        end_processes(ray_tmpdir)
        server.kill()
        server.wait()


def end_processes(ray_tmpdir: Path):
    """End what inherited this RAY_TMPDIR, by its id, until nothing is left."""

    def left():
        ids = [pid for pid in processes(ray_tmpdir) if pid != os.getpid()]
        for pid in ids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return ids

    wait_for(lambda: not left(), "the processes of the test end")


def processes(ray_tmpdir: Path):
    """Ids of the living processes whose environment has this RAY_TMPDIR."""
    mark = f"RAY_TMPDIR={ray_tmpdir}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:  # ended meanwhile, or another user's
            continue
    return found
