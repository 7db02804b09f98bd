"""A cluster of two nodes that loses its driver, and then a node, while two workers train.  A script for tests.

python losing.py ROOT            works off the queue of ROOT
python losing.py ROOT ADDRESS    the same as the driver that is lost, on the cluster at ADDRESS
"""

import subprocess
import sys
import time
from contextlib import suppress
from unittest import mock

from ray.cluster_utils import Cluster

from orchestrator.cli import main
from orchestrator.queue import RetrainQueue
from orchestrator.storage import checkpoint, open_study
from tests.orchestrator.test_training import in_double_precision


def drive(root, address):
    with mock.patch("orchestrator.study.retrain_trial", in_double_precision()):
        return main(["retrain", root, "--address", address, "--workers", "2", "--min-workers", "1"])


def wait_for_epochs(root, count, driver):
    """Until the job's checkpoint holds so many epochs; a driver that ended before is an error."""
    (job,) = RetrainQueue(*open_study(root)).jobs()
    file, deadline = checkpoint(root, job["job_id"]), time.monotonic() + 200
    while True:
        with suppress(FileNotFoundError):
            state = file.read()
            if state is not None and len(state["history"]) >= count:
                return
        if driver.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"no {count} epochs; the driver: {driver.poll()}")
        time.sleep(0.1)


def lose(root):
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    command = [sys.executable, __file__, root, cluster.address]
    try:
        first = subprocess.Popen(command)
        wait_for_epochs(root, 1, first)
        first.kill()
        first.wait()
        second = subprocess.Popen(command)
        wait_for_epochs(root, 3, second)
        cluster.remove_node(node, allow_graceful=False)
        return second.wait()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    sys.exit(lose(sys.argv[1]) if len(sys.argv) == 2 else drive(sys.argv[1], sys.argv[2]))
