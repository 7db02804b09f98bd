"""The command line: what it does, and bad input."""

import errno
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from analysis.storage.storage_retry import StorageError
from orchestrator.cli import main
from orchestrator.options import RunOptions
from orchestrator.presets import STUDIES
from orchestrator.queue.retrain_queue import RetrainQueue
from orchestrator.storage.lease import LeaseHeldError, LeaseLostError
from orchestrator.storage.study_folder import create_or_open
from orchestrator.study_file import load_study
from orchestrator.trials.image_descriptions import with_absolute_paths
from pcdarts.presets import RECIPES
from tests.analysis.synthetic import write_study
from tests.orchestrator.queue.killing import CELLS, study_with_searches


def test_a_study_is_retrained_with_another_recipe(tmp_path, monkeypatch, capsys):
    made, store = study_with_searches(str(tmp_path))
    RetrainQueue(made, store).update()
    seen = []
    monkeypatch.setattr(
        "orchestrator.trials.retrain_trials.work_queue", lambda queue, **k: seen.append(queue.study.retrain)
    )
    other = ["--recipe", "digits", "--set", "retrain.seed=1"]
    assert main(["retrain", str(tmp_path), *other, "--data-dir", "/data"]) == 0
    assert main(["retrain", str(tmp_path)]) == 0
    assert seen == [replace(RECIPES["digits"](), seed=1, data_dir="/data"), with_absolute_paths(made).retrain]
    capsys.readouterr()
    assert main(["retrain", str(tmp_path), *other, "--dry-run"]) == 0
    assert f"{len(CELLS)} more would be queued: " in capsys.readouterr().out
    assert main(["retrain", str(tmp_path), "--dry-run"]) == 0
    assert "more would be queued" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["run", "cifr10"], "preset is 'cifr10', but must be one of demo, "),
        (["run", "smoke", "--k", "3"], "k is 3, but must be one of [1, 2, 4]"),
        (["run", "smoke", "--dataset", "omniglot"], "search.dataset is 'omniglot', but must be one of digits"),
        (["run", "smoke", "--colour", "3"], "unrecognized arguments: --colour 3"),
        (["run", "smoke", "--epoch", "3"], "did you mean --epochs? (see pcdarts run --help)"),
        (["run", "smoke", "--epochs", "3", "--set", "search.warmup_epochs=3"], "less than epochs (3)"),
        (["run", "smoke", "--study", "../x"], "study name is '../x'"),
        (["run", "smoke", "--seeds", "0", "0"], "each only once"),
        (["run", "imagenet", "--data-dir", "/nonexistent", "--set", "search.threads=1"], "/nonexistent"),
        (["run", "smoke", "--storage", "/proc/nowhere"], "cannot be written to"),
        (["run", "smoke", "--set", "run.autoscaling=true"], "give --gpus-per-trial"),
        (["queue", "nowhere"], "'nowhere' holds no study"),
        (["retrain", "nowhere"], "holds no study"),
        (["report", "nowhere"], "holds no study"),
        (["check", "nothing"], "preset is 'nothing'"),
        (["check", "--storage-patience", "9"], "unrecognized arguments: --storage-patience"),
        (["run"], "nothing to run; give a preset or a study file"),
        (["run", "absent.toml"], "absent.toml cannot be read"),
        (["run", "smoke", "--set", "search.learnig_rate=1"], "did you mean search.learning_rate?"),
        (["run", "--set", "search.k=2", "smoke"], "'smoke' is not an assignment; write SECTION.FIELD=VALUE"),
        (["retrain", "nowhere", "--set", "search.k=2"], "search.k belongs to the study"),
        (["search", "--set", "k=2,4"], "search.k has 2 values, but one search takes one"),
        ([], "COMMAND"),
        (["serch"], "invalid choice: 'serch'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(argv, message, capsys, tmp_path, monkeypatch, ray_session):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(argv)
    except SystemExit as stop:
        code = stop.code
    error = capsys.readouterr().err
    assert code == 2 and message in error
    assert "Traceback" not in error and len(error.strip().splitlines()) <= 2
    assert not [path for path in os.listdir(tmp_path) if path != "studies"]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (LeaseHeldError("another process works on this study"), 4, "another process works on this study"),
        (LeaseLostError("this process lost the lease"), 4, "this process lost the lease"),
        (StorageError("the storage failed for 60 s"), 3, "the storage failed for 60 s; progress is saved"),
        (
            OSError(errno.ENOSPC, "No space left", "/tmp/x"),
            5,
            "[Errno 28] No space left: '/tmp/x'; check that the path",
        ),
        (OSError("no temporary folder; set TMPDIR"), 5, "no temporary folder; set TMPDIR"),
    ],
)
def test_every_failure_has_its_exit_code_and_one_line(error, code, line, capsys, monkeypatch):
    def fail(*arguments):
        raise error

    monkeypatch.setattr("orchestrator.storage.study_folder.open_study", fail)
    assert main(["queue", "studies/demo"]) == code
    printed = capsys.readouterr().err
    assert printed.startswith(f"pcdarts: error: {line}") and len(printed.splitlines()) == 1


