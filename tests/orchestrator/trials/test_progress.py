"""The progress display."""

import io

from rich.console import Console

from orchestrator.trials.progress import INTERVAL, Progress


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def make(**values):
    clock, out = Clock(), io.StringIO()
    console = Console(file=out, force_terminal=False, width=200)
    return Progress("searches", {"a": 10, "b": 10}, console=console, clock=clock, **values), clock, out


def test_counts_and_time_left():
    progress, clock, _ = make(done=1, best=80.0)
    assert progress.line() == (
        "searches: 1 done, 0 running, 0 failed of 3 | epoch 0 of 20 in all | one-shot accuracy up to 80.00 %"
    )
    progress.start("a")
    progress.start("b")
    clock.now = 60.0
    progress.advance("a", 5, 90.0)
    assert progress.line() == (
        "searches: 1 done, 2 running, 0 failed of 3 | epoch 5 of 20 in all | one-shot accuracy up to 90.00 % | "
        "0:03:00 left"
    )
    progress.finish("a")
    progress.finish("b", failed=True)
    assert progress.line().startswith("searches: 2 done, 0 running, 1 failed of 3 | epoch 20 of 20")


def test_trials_that_are_added_and_withdrawn_change_the_total():
    progress, _, _ = make()
    progress.expect("c", 5)
    progress.expect("a", 10)
    assert progress.line().startswith("searches: 0 done, 0 running, 0 failed of 3 | epoch 0 of 25")
    progress.start("b")
    progress.forget("b")
    progress.forget("nothing")
    assert progress.line().startswith("searches: 0 done, 0 running, 0 failed of 2 | epoch 0 of 15")


def test_a_trial_that_ended_and_runs_again_counts_twice():
    progress, _, _ = make()
    progress.start("a")
    progress.finish("a", failed=True)
    progress.expect("a", 10)
    progress.start("a")
    assert progress.line().startswith("searches: 0 done, 1 running, 1 failed of 3")
    progress.finish("a")
    assert progress.line().startswith("searches: 1 done, 0 running, 1 failed of 3")


def test_without_a_terminal_one_line_every_half_minute_and_one_at_the_end():
    progress, clock, out = make()
    with progress:
        for second in range(61):
            clock.now = float(second)
            progress.show()
    assert len(out.getvalue().splitlines()) == 1 + int(60 // INTERVAL) + 1


def test_without_a_terminal_the_first_epoch_has_a_line():
    progress, _, out = make()
    progress.start("a")
    progress.advance("a", 1, 50.0)
    progress.advance("a", 2, 60.0)
    epochs = [line.split(" | ")[1] for line in out.getvalue().splitlines()]
    assert epochs == ["epoch 0 of 20 in all", "epoch 1 of 20 in all"]


def test_a_missing_accuracy_keeps_the_best():
    progress, _, _ = make()
    progress.advance("a", 1, None)
    assert "best" not in progress.line()
    progress.advance("a", 2, 50.0)
    progress.advance("a", 3, 40.0)
    assert "50.00" in progress.line()


def test_the_accuracy_of_a_retraining_is_not_one_shot():
    progress = Progress("retraining", {"a": 10}, best=80.0)
    assert progress.line().endswith("| validation accuracy up to 80.00 %")
