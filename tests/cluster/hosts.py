"""Hosts in a network of their own, played by this machine: Linux namespaces instead of machines.

A host has its own host name, address, processes, /root (its home), /tmp, /run and /dev/shm.  All hosts share one
folder, as if by NFS, and see the rest of the file system, such as this checkout and its Python.  Nothing of the machine
is changed: its network interfaces, processes and files stay out of reach.  A host ends with all its processes, whatever
groups and sessions these have, when its first process is killed; that happens also if the tests themselves are killed.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.ssh import binary, wait_for

ROOT = Path(__file__).parents[2]
SHARED = Path("/srv/shared")
"""The folder that all hosts share, as they see it."""
KEPT = sorted({ROOT, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()})
"""What hosts see even below /root and /tmp: this checkout and its Python."""
PATIENCE = 1800.0
"""Seconds after which a test stops waiting for a study: many times what an idle machine takes."""
ENVIRONMENT = {
    "HOME": "/root",
    "USER": "root",
    "LANG": "C.UTF-8",
    "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # else any other load of the machine starves the trials
}
"""Environment of commands on a host."""
PACKAGES = {"ip": "iproute2", "unshare": "util-linux", "nsenter": "util-linux", "setpriv": "util-linux"}

# /tmp may hold the shared folder and what is kept, so these are bound to /srv before /tmp is replaced.
BOOT = """
set -eu
hostname {name}
mount -t tmpfs tmpfs /srv
mkdir /srv/shared /srv/own /srv/kept
mount --bind {folder}/shared /srv/shared
mount --bind {folder}/{name} /srv/own
number=0
for kept in {kept}; do
    number=$((number + 1))
    mkdir "/srv/kept/$number"
    mount --bind "$kept" "/srv/kept/$number"
