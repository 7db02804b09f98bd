"""A cluster of two nodes that loses a node, and then the driver, while two workers train.  A script for tests.

python losing.py ROOT                    works off the queue of ROOT
python losing.py ROOT ADDRESS WORKERS    is a driver on the cluster at ADDRESS
"""

import subprocess
import sys
import time
from unittest import mock

from ray.cluster_utils import Cluster

from orchestrator.cli import main
from orchestrator.queue.retrain_queue import RetrainQueue
from orchestrator.storage.study_folder import checkpoint, open_study
from tests.orchestrator.trials.test_worker_team import in_double_precision


def drive(root, address, workers):
    with mock.patch("orchestrator.trials.retrain_trials.retrain_trial", in_double_precision()):
        return main(["retrain", root, "--address", address, "--set", f"run.workers={workers}", "run.min_workers=1"])


def wait_for_epochs(root, count, driver):
    """Until the job's checkpoint holds so many epochs; a driver that ended before is an error."""
    (queued,) = RetrainQueue(*open_study(root)).jobs()
    file = checkpoint(root, queued.job.job_id)
    while True:
        state = file.read()
        if state is not None and len(state["history"]) >= count:
            return
        if driver.poll() is not None:
            raise SystemExit(f"no {count} epochs; the driver: {driver.poll()}")
        time.sleep(0.1)


def lose(root):
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    command = [sys.executable, __file__, root, cluster.address]
    try:
        first = subprocess.Popen([*command, "2"])
        wait_for_epochs(root, 1, first)
        cluster.remove_node(node, allow_graceful=False)
        wait_for_epochs(root, 4, first)
        first.kill()
        first.wait()
        return subprocess.run([*command, "1"]).returncode
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    sys.exit(lose(sys.argv[1]) if len(sys.argv) == 2 else drive(*sys.argv[1:]))
