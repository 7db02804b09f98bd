"""Retraining under Ray Tune: `work_queue` on the driver, and the trial on a worker."""

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from ray import tune

from analysis.records import Stage, State
from analysis.storage.study_files import StudyFiles, join
from analysis.tables import RETRAIN_EPOCHS
from cluster.wording import counted
from orchestrator.live_driver import QUEUE_KINDS, LiveDriver
from orchestrator.options import RunOptions
from orchestrator.queue.costs import race_plan, race_savings
from orchestrator.queue.dispatch import Run, dispatch
from orchestrator.queue.events import EventLog, state_of
from orchestrator.queue.jobs import RetrainJob
from orchestrator.queue.retrain_queue import RetrainQueue
from orchestrator.storage.background import BackgroundWork
from orchestrator.storage.failure_log import FailureLog, record_last_driver
from orchestrator.storage.lease import Lease, open_lease
from orchestrator.storage.study_folder import absolute, background_checkpoint
from orchestrator.storage.table_writer import TableWriter
from orchestrator.trials.placement import memory_fraction, prepare_trials, resource_use
from orchestrator.trials.progress import Progress
from orchestrator.trials.retrain_listener import RetrainListener
from orchestrator.trials.retrain_spec import DroppedError, RetrainSpec, dropped_check
from orchestrator.trials.shared_images import SharedData, images_of, require_shared, share_data
from orchestrator.trials.take_up import Requests, RetrainRequests
from orchestrator.trials.tune_trials import TrialLine, TrialSpec, report, require_drivers_code, run_trials
from orchestrator.trials.worker_team import COORDINATOR, Team, jobs_at_once, make_team, train_team
from pcdarts.config import RetrainConfig
from pcdarts.results import RetrainEpoch
from pcdarts.retrain import notes, retrain
from pcdarts.training.device import limit_gpu_memory

LOOK_SECONDS = 5.0
"""Longest time until a job that waits for its retry notices that it was dropped by hand."""


def work_queue(
    queue: RetrainQueue,
    *,
    options: RunOptions,
    command: Sequence[str] = (),
    requests: Requests | None = None,
    say: Callable[[str], None] = print,
) -> bool:
    """Retrain the pending jobs of a study; returns whether there were any.

    `requests` are those of a driver of the whole study; any other has a link of its own, which shows `command`.  If
    seeds were added to the study, the rest of the queue is left for after their searches.  Raises LeaseHeldError while
    another process works on the queue, and ValueError if cluster or data cannot be used.
    """
    if not queue.has_work(options.retry_failed):
        return False
    lease = open_lease(queue.store.root, options, least_term=queue.events.last_term())
    if options.wait:
        lease.wait(say=say)
    with lease, queue.store.guarded(lease.confirm):  # from here on the queue is changed only here and by hand
        failures = FailureLog(queue.study.name, queue.store)
        record_last_driver(failures, lease)
        for queued in queue.jobs() if options.retry_failed else ():
            if queued.state.state == "failed":
                queue.record(queued.job.job_id, "retried")
        if queue.pending():  # otherwise another dispatcher has just run them
            with contextlib.ExitStack() as stack:
                if requests is None:
                    root, patience = queue.store.root, options.storage_patience
                    live = LiveDriver(
                        root,
                        command,
                        lease,
                        kinds=lambda: QUEUE_KINDS,
                        whole=False,
                        patience=patience,
                        resources=resource_use,
                    )
                    requests = Requests(stack.enter_context(live), queue.study, queue.store, lambda study: study)
                _work(queue, lease, options, requests, say)
        failures.flush()
    return True


def _work(
    queue: RetrainQueue, lease: Lease, options: RunOptions, requests: Requests, say: Callable[[str], None]
) -> None:
    """Run the pending jobs while the lease is held."""
    seeds, run = requests.study.sweep.get("seed"), _prepare(queue, lease, options, requests, say)
    queue.store.compact(RETRAIN_EPOCHS, ())  # finishes what an earlier run began
    races = any(queued.job.stage == "rung" for queued in queue.pending())
    for line in race_plan(queue.study, len(queue.selected())) if races else ():
        say(line)
    dispatch(queue, lease, run, until=lambda: requests.study.sweep.get("seed") != seeds)
    queue.store.compact(RETRAIN_EPOCHS)
    for line in race_savings(queue.study, len(queue.selected()), queue.results()):
        say(line)


