"""`pcdarts queue`, `retrain` and `steer`: the retraining queue of a study, and requests to its driver."""

import argparse
from dataclasses import replace

from orchestrator.commands.arguments import (
    RETRAIN_FLAGS,
    add_retrain_seeds,
    add_run_flags,
    add_study_dir,
    changes,
    path,
)
from orchestrator.commands.parser import Parser
from orchestrator.options import RunOptions
from pcdarts.presets import RECIPES


def add_parsers(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Add the three commands."""
    queue = commands.add_parser(
        "queue",
        help="show or change the retraining queue of a study",
        description="Print the retraining queue of a study; with an action, change it first.",
    )
    add_study_dir(queue)
    queue.add_argument("action", nargs="?", choices=("add", "drop", "retry", "up"), help="how to change it")
    queue.add_argument(
        "target",
        nargs="?",
        help="add: a published name, a genotype, or its file (-: stdin); others: a job or a prefix of it",
    )
    queue.add_argument("--top", type=int, metavar="N", help="print the first N jobs")
    queue.add_argument("--wide", action="store_true", help="print all columns in full, however wide")
    queue.set_defaults(command=_queue)

    retrain = commands.add_parser(
        "retrain",
        help="run the retraining queue of a study",
        description="Retrain the queued cells of a study, and those that its searches and its race call for now.",
    )
    add_study_dir(retrain)
    retrain.add_argument(
        "--recipe", choices=RECIPES, help="recipe that the best cells are queued with (default: the study's)"
    )
    retrain.add_argument(
        "--data-dir", metavar="DIR", type=path, help="folder that holds the data sets (default: the study's)"
    )
    retrain.add_argument("--dry-run", action="store_true", help="print the jobs that would run, and stop")
    add_retrain_seeds(retrain)
    add_run_flags(retrain, "retrain.epochs=100 or run.workers=4")
    retrain.set_defaults(command=_retrain)

    steer = commands.add_parser(
        "steer",
        help="stop a search or add seeds while a study runs",
        description="Ask the driver of a study for something; without an action, list what was asked and answered. A "
        "running driver answers within 10 seconds, otherwise the next `pcdarts run` does.",
    )
    add_study_dir(steer)
    steer.add_argument("action", nargs="?", choices=("stop", "seeds"), help="what to ask for")
    steer.add_argument(
        "target",
        nargs="*",
        metavar="SEARCH | SEED",
        help="stop: a search, or a prefix of its id, which ends after its present epoch; seeds: seeds to add",
    )
    steer.set_defaults(command=_steer)


def _queue(arguments: argparse.Namespace) -> int:
    from orchestrator.commands import terminal
    from orchestrator.queue.retrain_queue import RetrainQueue
    from orchestrator.storage.study_folder import open_study

    if arguments.action and arguments.target is None:
        raise ValueError(f"queue {arguments.action} needs a genotype or a job, as in `pcdarts queue STUDY drop 1f2e`")
    if arguments.top is not None and arguments.top < 1:
        raise ValueError(f"--top is {arguments.top}, but must be at least 1")
    study, store = open_study(arguments.study_dir)
    queue = RetrainQueue(study, store)
    if arguments.action:
        change = {"add": queue.add, "drop": queue.drop, "retry": queue.retry, "up": queue.move_up}[arguments.action]
        print(f"{arguments.action}: {change(arguments.target)}")
    print(terminal.queue(queue.rows()[: arguments.top], queue.events.broken, wide=arguments.wide))
    if problem := queue.race_problem():
        print(problem)
    return 0


def _steer(arguments: argparse.Namespace) -> int:
    from orchestrator.steering import add_seeds, driver_runs, steering_log, stop_search
    from orchestrator.storage.study_folder import open_study

    study, store = open_study(arguments.study_dir)
    if arguments.action is None:
        for request, answer in steering_log(store).read():
            what = request.target or " ".join(map(str, request.seeds))
            state = f"{answer.verdict} {answer.answered_at}" if answer else "waiting for the driver"
            reason = f": {answer.reason}" if answer and answer.reason else ""
            print(f"{request.asked_at}  {request.kind} {what}  {state}{reason}")
        return 0
    if arguments.action == "stop":
        if len(arguments.target) != 1:
            raise ValueError("stop needs one search, as in `pcdarts steer STUDY stop 1f2e`")
        text = f"stop: {stop_search(study, store, arguments.target[0]).target}"
    else:
        request = add_seeds(study, store, [_seed(text) for text in arguments.target])
        text = f"seeds: {' '.join(map(str, request.seeds))}"
    waits = "the driver answers within 10 s" if driver_runs(store) else "no driver runs; `pcdarts run` will take it up"
    print(f"{text} ({waits})")
    return 0


def _seed(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"seed is {text!r}, but must be an integer from 0") from None


def _retrain(arguments: argparse.Namespace) -> int:
    from analysis.report.build import write_report
    from orchestrator.commands import terminal
    from orchestrator.overrides import override_options, override_study
    from orchestrator.queue.retrain_queue import RetrainQueue
    from orchestrator.storage.study_folder import open_study
    from orchestrator.study import count_failed
    from orchestrator.trials.image_descriptions import describe_images, with_absolute_paths
    from orchestrator.trials.retrain_trials import work_queue

    wanted = _changes(arguments)
    options = override_options(RunOptions(), wanted)
    study, store = open_study(arguments.study_dir, options.storage_patience)
    stored, study = study, with_absolute_paths(override_study(study, wanted))
    if not arguments.dry_run:
        study, _ = describe_images(study, stored, replace(options, retrain=True), searches=False)
    queue = RetrainQueue(study, store)
    if arguments.dry_run:
        jobs = [row for row in queue.rows() if row["state"] in ("queued", "running")]
        print(terminal.queue(jobs, queue.events.broken) if jobs else "No job is queued.")
        if unqueued := queue.unqueued():
            print(f"{len(unqueued)} more would be queued: {', '.join(unqueued)}")
        return 0
    work_queue(queue, options=options, command=["pcdarts", *arguments.argv])
    write_report(arguments.study_dir)
    print(terminal.queue(queue.rows(), queue.events.broken))
    if problem := queue.race_problem():
        print(problem)
    return 1 if count_failed(queue) else 0


def _changes(arguments: argparse.Namespace) -> dict[str, object]:
    """The changes to the full training, the data folder and the options, the only ones possible here."""
    given = changes(arguments, RETRAIN_FLAGS)
    for name in given:
        if name.partition(".")[0] not in ("retrain", "final", "run"):
            raise ValueError(
                f"{name} belongs to the study: set it with `pcdarts run`; here, set retrain.*, final.* and run.*"
            )
    named: dict[str, object] = {"retrain.preset": arguments.recipe} if arguments.recipe else {}
    if arguments.data_dir:
        named |= dict.fromkeys(("retrain.data_dir", "race.recipe.data_dir"), arguments.data_dir)
    return named | given
