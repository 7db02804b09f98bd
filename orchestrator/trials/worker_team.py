"""Several workers train the network of one job: Ray Train starts them, and restarts them if one is lost.

A trial of Ray Tune coordinates them, so that the queue's listener gets epochs and results as from a single process.
The job's checkpoint in the study's storage is the only one; Ray's checkpoints are not used.
"""

from dataclasses import asdict, dataclass
from typing import Any

import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from cluster.code import OtherCodeError
from cluster.resources import TrialResources, slots
from orchestrator.options import RunOptions
from orchestrator.storage.study_folder import background_checkpoint
from orchestrator.trials.retrain_spec import DroppedError, RetrainSpec, dropped_check
from orchestrator.trials.tune_trials import message, require_drivers_code, temporary_folder
from pcdarts.results import RetrainEpoch
from pcdarts.retrain import retrain

COORDINATOR = {"node:__internal_head__": 0.001}
"""What a trial that coordinates workers reserves: a place on the head node, where the driver runs.  It reserves no CPU,
because its workers need them."""
DEFINITE = (ValueError, FloatingPointError, DroppedError, OtherCodeError)
"""Errors that would recur with new workers: unreadable data or checkpoints, divergence, a job dropped by hand, and
other code than the driver's."""


@dataclass(frozen=True, kw_only=True)
class Team:
    """The workers of one network."""

    workers: int
    """Processes that train together."""
    least: int
    """Minimum number of processes if the cluster has no room for all."""
    resources: TrialResources
    """What each of them reserves."""
    max_failures: int
    """How often the workers are restarted after one was lost, before the attempt counts as failed."""


def make_team(resources: TrialResources, options: RunOptions) -> Team | None:
    """The workers that the options specify, or None if a single process trains a network.

    Raises ValueError if the nodes of the connected cluster have no room for them, or if they would share a GPU.
    """
    if options.workers == 1:
        return None
    if 0 < resources.gpus < 1:
        raise ValueError(
            f"gpus_per_trial is {resources.gpus:g}, but must be 1 with {options.workers} workers, as nccl wants a GPU "
            "for each; give --gpus-per-trial 1, or --set run.workers=1"
        )
    least = options.min_workers or options.workers
    if not options.autoscaling and (room := slots(resources)) < least:
        raise ValueError(
            f"{least} workers want {resources} each, but the nodes have room for "
            f"{room} of them; lower run.workers or run.min_workers, retrain.threads or --gpus-per-trial"
        )
    return Team(workers=options.workers, least=least, resources=resources, max_failures=options.max_failures)


def jobs_at_once(team: Team, options: RunOptions) -> int:
    """Number of jobs to start at once, at most as many as the present nodes have room for; 0: any number."""
    if options.autoscaling:
        return options.max_concurrent
    room = max(1, slots(team.resources) // team.workers)
    return min(room, options.max_concurrent or room)


def train_team(spec: RetrainSpec, team: Team) -> None:
    """Train with several workers, from inside a trial; epochs and the result reach the trial's listener.

    Workers resume from the job's checkpoint in the study folder, in any number.  That a job is dropped is reported.
    Raises the other errors in `DEFINITE`, and ray.train.TrainingFailedError if workers were lost too often.
    """
    cpus, gpus = team.resources.cpus, team.resources.gpus
    reports = TuneReportCallback()
    with temporary_folder() as folder:
        trainer = TorchTrainer(
            _work,
            train_loop_config={"spec": spec},
            torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=team.workers if team.least == team.workers else (team.least, team.workers),  # type: ignore[arg-type]
                use_gpu=gpus > 0,
                resources_per_worker={"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus},
            ),
            run_config=RunConfig(
                name=spec.key,
                storage_path=folder,
                failure_config=FailureConfig(max_failures=team.max_failures),
                callbacks=[reports, _EndAtDefiniteErrors()],  # type: ignore[list-item]
            ),
        )
        try:
            trainer.fit()
        except ray.train.ControllerError as error:
            cause = _cause(error)
            if not isinstance(cause, DroppedError):
                raise cause from None
            # Through the queue of the epochs: Ray stands still if this process reports while one of them waits there.
            reports.after_report(None, [message("dropped", {})], None)  # type: ignore[arg-type]


def _work(given: dict[str, Any]) -> None:
    """One worker in the process group of Ray Train.  All workers report; only the first one's content counts."""
    spec: RetrainSpec = given["spec"]
    require_drivers_code(spec)
    first, check = ray.train.get_context().get_world_rank() == 0, dropped_check(spec)

    def on_epoch(record: RetrainEpoch) -> None:
        ray.train.report(message("epoch", asdict(record)))
        if first:
            check()

    with background_checkpoint(spec.root, spec.key, spec.patience) as file:
        result = retrain(spec.job.cell.genotype, spec.config, checkpoint=file, on_epoch=on_epoch)
    ray.train.report(message("result", asdict(result)))


class _EndAtDefiniteErrors(UserCallback):
    """Ends the run at definite errors; Ray Train restarts workers after all others."""

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        for error in worker_exceptions.values():
            if isinstance(error, DEFINITE):
                raise error


def _cause(error: Exception) -> Exception:
    """The worker's error that ended a run, otherwise the error of Ray Train."""
    inner: Exception = error
    while isinstance(inner, ray.train.ControllerError):
        inner = inner.controller_failure
    return inner if isinstance(inner, DEFINITE) else error
