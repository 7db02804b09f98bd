"""Trials under Ray Tune: every failure is reported once, and what the listener wants is run again."""

import os
import tempfile
from pathlib import Path

import pytest
import ray
from ray import tune

from cluster.code import Code
from orchestrator.trials.tune_trials import (
    TrialLine,
    TrialSpec,
    _Waiting,
    message,
    report,
    require_drivers_code,
    run_trials,
)


class Trial(tune.Trainable):
    """Notes its key in a file when it computes; what its process does in the place of a second trial, `before` says."""

    def setup(self, config):
        self.spec = config["spec"]

    def reset_config(self, config):
        self.setup(config)
        self.before()
        return True

    def before(self):
        pass

    def step(self):
        self.note("computed")
        return message("result", {}) | {"done": True}

    def save_checkpoint(self, folder):
        pass  # Tune asks for one at the end

    def note(self, what):
        with Path(self.spec.root, what).open("a") as file:
            file.write(f"{self.spec.key}\n")


class Dying(Trial):
    def before(self):
        self.note("died")
        os._exit(1)


class Failing(Trial):
    def before(self):
        self.note("failed")
        raise RuntimeError("this process serves one trial")


class Broken(Trial):
    def step(self):
        self.note("failed")
        raise RuntimeError("never")


def advancing(trial):
    """A trial of four epochs that fails after each of them."""
    folder = Path(trial["spec"].root, "epochs")
    epochs = folder.read_text().count("x") if folder.exists() else 0
    if epochs < 4:
        folder.write_text("x" * (epochs + 1))
        report("epoch", {"epoch": epochs})
        raise RuntimeError("a machine went away")
    report("result", {})


class Calls(list):
    """A listener that notes its calls, and has trials run again until they failed often enough."""

    def __init__(self, max_failures):
        self.left = max_failures

    def started(self, spec):
        self.append(("started", spec.key))

    def reported(self, spec, report):
        self.append((report["kind"], spec.key))

    def failed(self, spec, failure):
        self.append(("failed", spec.key, failure.kind, failure.message))
        self.left -= 1
        return self.left >= 0

    def tick(self):
        pass


def calls(trainable, folder, *, trials=2, max_failures, max_concurrent=0, cpus=None):
    listener = Calls(max_failures)
    specs = [TrialSpec(key=f"trial-{i}", root=str(folder), config=None) for i in range(trials)]
    cpus = cpus or ray.cluster_resources()["CPU"]  # all of them: the second trial inherits the process of the first
    run_trials(trainable, specs, listener, resources=lambda spec: {"CPU": cpus}, max_concurrent=max_concurrent)
    return listener


def test_without_a_temporary_folder_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")
    with pytest.raises(OSError, match=r"no temporary folder .*/proc/nowhere/.*; set TMPDIR to a folder"):
        run_trials(advancing, [], Calls(0), resources=lambda spec: {"CPU": 1})


def lines(folder, what):
    return Path(folder, what).read_text().split()


@pytest.mark.parametrize(("trainable", "what", "kind"), [(Dying, "died", "process lost"), (Failing, "failed", "error")])
def test_a_trial_whose_inherited_process_serves_no_more_runs_again(ray_session, tmp_path, trainable, what, kind):
    found = calls(trainable, tmp_path, max_failures=1)
    assert lines(tmp_path, what) == ["trial-1"]
    assert lines(tmp_path, "computed") == ["trial-0", "trial-1"]
    assert [event[:3] for event in found if event[1] == "trial-1"] == [
        ("failed", "trial-1", kind),
        ("started", "trial-1"),
        ("result", "trial-1"),
    ]


def test_such_a_trial_ends_if_the_listener_gives_it_up(ray_session, tmp_path):
    found = calls(Dying, tmp_path, max_failures=0)
    assert lines(tmp_path, "computed") == ["trial-0"]
    assert [event[:2] for event in found if event[1] == "trial-1"] == [("failed", "trial-1")]


def test_a_line_that_does_not_run_ahead_hands_over_as_many_as_have_started():
    specs = [TrialSpec(key=f"trial-{i}", root="", config=None) for i in range(6)]
    line = TrialLine(specs, ahead=False)
    waiting = _Waiting(line, max_concurrent=0)
    taken = [waiting.suggest(f"t{i}") for i in range(3)]
    assert [each and each["spec"].key for each in taken] == ["trial-0", "trial-1", None]
    waiting.started |= {"t0", "t1"}
    line.replace([specs[5], specs[2]])
    assert [waiting.suggest(f"u{i}")["spec"].key for i in range(2)] == ["trial-5", "trial-2"]
    assert waiting.suggest("v") is None and sorted(line.handed.values()) == ["trial-0", "trial-1", "trial-2", "trial-5"]
    for name in ("t0", "t1", "u0", "u1"):
        waiting.on_trial_complete(name)
    line.add(specs[3:5])
    assert line.withdraw("trial-3") and not line.withdraw("trial-3")
    assert waiting.suggest("w")["spec"].key == "trial-4"
    waiting.on_trial_complete("w", error=True)
    assert waiting.suggest("x") == "FINISHED"


def test_an_error_is_reported_as_often_as_it_happens(ray_session, tmp_path):
    found = calls(Broken, tmp_path, trials=1, max_failures=2)
    assert lines(tmp_path, "failed") == ["trial-0"] * 3
    assert [event[0] for event in found] == ["started", "failed"] * 3
    assert found[-1][2:] == ("error", "RuntimeError: never")


def test_a_trial_that_fails_after_every_epoch_resumes_until_it_has_a_result(ray_session, tmp_path):
    found = calls(advancing, tmp_path, trials=1, max_failures=4)
    assert [event[0] for event in found] == [*["started", "epoch", "failed"] * 4, "started", "result"]


def test_no_more_trials_run_at_once_than_are_allowed(ray_session, tmp_path):
    found = calls(Trial, tmp_path, trials=4, max_failures=0, max_concurrent=1, cpus=0.1)
    assert [event[0] for event in found] == ["started", "result"] * 4


def guarded(trial):
    require_drivers_code(trial["spec"])
    report("result", {})


def test_trials_run_the_drivers_code(ray_session, tmp_path):
    found = calls(guarded, tmp_path, trials=1, max_failures=0, cpus=1)
    assert [event[0] for event in found] == ["started", "result"]


def test_a_trial_that_would_run_other_code_ends_all_of_them(ray_session, tmp_path):
    code = Code(folder="/elsewhere/pcdarts", digest="0" * 16)
    specs = [TrialSpec(key="trial", root=str(tmp_path), config=None, code=code)]
    listener = Calls(9)
    with pytest.raises(
        ValueError, match=r"^a trial would run the code in .*/pcdarts, but its driver runs that in /else"
    ):
        run_trials(guarded, specs, listener, resources=lambda spec: {"CPU": 1})
    assert [event[0] for event in listener] == ["started"]  # no search counts as failed
