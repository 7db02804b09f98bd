"""A study whose retraining takes no time, and a dispatcher that is killed at a given write.  A script for tests.

python killing.py ROOT MOMENT...   works off the queue of ROOT, killed at each moment, and then once to the end
"""

import os
import signal
import sys
import time
from dataclasses import replace

from analysis.storage.study_files import StudyFiles
from analysis.tables import SEARCHES
from orchestrator.config import RaceConfig, SelectionConfig
from orchestrator.options import RunOptions
from orchestrator.presets import smoke
from orchestrator.queue.dispatch import dispatch
from orchestrator.queue.retrain_queue import RetrainQueue
from orchestrator.storage.lease import LeaseHeldError, open_lease
from orchestrator.storage.provenance import provenance
from orchestrator.storage.study_folder import create_or_open, open_study
from orchestrator.trials.failures import classify
from orchestrator.trials.progress import Progress
from orchestrator.trials.retrain_listener import RetrainListener
from orchestrator.trials.retrain_spec import RetrainSpec
from pcdarts.complexity import network_complexity
from pcdarts.genotype import PUBLISHED

CELLS = ("PC_DARTS_cifar", "DARTS_V1", "DARTS_V2")
OPTIONS = RunOptions(max_failures=1, retry_delay=10.0)
RESULT = {
    "best_epoch": 1,
    "train_loss": 1.0,
    "train_accuracy": 50.0,
    "valid_accuracy": 50.0,
    "test_loss": 1.0,
    "test_accuracy": 50.0,
    "network_parameters": 1,
    "network_macs": 1,
    "epochs_trained": 2,
    "seconds": 2.0,
    "peak_memory_bytes": 1,
    "device_name": "none",
}


def make_study(race=None):
    """The preset smoke with three searches and, unless one is given, without a race."""
    race = race or RaceConfig()
    return replace(smoke(), selection=SelectionConfig(top=3), sweep={"seed": (0, 1, 2)}, race=race)


def study_with_searches(root, study=None):
    """A study whose searches found published cells."""
    study = study or make_study()
    store = create_or_open(study, root, [])
    for accuracy, (config, name) in enumerate(zip(study.searches(), CELLS, strict=True)):
        genotype = PUBLISHED[name]
        size = network_complexity(genotype, study.retrain)
        found = {
            "genotype": str(genotype),
            "genotype_digest": genotype.digest,
            "valid_accuracy": 90.0 - accuracy,
            "network_parameters": size.parameters,
            "network_macs": size.macs,
        }
        names = {"search_id": config.search_id, "study": study.name, "status": "completed", "error": ""}
        row = SEARCHES.row(config, found, names, provenance("", ""), setting="", sampling_rate=0.5)
        store.append(SEARCHES, [row], config.search_id)
    return study, store


def executor(queue, lease, counts=None, broken=(), root="", accuracies=None, sleep=time.sleep):
    """Runs jobs in this process: every one waits for its time, reports an epoch, and then its result, or fails.

    `accuracies`: validation accuracy by the cell's digest.
    """

    def run(jobs):
        specs = [RetrainSpec(key=job.job_id, root=root, config=queue.recipe(job), job=job) for job in jobs]
        with Progress("", {spec.key: 2 for spec in specs}) as progress:
            listener = RetrainListener(queue, lease, progress, OPTIONS)
            for spec in specs:
                listener.started(spec)
                if (pause := (queue.state(spec.key).retry_at or 0.0) - queue.clock()) > 0:
                    sleep(pause)
                listener.reported(spec, {"kind": "began", "content": {}})
                if counts is not None:
                    counts[spec.key] += 1
                epoch = {"epoch": 0, "seconds": 1.0, "valid_accuracy": 50.0}
                listener.reported(spec, {"kind": "epoch", "content": epoch})
                listener.tick()
                if spec.key in broken:
                    listener.failed(spec, classify("Traceback\nRuntimeError: broken\n"))
                else:
                    accuracy = (accuracies or {}).get(spec.key.split("-")[0], 50.0)
                    listener.reported(spec, {"kind": "result", "content": RESULT | {"valid_accuracy": accuracy}})

    return run


def work(root, die_at=0):
    """Work off the queue; the process kills itself at a write, every second time after it instead of before."""
    count = 0

    def counted(write):
        def writes(self, path, data):
            nonlocal count
            count += 1
            if count == (die_at + 1) // 2 and die_at % 2:
                os.kill(os.getpid(), signal.SIGKILL)
            result = write(self, path, data)
            if count == die_at // 2 and not die_at % 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return writes

    StudyFiles._write, StudyFiles._create = counted(StudyFiles._write), counted(StudyFiles._create)
    queue = RetrainQueue(*open_study(root))
    with open_lease(root, OPTIONS) as lease:
        dispatch(queue, lease, executor(queue, lease))
    return count


def main(root, moments):
    killed = 0
    for moment in [*moments, 0]:
        child = os.fork()
        if child == 0:
            try:
                work(root, moment)
            except LeaseHeldError as error:
                print(error, file=sys.stderr)
                os._exit(3)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        killed += os.WIFSIGNALED(status)
        if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
            return os.WEXITSTATUS(status)
    print("killed", killed)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], [int(moment) for moment in sys.argv[2:]]))