def test_a_report_needs_neither_pytorch_nor_ray(tmp_path):
    store = write_study(str(tmp_path / "demo"))
    script = f"import sys; from orchestrator.cli import main; main(['report', {store.root!r}])"
    script += "; print({'torch', 'ray'} & set(sys.modules))"
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root)
    assert run.stdout.endswith("report.html\nset()\n")


@pytest.mark.slow
def test_data_that_is_missing_where_trials_run_is_said_once_and_without_a_traceback(tmp_path):
    command = [
        sys.executable,
        "-m",
        "orchestrator.cli",
        "run",
        "imagenet",
        "--set",
        "search.threads=1",
        "--address",
        "local",
    ]
    done = subprocess.run(
        [*command, "--data-dir", str(tmp_path), "--storage", str(tmp_path / "studies")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stderr.startswith("pcdarts: error: imagenet not found: looked for train/")
    assert "Unhandled" not in done.stderr and "Traceback" not in done.stderr


def test_the_version_is_that_of_the_package(monkeypatch, capsys):
    monkeypatch.setattr("importlib.metadata.version", {"pcdarts-orchestrator": "1.2.3"}.__getitem__)
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0 and capsys.readouterr().out == "pcdarts 1.2.3\n"

    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", absent)
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0 and "not installed" in capsys.readouterr().out


@pytest.mark.parametrize("width", [80, 100])
def test_the_first_screen_of_run_fits(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    text = capsys.readouterr().out
    assert len(text.splitlines()) <= 60 and max(map(len, text.splitlines())) <= width
    flags = set(re.findall(r"^  (?:-h, )?(--[a-z-]+)", text, re.MULTILINE))
    daily = "study storage seeds k epochs dataset data-dir retrain retrain-seeds scale".split()
    daily += "address gpus-per-trial max-concurrent set".split()
    assert flags == {f"--{name}" for name in (*daily, "help", "help-fields")}


def test_every_field_is_explained_with_the_values_of_the_study(capsys):
    assert main(["run", "--help-fields"]) == 0
    assert "search.k = 4  (an integer)\n" in capsys.readouterr().out
    assert main(["run", "smoke", "--help-fields", "--set", "run.workers=2"]) == 0
    text = capsys.readouterr().out
    assert "run.workers = 2  (an integer)\n" in text and "search.epochs = 2  (an integer)\n" in text


def test_presets_are_listed_and_written_out(tmp_path, capsys):
    assert main(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(STUDIES) and max(map(len, lines)) <= 100
    assert main(["presets", "show", "cifar10"]) == 0
    (tmp_path / "mine.toml").write_text(capsys.readouterr().out)
    assert load_study(str(tmp_path / "mine.toml"), {}) == (STUDIES["cifar10"](), RunOptions())
    assert main(["presets", "show", "cifar"]) == 2


def made(monkeypatch, *argv):
    """The study and options that `pcdarts run` starts."""
    seen = []

    def run_study(study, root, *, options, command):
        create_or_open(study, root, command)
        seen.append((study, options))
        return 0

    monkeypatch.setattr("orchestrator.study.run_study", run_study)
    assert main(["run", *argv]) == 0
    return seen[0]


def test_flags_are_shorthands_of_fields(tmp_path, monkeypatch):
    flags = "--study mine --seeds 5 6 --k 2,4 --epochs 4 --dataset digits --data-dir /data --no-retrain"
    more = (
        "--address local --gpus-per-trial 0.5 --max-concurrent 3 --retrain-seeds 3 --set search.order=1,2 run.wait=true"
    )
    argv = ["smoke", "--storage", str(tmp_path), *flags.split(), *more.split()]
    argv += "--set search.order=1,2 run.wait=true --set search.warmup_epochs=1".split()
    study, options = made(monkeypatch, *argv)
    assert (study.name, study.search.epochs, study.search.warmup_epochs) == ("mine", 4, 1)
    assert study.sweep == {"seed": (5, 6), "k": (2, 4), "order": (1, 2)}
    for config in (study.search, study.retrain, study.race.recipe):
        assert (config.dataset, config.data_dir) == ("digits", "/data")
    assert study.final.seeds == 3
    assert options == RunOptions(address="local", gpus_per_trial=0.5, max_concurrent=3, wait=True)


def test_the_home_folder_is_found_where_no_shell_has_looked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    made(monkeypatch, "smoke", "--storage=~/a")
    monkeypatch.setenv("PCDARTS_STORAGE", "~/b")
    made(monkeypatch, "smoke")
    assert sorted(os.listdir(tmp_path)) == ["home"] and sorted(os.listdir(tmp_path / "home")) == ["a", "b"]


def test_a_data_folder_without_effect_is_pointed_out(tmp_path, monkeypatch, capsys):
    storage = ["--storage", str(tmp_path)]
    made(monkeypatch, "fashion", "--scale", "tiny", "--data-dir", "/data", *storage)
    told = "fashion-tiny: all images are synthetic, made without files; the data folder has no effect\n"
    assert told in capsys.readouterr().out
    made(monkeypatch, "fashion", "--data-dir", "/data", *storage)
    assert "no effect" not in capsys.readouterr().out


def test_short_presets_retrain_at_once(tmp_path, monkeypatch):
    assert made(monkeypatch, "smoke", "--storage", str(tmp_path))[1].retrain
    assert not made(monkeypatch, "fashion", "--storage", str(tmp_path))[1].retrain
    assert made(monkeypatch, "fashion", "--storage", str(tmp_path), "--retrain")[1].retrain


def test_the_file_in_a_studys_folder_runs_it_again(tmp_path, monkeypatch):
    study, _ = made(monkeypatch, "fashion", "--storage", str(tmp_path), "--k", "2", "4", "--epochs", "4")
    again, _ = made(monkeypatch, str(tmp_path / "fashion" / "study.toml"), "--storage", str(tmp_path / "other"))
    assert again == study and study.sweep["k"] == (2, 4)


def test_the_shell_completes_commands_presets_and_fields(tmp_path):
    def completions(line):
        output = tmp_path / "completions"
        environment = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": " "}
        environment |= {"_ARGCOMPLETE_STDOUT_FILENAME": str(output), "_ARGCOMPLETE_SUPPRESS_SPACE": "1"}
        command = [sys.executable, "-m", "orchestrator.cli"]
        subprocess.run(command, env={**os.environ, **environment}, cwd=Path(__file__).parents[2], timeout=60)
        return output.read_text().split()

    assert completions("pcdarts comp") == ["compact", "complexity"]
    assert completions("pcdarts run pc-") == ["pc-darts-iclr"]
    assert completions("pcdarts run smoke --set search.learning_rate_") == [
        "search.learning_rate_min=",
        "search.learning_rate_warmup_epochs=",
    ]


def test_check_looks_at_the_study_that_run_would_make(monkeypatch):
    seen = []
    monkeypatch.setattr("orchestrator.commands.check.check", lambda study, storage, options: seen.append(study) or 0)
    assert main(["check", "smoke", "cifar10", "--k", "1", "--seeds", "5", "--data-dir", "/data"]) == 0
    assert [(study.name, len(study.searches())) for study in seen] == [("smoke", 1), ("cifar10", 1)]
    configs = [config for study in seen for config in (study.search, study.retrain, study.race.recipe)]
    assert {config.data_dir for config in configs} == {"/data"} and seen[1].searches()[0].k == 1


def test_output_that_nobody_reads_to_the_end_is_no_error():
    command = [sys.executable, "-m", "orchestrator.cli", "columns"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        run.stdout.close()
        assert run.stderr.read() == ""
    assert run.returncode == 141
