"""`sbatch slurm.sh` with Slurm's own programs, on two hosts that this machine plays: a job ends, fails, and resumes.

Skipped where Slurm or the right to play hosts is missing; under .ci/run, which sets PCDARTS_CI, missing programs fail.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from analysis.store import ResultStore
from analysis.tables import EPOCHS
from orchestrator.cli import main
from tests.cluster import hosts
from tests.cluster.ssh import binary, wait_for
from tests.orchestrator.test_faults import contents

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[2]
PACKAGES = {"slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client", "munged": "munge"}
NODES = ("node1", "node2")
SLURM_CONF = """
ClusterName=test
SlurmctldHost=node1
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=/run/munge/socket,cred_expire=10
StateSaveLocation=/run/slurmctld
SlurmdSpoolDir=/run/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
ReturnToService=2
SlurmdTimeout=300
NodeName=node[1-2] CPUs=1 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES State=UP
"""
ENVIRONMENT = {"SLURM_CONF": str(hosts.SHARED / "slurm.conf"), "PYTHONPATH": str(ROOT)}


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """A running Slurm; its first host is also where users submit jobs."""

    nodes: dict
    """Hosts by name."""
    shared: Path
    """What they share, as this machine sees it."""

    def succeed(self, *command):
        return self.nodes["node1"].succeed(*command, cwd=str(hosts.SHARED), **ENVIRONMENT)

    def submit(self, *study, options=()):
        """Submit the study; the job's id."""
        return self.succeed("sbatch", "--parsable", *options, "slurm.sh", *study).strip()

    def field(self, job, name):
        """A field of a job, by Slurm's name."""
        fields = self.succeed("scontrol", "--oneliner", "show", "job", job).split()
        return dict(field.split("=", 1) for field in fields if "=" in field)[name]

    def end(self, job):
        """Wait until a job has ended and its nodes are free; its state and exit code."""
        unfinished = ("PENDING", "RUNNING", "COMPLETING")
        wait_for(lambda: self.field(job, "JobState") not in unfinished, f"job {job} ends", hosts.PATIENCE)
        wait_for(lambda: set(self.succeed("sinfo", "-h", "-N", "-o", "%T").split()) == {"idle"}, "the nodes are free")
        return self.field(job, "JobState"), self.field(job, "ExitCode")

    def output(self, job):
        """What a job printed."""
        return (self.shared / f"slurm-{job}.out").read_text()

    def left(self):
        """Processes of the hosts that are not Slurm's."""
        found = [line for node in self.nodes.values() for line in node.processes()]
        return [
            line for line in found if not any(name in line for name in ("munged", "slurmd", "slurmstepd", "slurmctld"))
        ]

    def epochs(self, storage):
        """Stored epochs of the study `smoke` in a storage."""
        folder = self.shared / storage / "smoke"
        return len(ResultStore(str(folder)).read(EPOCHS, columns=["epoch"])) if (folder / "epochs").exists() else 0


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    hosts.require(PACKAGES)
    folder = tmp_path_factory.mktemp("slurm")
    with hosts.network(folder, *NODES) as nodes:
        shared = folder / "shared"
        (shared / "slurm.conf").write_text(SLURM_CONF)
        (shared / "munge.key").write_bytes(bytes(range(128)))
        (shared / "munge.key").chmod(0o400)
        (shared / "project").mkdir()
        (shared / "project" / ".venv").symlink_to(Path(sys.prefix).resolve())
        init = ["--partition", "main", "--nodes", "2", "--cpus", "1", "--gpus", "0", "--time", "1:00:00"]
        init += ["--project", str(hosts.SHARED / "project"), "--storage", str(hosts.SHARED / "studies")]
        assert main(["cluster", "init", "slurm", *init, "--output", str(shared / "slurm.sh")]) == 0
        token = folder / "token"
        token.write_text("0" * 64)
        for node in nodes.values():
            ray = node.folder / "root" / ".ray"
            ray.mkdir()
            shutil.copy(token, ray / "auth_token")
            (ray / "auth_token").chmod(0o600)
        for name, node in nodes.items():
            socket = ("--socket=/run/munge/socket", "--pid-file=/run/munge/pid", "--seed-file=/run/munge/seed")
            key = f"--key-file={hosts.SHARED / 'munge.key'}"
            log = node.folder / "daemons.log"
            node.start(binary("munged"), "--foreground", "--force", *socket, key, log=log)
            if name == NODES[0]:
                node.start(binary("slurmctld"), "-D", log=log, **ENVIRONMENT)
            node.start(binary("slurmd"), "-D", "-N", name, log=log, **ENVIRONMENT)
        running = Slurm(nodes=nodes, shared=shared)
        command = nodes["node1"].command("sinfo", "-h", "-N", "-o", "%T", **ENVIRONMENT)

        def are_idle():
            return subprocess.run(command, capture_output=True, text=True).stdout.split() == ["idle"] * len(nodes)

        wait_for(are_idle, "Slurm's nodes are idle")
        yield running


