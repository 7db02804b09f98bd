"""`ray up` and `pcdarts cluster submit` to three hosts, which fail: workers lose their network or die, then the head.

Skipped where the right to play hosts is missing; under .ci/run, which sets PCDARTS_CI, missing programs fail.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from analysis.store import ResultStore
from analysis.tables import EPOCHS
from tests.cluster import hosts
from tests.cluster.ssh import binary, wait_for
from tests.cluster.test_ssh import PCDARTS, PROJECT
from tests.orchestrator.test_faults import contents

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[2]
PACKAGES = {"sshd": "openssh-server", "ssh": "openssh-client", "rsync": "rsync"}
USER, HEAD, NEW_HEAD, WORKERS = "user", "head", "head2", ("worker1", "worker2")
SSHD_CONFIG = """
HostKey {shared}/key
AuthorizedKeysFile {shared}/key.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
SetEnv RAY_worker_niceness=0 RAY_USAGE_STATS_ENABLED=0
"""
EPOCHS_EACH = 12
STUDY = ("smoke", "--seeds", "0", "1", "--k", "2", "--epochs", str(EPOCHS_EACH), "--no-retrain")
# Another host's driver is dead once its lease has expired; the default would take two minutes.
QUICK = ("--set", "run.storage_patience=15", "run.lease_timeout=30", "run.wait=true", "run.max_failures=20")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Hosts with ssh; a cluster file in the checkout of the user, who is on a host as well."""

    hosts: dict
    """By name."""
    shared: Path
    """What they share, as this machine sees it."""

    def user(self, *command):
        """Output of a command of the user in the checkout."""
        return self.hosts[USER].succeed(*command, cwd="/root/project")

    def up(self, head):
        """Write a cluster file with this head and run `ray up`, until both workers are there."""
        address = {name: host.address for name, host in self.hosts.items()}
        workers = ",".join(address[name] for name in WORKERS)
        init = ("--head", address[head], "--workers", workers, "--user", "root")
        self.user(*PCDARTS, "cluster", "init", "onprem", *init, "--storage", f"{hosts.SHARED}/studies", "--force")
        file = self.hosts[USER].folder / "root" / "project" / "cluster.yaml"
        file.write_text(yaml.safe_dump(without_downloads(yaml.safe_load(file.read_text()))))
        self.user("ray", "up", "-y", "cluster.yaml")
        self.wait_for_workers(head, 2)

    def wait_for_workers(self, head, count):
        def are_there():
            _, text = self.hosts[head].run("ray", "status", "--address", f"{head}:6379", RAY_AUTH_MODE="token")
            return f"Active:\n {count + 1} local.cluster.node" in text

        wait_for(are_there, f"{head} has {count} workers", hosts.PATIENCE)

    def submit(self, storage):
        """Start `pcdarts cluster submit`; the process."""
        command = ("cluster", "submit", "cluster.yaml", *STUDY, "--storage", f"{hosts.SHARED}/{storage}", *QUICK)
        return self.hosts[USER].start(*PCDARTS, *command, cwd="/root/project", log=self.log)

    @property
    def log(self):
        """What `submit` printed."""
        return self.shared / "submit.log"

    def epochs(self, storage):
        """Stored epochs of each search."""
        folder = self.shared / storage / "smoke"
        if not (folder / "epochs").exists():
            return [0, 0]
        counts = ResultStore(str(folder)).read(EPOCHS, columns=["search_id"])["search_id"].value_counts()
        return [*counts, 0, 0][:2]

    def serve_ssh(self, name):
        """Start the ssh server of a host that was booted."""
        host = self.hosts[name]
        host.start(binary("sshd"), "-D", "-e", "-f", f"{hosts.SHARED}/sshd_config", log=host.folder / "sshd.log")


def without_downloads(config):
    """The cluster file without pip's downloads: ~/pcdarts-env is there; and only workers run trials, one each."""
    make, install, *others = config["setup_commands"]
    assert "test -d ~/pcdarts-env" in make and "pip install" in install
    stop, start_head = config["head_start_ray_commands"]
    stop_too, start_worker = config["worker_start_ray_commands"]
    assert stop == stop_too == "ray stop"
    return config | {
        "setup_commands": [make, *others],
        "head_start_ray_commands": [stop, start_head.replace("--head", "--head --num-cpus=0")],
        "worker_start_ray_commands": [stop, f"{start_worker} --num-cpus=1"],
    }


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    hosts.require(PACKAGES)
    folder = tmp_path_factory.mktemp("hosts")
    with hosts.network(folder, USER, HEAD, NEW_HEAD, *WORKERS) as all_hosts:
        shared = folder / "shared"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(shared / "key")], check=True)
        (shared / "sshd_config").write_text(SSHD_CONFIG.format(shared=hosts.SHARED))
        found = Cluster(hosts=all_hosts, shared=shared)
        for name, host in all_hosts.items():
            home = host.folder / "root"
            (home / ".ssh").mkdir(mode=0o700)
            shutil.copy(shared / "key", home / ".ssh" / "id_ed25519")
            (home / "pcdarts-env").symlink_to(Path(sys.prefix).resolve())
            (home / ".profile").write_text(". ~/.bashrc\n")
            if name != USER:
                found.serve_ssh(name)
        project = all_hosts[USER].folder / "root" / "project"
        project.mkdir()
        for name in PROJECT:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, project / name)
        found.up(HEAD)
        yield found


def test_a_study_survives_lost_networks_workers_and_heads(cluster):
    """Its tables equal those of a study that nothing disturbed."""
    assert cluster.submit("calm").wait() == 0, cluster.log.read_text()
    assert cluster.epochs("calm") == [EPOCHS_EACH] * 2
    assert not list(cluster.hosts[HEAD].folder.glob("root/studies"))  # all went to the shared folder

    # While the head notices, no search can go on; so it does not matter how long that takes.
    submitted = cluster.submit("disturbed")
    wait_for(lambda: min(cluster.epochs("disturbed")) >= 2, "both searches run", hosts.PATIENCE)
    first, second = (cluster.hosts[name] for name in WORKERS)
    second.kill()
    first.cut()
    cluster.wait_for_workers(HEAD, 0)
    first.mend()
    cluster.wait_for_workers(HEAD, 1)
    before = sum(cluster.epochs("disturbed"))
    wait_for(lambda: sum(cluster.epochs("disturbed")) >= before + 2, "a search goes on", hosts.PATIENCE)
    cluster.hosts[HEAD].kill()
    assert submitted.wait() != 0
    assert min(cluster.epochs("disturbed")) < EPOCHS_EACH  # else the head was killed too late to matter

    second.boot()
    cluster.serve_ssh(WORKERS[1])
    cluster.up(NEW_HEAD)
    assert cluster.submit("disturbed").wait() == 0, cluster.log.read_text()
    assert contents(f"{cluster.shared}/disturbed/smoke") == contents(f"{cluster.shared}/calm/smoke")
