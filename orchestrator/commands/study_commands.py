"""`pcdarts run`, `check` and `presets`: studies from presets and study files."""

import argparse
from collections.abc import Mapping

from orchestrator.commands.arguments import add_scale, add_source, add_study_flags, changes, complete
from orchestrator.commands.parser import Parser
from orchestrator.config import StudyConfig
from orchestrator.presets import STUDIES, preset_options, study_preset


def add_parsers(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Add the three commands."""
    run = commands.add_parser(
        "run",
        help="run a study, or resume it",
        description="Run what is missing of a study: searches, retraining, report. --seeds, --k, --epochs and "
        "--dataset take several values, and every combination is searched.",
    )
    add_source(run)
    add_study_flags(run)
    run.add_argument("--help-fields", action="store_true", help="explain every field of a study, and exit")
    run.set_defaults(command=_run)

    check = commands.add_parser("check", help="before a long run: data, storage, cluster, cost")
    add_source(check, several=True)
    add_study_flags(check)
    check.set_defaults(command=_check)

    presets = commands.add_parser("presets", help="list the presets, or write one out as a study file")
    actions = presets.add_subparsers(metavar="ACTION", parser_class=Parser)
    show = actions.add_parser("show", help="print a preset as TOML, every field explained")
    complete(show.add_argument("preset", metavar="PRESET", help=f"one of {', '.join(STUDIES)}"), STUDIES)
    add_scale(show)
    presets.set_defaults(command=_presets, preset=None)


def _run(arguments: argparse.Namespace) -> int:
    from orchestrator.study_file import field_reference, load_study

    wanted = changes(arguments)
    if arguments.help_fields:
        print(field_reference(*load_study(arguments.source or "cifar10", wanted, scale=arguments.scale)), end="")
        return 0
    if arguments.source is None:
        raise ValueError("nothing to run; give a preset or a study file, as in `pcdarts run demo`")
    study, options = load_study(arguments.source, wanted, scale=arguments.scale)
    _note_unused_folder(study, wanted)

    from analysis.storage.study_files import join
    from orchestrator.commands import terminal
    from orchestrator.storage.study_folder import open_study
    from orchestrator.study import run_study

    root = join(arguments.storage, study.name)
    failed = run_study(study, root, options=options, command=["pcdarts", *arguments.argv])
    _, store = open_study(root)
    print("\n" + terminal.summary(store))
    print(terminal.where_to_look(root))
    return 1 if failed else 0


def _note_unused_folder(study: StudyConfig, wanted: Mapping[str, object]) -> None:
    """Print that the data folder has no effect, as in `--scale tiny --data-dir DIR`."""
    datasets = sorted({config.dataset for group in study.readers() for config in group})
    if any(name.endswith("data_dir") for name in wanted) and set(datasets) <= {"digits", "synthetic"}:
        print(
            f"{study.name}: all images are {' or '.join(datasets)}, made without files; the data folder has no effect"
        )


def _check(arguments: argparse.Namespace) -> int:
    from orchestrator.commands.check import check
    from orchestrator.study_file import load_study

    wanted = changes(arguments)
    studies = [load_study(source, wanted, scale=arguments.scale) for source in arguments.source or ["cifar10"]]
    for study, _ in studies:
        _note_unused_folder(study, wanted)
    problems = [check(study, arguments.storage, options) for study, options in studies]
    return 1 if any(problems) else 0


def _presets(arguments: argparse.Namespace) -> int:
    from orchestrator.study_file import study_toml
    from orchestrator.tiny import at_scale

    if arguments.preset is None:
        width = max(map(len, STUDIES))
        for name, make in STUDIES.items():
            print(f"{name:{width}}  {(make.__doc__ or '').splitlines()[0]}")
    else:
        study, options = study_preset(arguments.preset), preset_options(arguments.preset)
        print(study_toml(*at_scale(study, options, arguments.scale)), end="")
    return 0
