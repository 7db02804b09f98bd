"""A study from start to end on Ray, interrupted and gone on with, and what it refuses."""

import contextlib
import dataclasses
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

import orchestrator
from analysis.storage.study_files import StudyFiles
from analysis.store import ResultStore
from analysis.tables import QUEUE
from orchestrator.cli import main
from orchestrator.commands.terminal import summary
from orchestrator.config import RaceConfig, SeedConfig, SelectionConfig
from orchestrator.live_driver import LiveDriver
from orchestrator.options import RunOptions
from orchestrator.presets import smoke
from orchestrator.queue.retrain_queue import RetrainQueue
from orchestrator.steering import add_seeds, steering_log, stop_search
from orchestrator.storage.lease import LeaseHeldError, open_lease
from orchestrator.storage.live_status import read_live_status
from orchestrator.storage.study_folder import create_or_open, open_study
from orchestrator.study import missing_searches, run_study
from orchestrator.trials.retrain_trials import work_queue
from pcdarts.diagnostics.memory import predict_memory
from pcdarts.genotype import Genotype
from pcdarts.search import search
from tests.orchestrator.queue.killing import study_with_searches

LOCAL = RunOptions(address="local")
TIMES = ("eigenvalue_seconds", *(f"seconds_{part}" for part in ("data", "weights", "alpha", "validation", "metrics")))
VARYING = ("seconds", *TIMES, "images_per_second", "peak_memory_bytes", "started_at", "finished_at", "submitted_at")
VARYING += ("data_dir", "git_revision")  # that of a checkout where somebody works


def run(study, root, options=LOCAL, retrain=True):
    said = []
    options = dataclasses.replace(options, retrain=retrain)
    failed = run_study(study, str(root), options=options, command=["pcdarts"], say=said.append)
    return failed, said


def rows(root, table):
    """A table as people read it, without the columns that differ from run to run."""
    frame = pd.read_parquet(f"{root}/{table}")
    frame = frame.drop(columns=[name for name in VARYING if name in frame])
    if "test_correct" in frame:
        frame["test_correct"] = [bits and bits.hex() for bits in frame["test_correct"]]
    return json.loads(frame.to_json(orient="records", double_precision=15))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, ray_session):
    """The folder of a study that ended, whose storage was a relative path."""
    folder = tmp_path_factory.mktemp("studies")
    with contextlib.chdir(folder):
        assert run(smoke(), "smoke")[0] == 0
    return folder / "smoke"


def test_every_search_has_its_rows_and_the_best_cell_is_retrained(finished):
    searches = pd.read_parquet(finished / "searches")
    assert sorted(searches["search_id"]) == sorted(config.search_id for config in smoke().searches())
    assert set(searches["status"]) == {"completed"} and set(searches["setting"]) == {"k=1", "k=2"}
    assert set(zip(searches["k"], searches["sampling_rate"], strict=True)) == {(1, 1.0), (2, 0.5)}
    predicted = {config.search_id: predict_memory(config).total for config in smoke().searches()}
    assert dict(zip(searches["search_id"], searches["predicted_memory_bytes"], strict=True)) == predicted
    epochs = pd.read_parquet(finished / "epochs")
    assert epochs.groupby("search_id").size().tolist() == [2] * 4
    assert epochs["alpha_trained"].tolist() == [False, True] * 4
    queue, retrains = pd.read_parquet(finished / "queue"), pd.read_parquet(finished / "retrains")
    assert set(queue["state"]) == {"done"} and set(retrains["status"]) == {"completed"}
    assert queue["job_id"].is_unique and sorted(queue["job_id"]) == sorted(retrains["job_id"])
    assert queue.groupby("stage").size().to_dict() == {"final": 1, "rung": 4}
    means = retrains[retrains["stage"] == "rung"].groupby("genotype_digest")["valid_accuracy"].mean()
    (final,) = retrains[retrains["stage"] == "final"]["genotype_digest"]
    assert means[final] == means.max() and len(means) == 2
    assert "<html" in (finished / "report.html").read_text()


