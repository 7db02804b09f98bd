"""The command line: what it does, and bad input."""

import os
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from analysis.storage.storage_retry import StorageError
from orchestrator.cli import main
from orchestrator.queue.retrain_queue import RetrainQueue
from orchestrator.storage.lease import LeaseHeldError, LeaseLostError
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
    other = ["--recipe", "digits", "--retrain-seed", "1"]
    assert main(["retrain", str(tmp_path), *other, "--data-dir", "/data"]) == 0
    assert main(["retrain", str(tmp_path)]) == 0
    assert seen == [replace(RECIPES["digits"](), seed=1, data_dir="/data"), made.retrain]
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
        (["run", "smoke", "--dataset", "mnist"], "'mnist' is not one of digits"),
        (["run", "smoke", "--colour", "3"], "unrecognized arguments: --colour 3"),
        (["run", "smoke", "--epoch", "3"], "did you mean --epochs? (see pcdarts run --help)"),
        (["run", "smoke", "--epochs", "3", "--warmup-epochs", "3"], "less than epochs (3)"),
        (["run", "smoke", "--study", "../x"], "study name is '../x'"),
        (["run", "smoke", "--seeds", "0", "0"], "each once"),
        (["run", "imagenet", "--data-dir", "/nonexistent", "--threads", "1"], "/nonexistent"),
        (["run", "smoke", "--storage", "/proc/nowhere"], "cannot be written to"),
        (["run", "smoke", "--autoscaling", "true"], "give --gpus-per-trial"),
        (["queue", "nowhere"], "'nowhere' holds no study"),
        (["retrain", "nowhere"], "holds no study"),
        (["report", "nowhere"], "holds no study"),
        (["check", "nothing"], "preset is 'nothing'"),
        (["check", "--storage-patience", "9"], "unrecognized arguments: --storage-patience"),
        ([], "COMMAND"),
        (["search"], "invalid choice: 'search'"),
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
    ],
)
def test_every_failure_has_its_exit_code_and_one_line(error, code, line, capsys, monkeypatch):
    def fail(*arguments):
        raise error

    monkeypatch.setattr("orchestrator.storage.study_folder.open_study", fail)
    assert main(["queue", "studies/demo"]) == code
    printed = capsys.readouterr().err
    assert printed.startswith(f"pcdarts: error: {line}") and len(printed.splitlines()) == 1


def test_a_report_has_three_forms(tmp_path, capsys):
    store = write_study(str(tmp_path / "demo"))  # as an import leaves it: its study.json describes no search
    for form, name in (("html", "report.html"), ("md", "report.md"), ("csv", "report-csv")):
        assert main(["report", store.root, "--format", form]) == 0
        assert capsys.readouterr().out == f"wrote {store.root}/{name}\n" and (tmp_path / "demo" / name).exists()
    with pytest.raises(SystemExit):
        main(["report", store.root, "--format", "pdf"])
    assert "invalid choice: 'pdf'" in capsys.readouterr().err


def test_a_report_needs_neither_pytorch_nor_ray(tmp_path):
    store = write_study(str(tmp_path / "demo"))
    script = f"import sys; from orchestrator.cli import main; main(['report', {store.root!r}])"
    script += "; print({'torch', 'ray'} & set(sys.modules))"
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root)
    assert run.stdout.endswith("report.html\nset()\n")


def test_data_that_is_missing_where_trials_run_is_said_once_and_without_a_traceback(tmp_path):
    command = [sys.executable, "-m", "orchestrator.cli", "run", "imagenet", "--threads", "1", "--address", "local"]
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


@pytest.mark.parametrize("command", ["run", "retrain"])
def test_the_help_names_no_default_that_another_place_decides(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    recipes = [part for part in text.split(" --") if part.startswith(("retrain-epochs", "proxy-epochs", "top "))]
    assert recipes and all(part.endswith(("(default: the preset's)", "(default: the recipe's)")) for part in recipes)


def test_check_looks_at_the_study_that_run_would_make(monkeypatch):
    seen = []
    monkeypatch.setattr("orchestrator.commands.check.check", lambda study, storage, options: seen.append(study) or 0)
    assert main(["check", "smoke", "cifar10", "--k", "1", "--seeds", "5", "--data-dir", "/data"]) == 0
    assert [(study.name, len(study.searches())) for study in seen] == [("smoke", 1), ("cifar10", 1)]
    configs = [config for study in seen for config in (study.search, study.retrain, study.proxy.recipe)]
    assert {config.data_dir for config in configs} == {"/data"} and seen[1].searches()[0].k == 1