def _prepare(
    queue: RetrainQueue, lease: Lease, options: RunOptions, requests: Requests, say: Callable[[str], None]
) -> Run:
    """Connect, check data and storage, and return what runs jobs as trials."""
    study, root = queue.study, queue.store.root
    stages: dict[Stage, list[RetrainConfig]] = {}
    for each in study.stages():
        stages.setdefault(each.stage, []).append(each.recipe)
    all_resources = {stage: prepare_trials(recipes, options) for stage, recipes in stages.items()}
    for resources in all_resources.values():
        require_shared(root, resources)
    # The trainings of a race are many and short, so one process each is faster.
    teams = {
        stage: None if stage == "rung" else make_team(resources, options) for stage, resources in all_resources.items()
    }
    recipes = [recipe for group in stages.values() for recipe in group]
    shared = share_data(recipes, all_resources["final"])
    first_stage = {note: stage.name for stage in reversed(study.stages()) for note in notes(stage.recipe)}
    for note, name in reversed(first_stage.items()):
        say(f"{name}: {note}")

    def run(jobs: Sequence[RetrainJob]) -> None:
        # A job may have been queued for a stage that the present configuration lacks: its recipe is then another's.
        stage = jobs[0].stage if jobs[0].stage in stages else "final"
        resources, team = all_resources[stage], teams[stage]
        say(announcement(jobs))
        board = requests.live.board
        board.begin("race" if stage == "rung" else "retraining", announcement(jobs))

        def plan(jobs: Iterable[RetrainJob]) -> list[RetrainSpec]:
            return [
                RetrainSpec(
                    key=job.job_id,
                    root=absolute(root),
                    config=queue.recipe(job),
                    job=job,
                    memory_fraction=memory_fraction(resources),
                    patience=options.storage_patience,
                )
                for job in jobs
            ]

        def plan_more(pending: Sequence[RetrainJob]) -> list[RetrainSpec]:
            of_round = [job for job in pending if (job.stage, job.rung) == (jobs[0].stage, jobs[0].rung)]
            return plan(job for job in of_round if not queue.problem(job))

        specs = plan(jobs)
        progress = Progress("retraining", {spec.key: spec.config.epochs for spec in specs})
        with progress, TableWriter(queue.store, (RETRAIN_EPOCHS,)) as writer, BackgroundWork() as work:
            listener = RetrainListener(queue, lease, progress, options, writer=writer, work=work, board=board)
            listener.expect(specs)
            line = TrialLine(specs, ahead=False)
            during = RetrainRequests(requests, listener, line, plan_more)
            once = partial(run_trials, specs=line, listener=listener, at_step=during.take_up)
            if team is None:
                trial = tune.with_parameters(retrain_trial, shared=shared)
                once(trial, resources=lambda spec: resources.bundle(), max_concurrent=options.max_concurrent)
            else:
                at_once = jobs_at_once(team, options)
                once(partial(retrain_trial, team=team), resources=lambda spec: COORDINATOR, max_concurrent=at_once)

    return run


def announcement(jobs: Sequence[RetrainJob]) -> str:
    """What a round of jobs trains."""
    first = jobs[0]
    cells = counted(len({job.cell.genotype.digest for job in jobs}), "cell")
    datasets = " and ".join(sorted({job.recipe["dataset"] for job in jobs}))
    what = f"{counted(len(jobs), 'training')} of {cells} on {datasets}"
    names: dict[Stage, str] = {
        "rung": f"Race, rung {first.rung} ({counted(first.recipe['epochs'], 'epoch')})",
        "final": "Full training",
        "published": "Full training on all training images",
        "recipe": "Training by other recipes",
    }
    return f"{names[first.stage]}: {what}"


def retrain_trial(trial: dict[str, Any], team: Team | None = None, shared: SharedData | None = None) -> None:
    """One retraining, in this process or by a team that it coordinates: report every epoch, then the result."""
    spec: RetrainSpec = trial["spec"]
    require_drivers_code(spec)
    state = _wait_until_due(spec)
    if state in ("dropped", "failed"):
        report(state, {})
        return
    report("began", {})
    try:
        if team is not None:
            train_team(spec, team)
        else:
            _train_alone(spec, shared or {})
    except DroppedError:
        report("dropped", {})


def _train_alone(spec: RetrainSpec, shared: SharedData) -> None:
    """Train in this process; raises DroppedError if the job is dropped meanwhile."""
    limit_gpu_memory(spec.memory_fraction, spec.config.device)
    check = dropped_check(spec)

    def on_epoch(record: RetrainEpoch) -> None:
        report("epoch", asdict(record))
        check()

    data = images_of(spec.config, shared)
    with background_checkpoint(spec.root, spec.key, spec.patience) as file:
        result = retrain(spec.job.cell.genotype, spec.config, checkpoint=file, data=data, on_epoch=on_epoch)
    report("result", asdict(result))


def _wait_until_due(spec: TrialSpec) -> State:
    """Wait until a job may start: a failed one only after its delay.  Returns its state.

    The job keeps its place in the cluster: the longest delay is short compared to a retraining.
    """
    log = EventLog(StudyFiles(join(spec.root, "queue-events"), spec.patience))
    while True:
        state = state_of(log.read(spec.key).get(spec.key, ()))
        pause = (state.retry_at or 0.0) - log.clock()
        if state.state != "queued" or pause <= 0:
            return state.state
        time.sleep(min(pause, LOOK_SECONDS))