done
mount --bind {folder}/etc/hosts /etc/hosts
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -m 755 /run/sshd /run/munge
# Without a name server programs must not wait for one.
resolver=$(readlink -m /etc/resolv.conf)
mkdir -p "$(dirname "$resolver")"
test -e "$resolver" || : > "$resolver"
mount --bind {folder}/etc/resolv.conf "$resolver"
mount -t tmpfs tmpfs /dev/shm
mount --bind /srv/own/tmp /tmp
mount --bind /srv/own/root /root
number=0
for kept in {kept}; do
    number=$((number + 1))
    case "$kept" in
    /root/*|/tmp/*)
        mkdir -p "$kept"
        mount --bind "/srv/kept/$number" "$kept" ;;
    esac
done
ip link set lo up
: > /srv/own/booted
# The first process of a host reaps what its parents left behind.
sleep infinity &
while :; do wait -n || true; sleep 0.2; done
"""


def require(packages: dict[str, str] | None = None) -> None:
    """Skip the tests where hosts cannot be played; fail under continuous integration, which installs what they need.

    `packages` are further programs and the Debian packages that have them.
    """
    needed = PACKAGES | (packages or {})
    missing = sorted({package for program, package in needed.items() if binary(program) is None})
    reason = f"hosts in namespaces need: apt-get install {' '.join(missing)}"
    if missing and os.environ.get("PCDARTS_CI"):
        pytest.fail(reason)
    if missing:
        pytest.skip(reason)
    tried = subprocess.run(["unshare", *NAMESPACES, "mount", "-t", "tmpfs", "tmpfs", "/srv"], capture_output=True)
    if os.getuid() != 0 or tried.returncode:
        pytest.skip(f"hosts in namespaces need root and its right to mount: {tried.stderr.decode().strip()}")


NAMESPACES = ("--net", "--uts", "--ipc", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


class Host:
    """A running host."""

    def __init__(self, network: "Network", name: str, address: str) -> None:
        self.network, self.name, self.address = network, name, address
        self.folder = network.folder / name
        """Its own files as this machine sees them: `root`, `tmp`."""
        for own in ("root", "tmp"):
            (self.folder / own).mkdir(parents=True, exist_ok=True)
        (self.folder / "root").chmod(0o755)
        (self.folder / "tmp").chmod(0o1777)
        self.boot()

    def boot(self) -> None:
        """Start it, at first or after `kill`; /root and /tmp are as they were."""
        booted = self.folder / "booted"
        booted.unlink(missing_ok=True)
        script = BOOT.format(
            name=self.name, folder=self.network.folder, kept=" ".join(shlex.quote(str(path)) for path in KEPT)
        )
        (self.folder / "boot").write_text(script)
        self.process = _namespaces(["bash", str(self.folder / "boot")], self.folder / "boot.log")
        self.network.processes.append(self.process)
        self.first = _child(self.process)
        self.network.plug(self)

        def is_up() -> bool:
            assert self.process.poll() is None, (self.folder / "boot.log").read_text()
            return booted.exists()

        wait_for(is_up, f"{self.name} boots")

    def kill(self) -> None:
        """End it at once, like a power failure."""
        self.process.kill()  # the kernel ends the first process with it, and with that all others
        self.process.wait()
        wait_for(lambda: not Path(f"/proc/{self.first}").exists(), f"{self.name} ends")

    def cut(self) -> None:
        """Cut its network: packets are lost without a word."""
        self.network.set_link(self, up=False)

    def mend(self) -> None:
        """Connect its network again."""
        self.network.set_link(self, up=True)

    def command(self, *command: str, cwd: str = "/root", **environment: str) -> list[str]:
        """What runs a command on this host, in a fresh environment."""
        values = [f"{name}={value}" for name, value in (ENVIRONMENT | environment).items()]
        enter = ["nsenter", f"--target={self.first}", "--net", "--uts", "--ipc", "--mount", "--pid"]
        return [*enter, "env", "-i", "-C", cwd, *values, *command]

    def run(self, *command: str, cwd: str = "/root", **environment: str) -> tuple[int, str]:
        """Run a command to its end: exit code and output."""
        done = subprocess.run(
            self.command(*command, cwd=cwd, **environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout

    def succeed(self, *command: str, cwd: str = "/root", **environment: str) -> str:
        """Output of a command whose exit code must be 0."""
        code, text = self.run(*command, cwd=cwd, **environment)
        assert code == 0, text
        return text

    def start(self, *command: str, log: Path, cwd: str = "/root", **environment: str) -> subprocess.Popen:
        """Start a command that runs until it or the host ends; its output goes to the file."""
        with log.open("ab") as output:
            return subprocess.Popen(
                self.command(*command, cwd=cwd, **environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def processes(self) -> list[str]:
        """Command lines of its processes, without those that this module runs."""
        lines = [line.split(maxsplit=1) for line in self.succeed("ps", "-eo", "pid=,args=").splitlines()]
        return [text for pid, text in lines if pid != "1" and text != "sleep infinity" and not text.startswith("ps ")]


class Network:
    """The switch that hosts are plugged into, and their names and addresses."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder = folder
        self.addresses = {name: f"10.77.0.{number}" for number, name in enumerate(names, start=1)}
        (folder / "etc").mkdir()
        (folder / "shared").mkdir()
        entries = [f"{address} {name}" for name, address in self.addresses.items()]
        (folder / "etc" / "hosts").write_text("\n".join(["127.0.0.1 localhost", *entries]) + "\n")
        (folder / "etc" / "resolv.conf").write_text("")
        self.processes = [_namespaces(["sleep", "infinity"], folder / "switch.log")]
        """Of the switch and of all hosts; with each of them, all that it started ends."""
        self.first = _child(self.processes[0])
        self._on_switch("ip", "link", "add", "name", "switch", "type", "bridge")
        self._on_switch("ip", "link", "set", "switch", "up")

    @property
    def shared(self) -> Path:
        """The shared folder as this machine sees it."""
        return self.folder / "shared"

    def plug(self, host: Host) -> None:
        """Give a host that just started its address."""
        subprocess.run(
            [*self._enter(), "ip", "link", "delete", "dev", host.name], capture_output=True
        )  # of an earlier boot, unless the kernel has removed it already
        number = int(host.address.rpartition(".")[2])
        peer = ("peer", "name", "eth0", "address", f"02:00:00:00:00:{number:02x}", "netns", str(host.first))
        self._on_switch("ip", "link", "add", "name", host.name, "type", "veth", *peer)
        self._on_switch("ip", "link", "set", "dev", host.name, "master", "switch", "up")
        enter = ["nsenter", f"--target={host.first}", "--net", "ip"]
        subprocess.run([*enter, "address", "add", f"{host.address}/24", "dev", "eth0"], check=True)
        subprocess.run([*enter, "link", "set", "eth0", "up"], check=True)

    def set_link(self, host: Host, *, up: bool) -> None:
        self._on_switch("ip", "link", "set", "dev", host.name, "up" if up else "down")

    def _enter(self) -> list[str]:
        return ["nsenter", f"--target={self.first}", "--net"]

    def _on_switch(self, *command: str) -> None:
        subprocess.run([*self._enter(), *command], check=True)


@contextmanager
def network(folder: Path, *names: str) -> Iterator[dict[str, Host]]:
    """Hosts with these names, by name, on one network; all of them end with the context."""
    switch = Network(folder, names)
    try:
        yield {name: Host(switch, name, address) for name, address in switch.addresses.items()}
    finally:
        for process in switch.processes:
            process.kill()
            process.wait()


def _namespaces(command: list[str], log: Path) -> subprocess.Popen:
    """Start a command in new namespaces; it dies with this process."""
    with log.open("ab") as output:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", *NAMESPACES, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def _child(process: subprocess.Popen) -> int:
    """Id of the only child of `unshare`, once it is there, with namespaces of its own."""
    found: list[int] = []

    def is_there() -> bool:
        assert process.poll() is None, "unshare ended"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        found[:] = map(int, children)
        return bool(found)

    wait_for(is_there, "a first process starts")
    return found[0]