def test_a_finished_study_says_so_and_does_nothing(finished, monkeypatch):
    for module in ("search_trials", "retrain_trials"):
        monkeypatch.setattr(f"orchestrator.trials.{module}.run_trials", lambda *a, **k: pytest.fail("ran trials"))

    def times():
        alive = ("study-lease", "live.json")  # a driver shows that it runs, whatever it does
        files = (
            path for path in finished.rglob("*") if path.is_file() and not {path.name, path.parent.name} & set(alive)
        )
        return {path: path.stat().st_mtime_ns for path in files}

    before = times()
    with contextlib.chdir(finished.parent):
        failed, said = run(smoke(), finished.name)
    assert failed == 0 and said == ["Study 'smoke' is finished: 4 searches completed. Nothing to do."]
    assert before == times()


def test_a_study_stays_finished_when_configurations_get_a_new_field(finished, tmp_path):
    """`pcdarts` is copied, and both configurations get a field with a default."""
    repository = Path(__file__).parents[2]
    shutil.copytree(repository / "pcdarts", tmp_path / "pcdarts")
    for name in ("search_config", "retrain_config"):
        source = tmp_path / "pcdarts" / "config" / f"{name}.py"
        before, last_field, after = source.read_text().partition("    checkpoint_every: int = 1\n")
        source.write_text(f'{before}    new_field: int = 0\n    """New."""\n{last_field}{after}')
    root = shutil.copytree(finished, tmp_path / "smoke")
    script = (
        "import sys\n"
        "from orchestrator.options import RunOptions\n"
        "from orchestrator.presets import smoke\n"
        "from orchestrator.study import run_study\n"
        "study = smoke()\n"
        "assert study.search.new_field == study.retrain.new_field == study.race.recipe.new_field == 0\n"
        "run_study(study, sys.argv[1], options=RunOptions(address='local', retrain=True), command=[])\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{repository}"}
    result = subprocess.run(
        [sys.executable, "-c", script, root], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.stdout == "Study 'smoke' is finished: 4 searches completed. Nothing to do.\n", result.stderr

    def names(folder):
        return sorted(path.relative_to(folder) for path in folder.glob("queue*/*"))

    assert names(root) == names(finished)


def test_another_configuration_is_refused_with_the_differences(finished):
    changed = dataclasses.replace(smoke(), sweep={"seed": (0, 1), "k": (1, 4)})
    with pytest.raises(ValueError, match=r"sweep\.k: \[1, 2\] -> \[1, 4\]"):
        run(changed, finished)


def test_a_finished_study_may_get_more_searches(finished, tmp_path):
    root = shutil.copytree(finished, tmp_path / "smoke")
    more = dataclasses.replace(smoke(), sweep={"seed": (0, 1, 2), "k": (2, 1)}, seeds=SeedConfig(max_seeds=9))
    store = create_or_open(more, str(root), ["again"])
    assert {search.seed for search in missing_searches(more, store)} == {2} and open_study(str(root))[0] == more
    with pytest.raises(ValueError, match=r"sweep.seed: \[0, 1, 2\] -> \[0, 1\]"):  # fewer ones would be left over
        create_or_open(smoke(), str(root), [])


def test_a_second_run_that_is_refused_does_not_touch_the_study(tmp_path):
    root = str(tmp_path / "smoke")
    store = create_or_open(smoke(), root, ["first"])
    described = store.read_text("study.json")
    with open_lease(root, LOCAL, "study"), pytest.raises(LeaseHeldError, match="has been working on this study"):
        run(dataclasses.replace(smoke(), selection=SelectionConfig(top=9)), root)
    assert store.read_text("study.json") == described


def test_where_others_retrain_the_report_is_written(finished, tmp_path, monkeypatch):
    root = shutil.copytree(finished, tmp_path / "smoke")
    shutil.rmtree(root / "retrains")
    shutil.rmtree(root / "queue-events")
    (root / "report.html").unlink()
    with open_lease(str(root), LOCAL):
        _, said = run(smoke(), root)
    assert any("Retraining skipped: another process" in line for line in said)
    assert (root / "report.html").exists()


def test_what_people_should_know_is_said_before_the_first_search(tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.study.run_searches", lambda *arguments, **named: None)
    _, said = run(smoke(), tmp_path / "smoke", retrain=False)
    assert said == [
        f"Study 'smoke': 4 of 4 searches to run, in {tmp_path / 'smoke'}",
        "alpha and beta are frozen for the first 1 of 2 epochs: the genotype does not change before epoch 1",
    ]


def test_the_queue_is_retrained_from_another_data_folder(finished, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "orchestrator.trials.retrain_trials.work_queue", lambda queue, **k: seen.append(queue.study.retrain.data_dir)
    )
    assert main(["retrain", str(finished), "--data-dir", "/elsewhere"]) == 0
    assert main(["retrain", str(finished)]) == 0
    assert seen == ["/elsewhere", str(finished.parent / "data")]


def test_checkpoints_of_a_relative_storage_lie_in_the_study(finished):
    names = {path.name for path in (finished / "checkpoints").iterdir()}
    keys = [*pd.read_parquet(finished / "searches")["search_id"], *pd.read_parquet(finished / "queue")["job_id"]]
    assert names == {f"{key}.pt" for key in keys}


def test_a_search_under_ray_is_the_search_alone_to_the_last_bit(finished):
    config = smoke().searches()[1]
    records = []
    result = search(config, on_epoch=records.append)
    epochs = pd.read_parquet(finished / "epochs")
    mine = epochs[epochs["search_id"] == config.search_id].sort_values("epoch")
    for record, row in zip(records, mine.to_dict("records"), strict=True):
        assert [list(edge) for edge in row["alphas_normal"]] == [list(edge) for edge in record.alphas_normal]
        assert list(row["betas_reduce"]) == list(record.betas_reduce)
        assert row["genotype"] == record.genotype and row["train_loss"] == record.train_loss
    searches = pd.read_parquet(finished / "searches").set_index("search_id")
    assert searches.loc[config.search_id, "valid_accuracy"] == result.valid_accuracy


@pytest.mark.slow
def test_methods_are_compared_and_random_cells_are_retrained_too(ray_session, tmp_path):
    sweep = {"seed": (0,), "method": ("pcdarts", "darts", "random")}
    study = dataclasses.replace(smoke(), sweep=sweep, race=RaceConfig())
    root = tmp_path / "smoke"
    assert run(study, root)[0] == 0
    searches = pd.read_parquet(root / "searches").set_index("method")
    assert set(searches["status"]) == {"completed"}
    assert searches["setting"].to_dict() == {
        "pcdarts": "method=pcdarts, k=2",
        "darts": "method=darts",
        "random": "method=random",
    }
    assert searches.loc["darts", "k"] == 1 and not searches.loc["darts", "edge_normalization"]
    random = searches.loc["random"]
    assert random["epochs_trained"] == 0 and random[["valid_accuracy", "sampling_rate"]].isna().all()
    assert set(pd.read_parquet(root / "epochs")["search_id"]) == set(searches["search_id"]) - {random["search_id"]}
    queue = pd.read_parquet(root / "queue").sort_values("rank")
    final = queue[queue["stage"] == "final"]
    assert set(queue["state"]) == {"done"} and len(final) == searches["genotype_digest"].nunique()
    assert "method=random: place 1 of 1, random cell of seed 0" in set(final["reason"])
    assert "method=random" in (root / "report.html").read_text() and "method=random" in summary(ResultStore(str(root)))
    assert run(study, root)[1] == ["Study 'smoke' is finished: 3 searches completed. Nothing to do."]
    # A study that goes on knows the best accuracy so far, though random cells have none.
    (root / "searches" / f"{searches.loc['darts', 'search_id']}.parquet").unlink()
    assert run(study, root)[0] == 0


def test_a_study_of_random_cells_alone(ray_session, tmp_path):
    study = dataclasses.replace(smoke(), sweep={"seed": (0, 1), "method": ("random",)})
    assert run(study, tmp_path / "smoke", retrain=False)[0] == 0
    queue = pd.read_parquet(tmp_path / "smoke" / "queue")
    assert queue["valid_accuracy"].isna().all() and queue["state"].tolist() == ["queued"] * 2
    assert "method=random" in summary(ResultStore(str(tmp_path / "smoke")))


@pytest.mark.slow
def test_a_study_in_a_smaller_space(ray_session, tmp_path):
    search_config = dataclasses.replace(smoke().search, space="s2", drop_path=0.2, eigenvalue_every=2)
    study = dataclasses.replace(smoke(), search=search_config, sweep={"seed": (0,)})
    assert run(study, tmp_path / "smoke")[0] == 0
    epochs = pd.read_parquet(tmp_path / "smoke" / "epochs")
    assert {len(edge) for alphas in epochs["alphas_normal"] for edge in alphas} == {2}
    assert epochs.sort_values("epoch")["dominant_eigenvalue"].notna().tolist() == [False, True]
    (genotype,) = set(pd.read_parquet(tmp_path / "smoke" / "retrains")["genotype"])
    assert set(dict(Genotype.parse(genotype).normal)) <= {"skip_connect", "sep_conv_3x3"}


@pytest.mark.slow
def test_tables_and_checkpoints_that_are_lost_are_made_again(finished, tmp_path):
    root = tmp_path / "smoke"
    subprocess.run(["cp", "-r", str(finished), str(root)], check=True)
    study, store = open_study(str(root))
    lost = study.searches()[2].search_id
    (root / "searches" / f"{lost}.parquet").unlink()
    (root / "checkpoints" / f"{lost}.pt").unlink()
    assert [config.search_id for config in missing_searches(study, store)] == [lost]
    assert run(study, root)[0] == 0
    for table in ("searches", "epochs", "queue", "retrains"):
        assert rows(root, table) == rows(finished, table)


def broken_search(config, **arguments):
    if config.seed == 1:
        raise FloatingPointError("training loss is nan in epoch 0\nsecond line")
    return search(config, **arguments)


@pytest.mark.slow
def test_a_failed_search_is_a_row_with_its_error_and_the_study_goes_on(ray_session, tmp_path, monkeypatch):
    import orchestrator.trials.search_trials as searching

    study = dataclasses.replace(smoke(), sweep={"seed": (0, 1), "k": (2,)})

    def trial(spec, shared):
        searching.search = broken_search
        try:
            searching.search_trial(spec, shared)
        finally:
            searching.search = search

    monkeypatch.setattr("orchestrator.trials.search_trials.search_trial", trial)
    failed, _ = run(study, tmp_path / "smoke", RunOptions(address="local", max_failures=1))
    assert failed == 1
    searches = pd.read_parquet(tmp_path / "smoke" / "searches").set_index("seed")
    assert searches["status"].to_dict() == {0: "completed", 1: "failed"}
    assert searches.loc[1, "error"] == "FloatingPointError: training loss is nan in epoch 0"
    assert "training loss is nan" in (tmp_path / "smoke" / "report.html").read_text()
    monkeypatch.undo()
    assert "1 failed (--set run.retry_failed=true runs them again)" in run(study, tmp_path / "smoke")[1][0]
    assert run(study, tmp_path / "smoke", RunOptions(address="local", retry_failed=True))[0] == 0
    searches = pd.read_parquet(tmp_path / "smoke" / "searches")
    assert searches["status"].tolist() == ["completed", "completed"]


def test_a_search_that_nodes_cannot_hold_is_refused_at_once(ray_session, tmp_path):
    study = dataclasses.replace(smoke(), search=dataclasses.replace(smoke().search, threads=4096))
    with pytest.raises(ValueError, match="a trial wants 4096 CPUs and 0 GPUs, but the largest of 1 node has"):
        run(study, tmp_path / "smoke")


def test_the_queue_keeps_states_and_drops_what_is_no_longer_selected(finished, tmp_path):
    root = tmp_path / "smoke"
    subprocess.run(["cp", "-r", str(finished), str(root)], check=True)
    study, store = open_study(str(root))
    done = [row["job_id"] for row in RetrainQueue(study, store).rows()]
    wide = dataclasses.replace(study, selection=SelectionConfig(top=3))
    states = {queued.job.job_id: queued.state.state for queued in RetrainQueue(wide, store).update()}
    assert {states[job] for job in done} == {"done"}
    assert {state for job, state in states.items() if job not in done} == {"queued"}
    jobs = RetrainQueue(study, store).update()
    assert [queued.state.state for queued in jobs] == ["done"] * len(done) + ["dropped"] * (len(jobs) - len(done))


def forget(root, kind):
    """Remove the events of a kind, as if the dispatcher had ended before it wrote them."""
    for path in (root / "queue-events").iterdir():
        if json.loads(path.read_text())["kind"] == kind:
            path.unlink()


def test_a_retraining_that_was_interrupted_goes_on_as_the_same_attempt(finished, tmp_path):
    root = tmp_path / "smoke"
    subprocess.run(["cp", "-r", str(finished), str(root)], check=True)
    study, store = open_study(str(root))
    job = RetrainQueue(study, store).jobs()[-1].job
    forget(root, "done")
    assert RetrainQueue(study, store).pending() == []  # its result had been stored: only the state was late
    (root / "retrains" / f"{job.job_id}.parquet").unlink()
    forget(root, "done")
    queue = RetrainQueue(study, store)
    assert [(queued.job.stage, queued.state.state) for queued in queue.pending()] == [("final", "running")]
    assert work_queue(queue, options=LOCAL, say=lambda text: None)
    assert rows(root, "retrains") == rows(finished, "retrains") and rows(root, "queue") == rows(finished, "queue")


def test_a_broken_part_is_named_and_the_rest_is_read(finished, tmp_path):
    root = tmp_path / "smoke"
    subprocess.run(["cp", "-r", str(finished), str(root)], check=True)
    part = next((root / "queue").iterdir())
    part.write_bytes(b"PAR1 broken")
    store = ResultStore(str(root))
    with pytest.warns(UserWarning, match="left out the broken part"):
        assert len(store.read(QUEUE)) == len(list((root / "queue").iterdir())) - 1
    assert part.name in store.broken[0]


@pytest.mark.filterwarnings("ignore:left out the broken part")
def test_broken_files_are_set_aside_and_recorded_and_their_searches_run_again(tmp_path, monkeypatch):
    study, _ = study_with_searches(str(tmp_path))
    before, later, _ = (f"{config.search_id}.parquet" for config in study.searches())
    (tmp_path / "searches" / before).write_bytes(b"PAR1 broken")
    asked = []

    def instead(requests, lease, configs, **others):
        asked.extend(f"{config.search_id}.parquet" for config in configs)
        (tmp_path / "searches" / later).write_bytes(b"PAR1 broken")

    monkeypatch.setattr(orchestrator.study, "run_searches", instead)
    _, said = run(study, tmp_path, retrain=False)
    assert asked == [before]
    moved = [path.name for path in (tmp_path / "damaged" / "searches").iterdir()]
    assert sorted(name[len("12345678-") :] for name in moved) == sorted([before, later])
    subjects = sorted(pd.read_parquet(tmp_path / "failures")["subject"])
    assert subjects == sorted(f"damaged/searches/{name}" for name in moved)
    assert sum("set aside as damaged/searches/" in text for text in said) == 2
    assert len(pd.read_parquet(tmp_path / "searches")) == 1
    assert all(name in (tmp_path / "report.html").read_text() for name in moved)


SCRIPT = Path(orchestrator.__file__).parent / "run.py"
ARGUMENTS = ["smoke", "--address", "local"]


class Steering(threading.Thread):
    """Steers a study from outside while it runs, until it has ended or something went wrong."""

    def __init__(self, root):
        super().__init__(daemon=True)
        self.root, self.error, self.stopped, self.dropped = str(root), None, [], []

    def run(self):
        try:
            self.stop_searches()
            self.drop_jobs()
        except Exception as error:
            self.error = error

    def until(self, condition):
        """Wait until a condition on the live status is fulfilled, and return it."""
        end = time.monotonic() + 600
        while time.monotonic() < end:
            with contextlib.suppress(OSError, ValueError):
                status = read_live_status(StudyFiles(self.root))
                if status and (found := condition(status)):
                    return found
            time.sleep(0.1)
        raise TimeoutError(condition)

    def begun(self, kind, asked):
        return self.until(
            lambda live: [t.key for t in live.running if t.kind == kind and t.epoch and t.key not in asked]
        )

    def stop(self, key):
        stop_search(*open_study(self.root), key)
        self.stopped.append(key)

    def stop_searches(self):
        self.stop(self.begun("search", ())[0])
        study, store = open_study(self.root)
        self.waiting = study.searches()[-1].search_id
        self.stop(self.waiting)
        add_seeds(study, store, [7])
        self.until(lambda live: not steering_log(store).unanswered())
        while len(self.stopped) < 6:
            self.stop(self.begun("search", self.stopped)[0])

    def drop_jobs(self):
        self.begun("retrain", ())  # all of them are queued by now
        queue = RetrainQueue(*open_study(self.root))
        for key in [queued.job.job_id for queued in queue.jobs() if queued.state.pending]:
            self.until(lambda live, key=key: any(trial.key == key and trial.epoch for trial in live.running))
            self.dropped.append(queue.drop(key))


@pytest.mark.slow
def test_a_running_study_is_stopped_extended_and_dropped_from_as_it_is_told(ray_session, tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.study.LiveDriver", functools.partial(LiveDriver, interval=0.5))
    root, long = tmp_path / "smoke", dataclasses.replace(smoke().search, epochs=2000)
    retrain = dataclasses.replace(smoke().retrain, epochs=2000)
    study = dataclasses.replace(
        smoke(), search=long, retrain=retrain, race=RaceConfig(), selection=SelectionConfig(top=1)
    )
    steering = Steering(root)
    steering.start()
    assert run(study, root, dataclasses.replace(LOCAL, max_concurrent=2))[0] == 0
    assert steering.error is None
    searches = pd.read_parquet(root / "searches").set_index("search_id")
    assert len(searches) == 6 and searches["seed"].tolist().count(7) == 2
    assert searches["status"].to_dict() == dict.fromkeys(steering.stopped, "stopped") | {steering.waiting: "canceled"}
    stopped = searches[searches["status"] == "stopped"]
    assert set(stopped["stop_reason"]) == {"stopped by hand"} and stopped["epochs_trained"].between(1, 1999).all()
    assert (stopped["chosen_epoch"] == stopped["epochs_trained"] - 1).all()
    queue = pd.read_parquet(root / "queue").set_index("job_id")
    assert steering.dropped and set(queue.loc[steering.dropped, "state"]) == {"dropped"}
    epochs = pd.read_parquet(root / "retrain_epochs").groupby("job_id").size()
    assert epochs[steering.dropped].between(1, 1999).all()
    store = open_study(str(root))[1]
    assert {answer.verdict for _, answer in steering_log(store).read()} == {"taken up"}
    assert "stopped by hand, not by a rule" in (root / "report.html").read_text()
    assert read_live_status(store).driver.phase == "finished"
    monkeypatch.setattr("orchestrator.trials.search_trials.run_trials", lambda *a, **k: pytest.fail("ran searches"))
    assert run(study, root, retrain=False)[0] == 0  # with the seeds that it was started with


def start(storage):
    """A study in a process of its own, which heeds Ctrl-C also where the tests run in the background."""
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *ARGUMENTS, "--storage", str(storage)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=storage.parent,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(process, condition):
    """Wait until a condition holds; fail if the process ends before."""
    while not condition():
        try:
            process.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"ended too early: {process.stdout.read()}")


@pytest.mark.slow
def test_a_study_killed_in_the_middle_ends_with_the_rows_of_an_uninterrupted_one(finished, tmp_path):
    killed = tmp_path / "killed"
    moments = [
        lambda: any(killed.glob("smoke/epochs/*.parquet")),  # in the middle of the first searches
        lambda: len(list(killed.glob("smoke/searches/*.parquet"))) >= 3,
        lambda: len(list(killed.glob("smoke/queue/*.parquet"))) >= 1,  # between the searches and the retraining
        lambda: any('"started"' in path.read_text() for path in killed.glob("smoke/queue-events/*.json")),
    ]
    for moment in moments:
        process = start(killed)
        wait_for(process, moment)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    process = start(killed)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    for table in ("searches", "epochs", "queue", "retrains"):
        assert rows(killed / "smoke", table) == rows(finished, table), table


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(tmp_path):
    process = start(tmp_path / "studies")
    wait_for(process, lambda: any((tmp_path / "studies").glob("smoke/epochs/*.parquet")))
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()
    assert process.returncode == 130
    assert re.search(r"resume with:  \S*pcdarts run smoke --address local", output) and "Traceback" not in output
    assert not (tmp_path / "studies" / "smoke" / "queue").exists()
