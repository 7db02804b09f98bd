"""Trials under Ray Tune: what is tried again, and how often."""

import os
from pathlib import Path

import pytest
import ray
from ray import tune

from cluster.resources import TrialResources
from orchestrator.trials.tune_trials import TrialSpec, error_line, last_failure, message, report, run_trials


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


class Told(list):
    """A listener that notes what it is told."""

    def started(self, spec):
        self.append(("started", spec.key))

    def reported(self, spec, report):
        self.append((report["kind"], spec.key))

    def retried(self, spec, traceback):
        self.append(("retried", spec.key, error_line(traceback)))

    def failed(self, spec, traceback):
        self.append(("failed", spec.key, error_line(traceback)))

    def tick(self):
        pass


def told(trainable, folder, *, trials=2, max_failures):
    listener = Told()
    specs = [TrialSpec(key=f"trial-{i}", root=str(folder), config=None) for i in range(trials)]
    cpus = int(ray.cluster_resources()["CPU"])  # all of them: the second trial inherits the process of the first
    run_trials(trainable, specs, listener, resources=TrialResources(cpus=cpus), max_failures=max_failures)
    return listener


def lines(folder, what):
    return Path(folder, what).read_text().split()


@pytest.mark.parametrize(("trainable", "what"), [(Dying, "died"), (Failing, "failed")])
def test_a_trial_whose_inherited_process_serves_no_more_is_tried_again(ray_session, tmp_path, trainable, what):
    found = told(trainable, tmp_path, max_failures=1)
    assert lines(tmp_path, what) == ["trial-1"]
    assert lines(tmp_path, "computed") == ["trial-0", "trial-1"]
    assert [event[:2] for event in found if event[1] == "trial-1"] == [
        ("retried", "trial-1"),
        ("started", "trial-1"),
        ("result", "trial-1"),
    ]


def test_such_a_trial_is_given_up_where_nothing_is_tried_again(ray_session, tmp_path):
    found = told(Dying, tmp_path, max_failures=0)
    assert lines(tmp_path, "computed") == ["trial-0"]
    assert [event[:2] for event in found if event[1] == "trial-1"] == [("failed", "trial-1")]


def test_an_error_is_tried_again_so_often_and_no_oftener(ray_session, tmp_path):
    found = told(Broken, tmp_path, trials=1, max_failures=2)
    assert lines(tmp_path, "failed") == ["trial-0"] * 3
    assert [event[0] for event in found] == ["started", "retried", "started", "retried", "started", "failed"]
    assert found[-1][2] == "RuntimeError: never"


def test_failures_are_counted_anew_when_a_trial_gets_further(ray_session, tmp_path):
    found = told(advancing, tmp_path, trials=1, max_failures=1)
    assert [event[0] for event in found] == ["started", *["epoch", "retried", "started"] * 4, "result"]


def test_the_last_failure_is_taken_without_its_number():
    text = "Failure # 1 (occurred at noon)\nfirst\nFailure # 2 (occurred at one)\nTraceback\nKeyError: 1\n"
    assert last_failure(text) == "Traceback\nKeyError: 1\n"
