"""What a driver shows of its trials: counts, attempts, and times that are left."""

import pytest

from orchestrator.storage.live_board import LiveBoard, PlannedTrial


class Now:
    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


def planned(key, epochs=10, group="k=4"):
    return PlannedTrial(key=key, kind="search", setting=group, seed=0, epochs=epochs, group=group)


@pytest.fixture
def board():
    return LiveBoard("pcdarts run x", clock=Now())


def counts(board):
    status = board.snapshot()
    return [trial.key for trial in status.running], status.waiting, status.done, status.failed


def test_trials_wait_run_and_end(board):
    board.begin("searches", done=3, failed=1)
    board.expect(map(planned, "abc"))
    assert counts(board) == ([], 3, 3, 1)
    board.started("b")
    board.clock.now += 1
    board.started("a")
    assert counts(board) == (["b", "a"], 1, 3, 1)
    board.ended("b")
    board.ended("a", failed=True)
    board.withdrawn("c")
    assert counts(board) == ([], 0, 4, 2)
    board.begin("report")
    assert counts(board) == ([], 0, 0, 0) and board.snapshot().driver.phase == "report"


def test_a_trial_that_failed_waits_for_its_next_attempt(board):
    board.expect([planned("a")])
    board.started("a")
    board.waits_again("a")
    assert counts(board) == ([], 1, 0, 0)
    board.started("a")
    (trial,) = board.snapshot().running
    assert (trial.attempt, trial.epoch, trial.reported_at) == (2, 0, None)
    board.waits_again("a")
    board.started("a", attempt=7)
    assert board.snapshot().running[0].attempt == 7


def test_reports_of_trials_that_do_not_run_are_ignored(board):
    board.reported("nobody", 1, 5.0)
    board.started("nobody")
    assert counts(board) == ([], 0, 0, 0)


def test_the_time_left_comes_from_the_last_epochs_and_is_never_negative(board):
    board.expect([planned("a", epochs=10)])
    board.started("a")
    assert board.snapshot().running[0].seconds_left is None
    for epoch in range(1, 8):
        board.reported("a", epoch, 100.0 if epoch < 3 else 4.0, "node")  # the last five count
    (trial,) = board.snapshot().running
    assert (trial.epoch, trial.node, trial.seconds_left) == (7, "node", 12.0)
    board.clock.now += 3
    assert board.snapshot().running[0].seconds_left == 9.0
    board.clock.now += 3
    assert board.snapshot().running[0].seconds_left == 8.0  # the present epoch is late: two are left for certain
    for epoch in (8, 9, 10):
        board.reported("a", epoch, 4.0)
    board.clock.now += 99
    assert board.snapshot().running[0].seconds_left == 0.0


def test_a_trial_without_an_epoch_has_the_pace_of_its_group(board):
    board.expect([planned("a"), planned("b"), planned("c", group="k=1")])
    for key in "abc":
        board.started(key)
    board.reported("a", 1, 2.0)
    assert [trial.seconds_left for trial in board.snapshot().running] == [18.0, 20.0, None]
    assert board.snapshot().seconds_left is None
    board.withdrawn("c")
    board.ended("a")
    assert board.snapshot().seconds_left == 20.0


def test_waiting_trials_share_the_places(board):
    board.expect(planned(key) for key in "abcdef")
    for key in "ab":
        board.started(key)
        board.reported(key, 5, 2.0)
    assert board.snapshot().seconds_left == (2 * 10.0 + 4 * 20.0) / 2


def test_the_last_storage_errors_are_kept(board):
    board.stored(troubles=["one"], rows_waiting=5, last_write_at="now")
    board.stored(troubles=map(str, range(10)), rows_waiting=2)
    storage = board.snapshot().storage
    assert storage.troubles == tuple(map(str, range(10)))
    assert (storage.rows_waiting, storage.last_write_at) == (2, "now")
    board.begin("report")
    assert board.snapshot().storage.rows_waiting == 0