def test_a_job_ends_by_itself_and_frees_its_nodes(slurm):
    job = slurm.submit("smoke")
    assert slurm.end(job) == ("COMPLETED", "0:0"), slurm.output(job)
    assert slurm.left() == []
    folder = slurm.shared / "studies" / "smoke"
    assert set(pd.read_parquet(folder / "searches").status) == {"completed"}
    assert (pd.read_parquet(folder / "retrains").status == "completed").all() and (folder / "report.html").exists()


def test_a_study_that_fails_gives_the_job_its_exit_code(slurm):
    job = slurm.submit("nothing")
    assert slurm.end(job) == ("FAILED", "2:0") and "preset is 'nothing'" in slurm.output(job)
    assert slurm.left() == []


def test_a_node_that_cannot_start_ends_the_job_at_once(slurm):
    """It does not hold the other node for the 300 seconds that Ray may take to start."""
    token = slurm.nodes["node2"].folder / "root" / ".ray" / "auth_token"
    token.rename(token.with_name("elsewhere"))
    try:
        job = slurm.submit("smoke", "--study", "never")
        assert slurm.end(job) == ("FAILED", "1:0")
    finally:
        token.with_name("elsewhere").rename(token)
    text = slurm.output(job)
    assert "node2: task 1: Exited with exit code 1" in text and "Ray did not start on all 2 nodes" in text
    assert slurm.left() == [] and not (slurm.shared / "studies" / "never").exists()


def test_the_time_limit_ends_a_job_in_order(slurm):
    endless = ("smoke", "--seeds", "0", "1", "--k", "2", "--epochs", "100000", "--no-retrain")
    job = slurm.submit(*endless, "--storage", str(hosts.SHARED / "limited"))
    assert slurm.field(job, "MinMemoryNode") == "0"  # all of it
    wait_for(lambda: slurm.epochs("limited") >= 1, "an epoch is stored", hosts.PATIENCE)
    slurm.succeed("scontrol", "update", f"JobId={job}", "TimeLimit=1")
    assert slurm.end(job)[0] == "TIMEOUT" and slurm.left() == []
    assert "Progress is saved" in slurm.output(job)


def test_a_study_resumes_after_scancel_and_requeue(slurm):
    """Its tables equal those of a study that nothing disturbed."""
    study = ("smoke", "--seeds", "0", "1", "--k", "2", "--epochs", "12", "--no-retrain")
    calm = slurm.submit(*study, "--storage", str(hosts.SHARED / "calm"))
    assert slurm.end(calm) == ("COMPLETED", "0:0"), slurm.output(calm)

    disturbed = (*study, "--storage", str(hosts.SHARED / "disturbed"))
    job = slurm.submit(*disturbed)
    wait_for(lambda: slurm.epochs("disturbed") >= 2, "epochs are stored", hosts.PATIENCE)
    slurm.succeed("scancel", job)
    assert slurm.end(job)[0] == "CANCELLED" and slurm.left() == []
    stored = slurm.epochs("disturbed")
    assert "Progress is saved" in slurm.output(job) and 2 <= stored < 24

    job = slurm.submit(*disturbed)
    wait_for(lambda: slurm.epochs("disturbed") >= stored + 2, "the study resumes", hosts.PATIENCE)
    slurm.succeed("scontrol", "requeue", job)
    wait_for(lambda: slurm.field(job, "Restarts") == "1" and slurm.field(job, "JobState") == "RUNNING", "it restarts")
    assert slurm.end(job) == ("COMPLETED", "0:0"), slurm.output(job)
    assert slurm.left() == []
    assert contents(f"{slurm.shared}/disturbed/smoke") == contents(f"{slurm.shared}/calm/smoke")
