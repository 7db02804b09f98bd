"""The queue: nothing is lost or doubled, whoever dies, wherever it is stored, and people can mend it."""

import json
import os
import random
import shutil
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis.storage.study_files import join
from analysis.store import ResultStore
from analysis.tables import QUEUE, RETRAINS
from orchestrator.cli import main
from orchestrator.config import FinalConfig, RaceConfig, Rung
from orchestrator.presets import smoke
from orchestrator.queue.dispatch import dispatch
from orchestrator.queue.events import SUPERSEDED
from orchestrator.queue.retrain_queue import RetrainQueue, find_job
from orchestrator.storage.lease import LeaseHeldError, open_lease
from orchestrator.study import count_failed
from pcdarts.config import digest
from tests.object_store import seaweed
from tests.orchestrator.queue import killing
from tests.orchestrator.queue.killing import OPTIONS, executor, make_study, study_with_searches


class Clock:
    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        self.now += 0.001
        return self.now


def opened(root, clock=None):
    study, store = study_with_searches(str(root))
    queue = RetrainQueue(study, store, clock or Clock())
    queue.update()
    return queue


def work(queue, clock=None, counts=None, broken=(), accuracies=None):
    def sleep(seconds):
        clock.now += seconds

    with open_lease(queue.store.root, OPTIONS, least_term=queue.events.last_term()) as lease:
        dispatch(queue, lease, executor(queue, lease, counts, broken, accuracies=accuracies, sleep=sleep))


def states(queue):
    return [row["state"] for row in queue.rows()]


def job_ids(queue):
    return [row["job_id"] for row in queue.rows()]


def test_attempts_count_though_the_lease_was_removed(tmp_path):
    clock = Clock()
    queue = opened(tmp_path, clock)
    broken = job_ids(queue)
    work(queue, clock, broken=broken)
    assert queue.events.last_term() == 1
    shutil.rmtree(tmp_path / "queue-lease")
    for job_id in broken:
        queue.retry(job_id)
    work(queue, clock, broken=broken)
    assert queue.events.last_term() == 2 and states(queue) == ["failed"] * 3


def test_a_job_that_has_to_wait_is_given_to_the_round_that_begins_now_as_its_last(tmp_path):
    clock, rounds = Clock(), []
    queue = opened(tmp_path, clock)
    first, *others = job_ids(queue)
    queue.record(first, "started", attempt=1, term=1)  # by a run that was ended since
    queue.record(first, "failed", attempt=1, term=1, error="once", retry_at=clock.now + 60)
    with open_lease(queue.store.root, OPTIONS, least_term=1) as lease:
        run = executor(queue, lease, sleep=lambda seconds: setattr(clock, "now", clock.now + seconds))
        dispatch(queue, lease, lambda jobs: rounds.append([job.job_id for job in jobs]) or run(jobs))
    assert rounds == [[*others, first]] and states(queue) == ["done"] * 3


def test_jobs_of_another_recipe_are_left_alone(tmp_path):
    queue = opened(tmp_path)
    other_recipe = replace(queue.study.retrain, epochs=5)
    other = RetrainQueue(replace(queue.study, retrain=other_recipe), queue.store)
    other.update()
    assert states(other) == ["queued"] * 6
    work(other)
    assert Counter(states(queue)) == {"done": 3, "queued": 3}
    assert queue.has_work(False) and not other.has_work(True)
    assert {queue.recipe(queued.job).epochs for queued in queue.pending()} == {queue.study.retrain.epochs}


def test_every_job_runs_once_and_the_view_can_be_lost(tmp_path):
    queue, counts = opened(tmp_path), Counter()
    assert states(queue) == ["queued"] * 3 and [row["rank"] for row in queue.rows()] == [1, 2, 3]
    work(queue, counts=counts)
    work(queue, counts=counts)
    assert set(counts.values()) == {1} and states(queue) == ["done"] * 3
    view = pd.read_parquet(tmp_path / "queue")
    shutil.rmtree(tmp_path / "queue")
    RetrainQueue(queue.study, ResultStore(str(tmp_path))).update()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "queue"), view)


def test_a_job_that_fails_is_repeated_with_backoff_and_then_stays_failed_and_the_others_go_on(tmp_path):
    clock, counts = Clock(), Counter()
    queue = opened(tmp_path, clock)
    poor = job_ids(queue)[0]
    began = clock.now
    work(queue, clock, counts, broken={poor})
    assert counts[poor] == 2 and 10 <= clock.now - began < 12
    assert states(queue) == ["failed", "done", "done"]
    row = queue.rows()[0]
    assert row["attempts"] == 2 and row["error"] == "RuntimeError: broken" and row["retry_at"] is None
    retrains = pd.read_parquet(tmp_path / "retrains")
    assert sorted(retrains[retrains["job_id"] == poor]["attempt"]) == [1, 2]
    queue.retry(poor[:6])
    work(queue, clock, counts)
    assert states(queue) == ["done"] * 3 and queue.rows()[0]["attempts"] == 3


RECIPE = replace(smoke().retrain, channels=2)


def staged(root, clock=None, keep=1, **values):
    """A study of three cells with a race of one rung, in which the first cell by the searches is the worst."""
    race = RaceConfig(rungs=(Rung(epochs=1, seeds=2, keep=keep),), recipe=RECIPE)
    study, store = study_with_searches(str(root), replace(make_study(race), **values))
    queue = RetrainQueue(study, store, clock or Clock())
    queue.update()
    digests = [row["genotype_digest"] for row in queue.rows()[::2]]
    return queue, digests, dict(zip(digests, (50.0, 70.0, 60.0), strict=True))


def pending(queue):
    return [queued.job for queued in queue.pending()]


def shown(queue):
    return [(row["stage"], row["rank"], row["state"]) for row in queue.rows()]


def test_the_race_comes_first_and_its_best_cells_are_retrained_in_the_same_run(tmp_path):
    queue, digests, accuracies = staged(tmp_path, keep=2)
    assert shown(queue) == [("rung", rank, "queued") for rank in range(1, 7)]
    counts = Counter()
    work(queue, counts=counts, accuracies=accuracies)
    assert set(counts.values()) == {1} and len(counts) == 8
    final = [row for row in queue.rows() if row["stage"] == "final"]
    assert [row["genotype_digest"] for row in final] == digests[1:] and [row["rank"] for row in final] == [1, 2]
    assert final[0]["reason"].startswith("rung 1: place 1 of 3, ") and final[0]["network_macs"] > 0
    assert final[0]["job_id"] == f"{digests[1]}-{digest(queue.study.retrain)}"
    retrains = pd.read_parquet(tmp_path / "retrains").set_index("job_id")
    assert retrains["stage"].to_dict() == {row["job_id"]: row["stage"] for row in queue.rows()}
    assert retrains.groupby(["stage", "seed"]).size().to_dict() == {("final", 0): 2, ("rung", 0): 3, ("rung", 1): 3}
    assert retrains.groupby("stage")["channels"].first().to_dict() == {"final": 4, "rung": 2}
    assert retrains.groupby("stage")["rung"].unique().apply(list).to_dict()["rung"] == [1]


def test_no_final_job_before_the_last_of_the_rung_has_ended_and_failed_ones_count(tmp_path):
    clock = Clock()
    queue, digests, accuracies = staged(tmp_path, clock)
    jobs = job_ids(queue)
    queue.drop(jobs[-1])
    with open_lease(str(tmp_path), OPTIONS) as lease:
        run = executor(queue, lease, broken=set(jobs[2:4]), accuracies=accuracies)
        run(pending(queue))
        assert {job.stage for job in pending(queue)} == {"rung"}  # two are to be repeated
        clock.now += 60
        run(pending(queue))
        (final,) = pending(queue)
    assert final.cell.genotype.digest == digests[2] and "place 1 of 2, " in final.cell.reason
    # A training of the race that runs again takes the final job back until it has ended.
    queue.retry(jobs[2])
    assert [job.stage for job in pending(queue)] == ["rung"]
    assert queue.rows()[-1]["error"] == SUPERSEDED
    work(queue, clock, accuracies=accuracies)
    done = [row for row in queue.rows() if row["stage"] == "final" and row["state"] == "done"]
    assert [row["genotype_digest"] for row in done] == [digests[1]]


def test_a_race_in_which_all_fail_has_no_winner_and_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("analysis.report.build.write_report", lambda root: None)  # takes seconds
    clock = Clock()
    queue, _, accuracies = staged(tmp_path, clock)
    jobs = job_ids(queue)
    queue.drop(jobs[0])
    assert queue.race_problem() == ""
    work(queue, clock, broken=set(jobs))
    assert sorted(states(queue)) == ["dropped"] + ["failed"] * 5
    problem = "The race ended at rung 1 without a result: of 6 trainings 5 failed and 1 dropped by hand."
    assert queue.race_problem().startswith(problem) and count_failed(queue) == 5
    capsys.readouterr()
    assert main(["queue", str(tmp_path)]) == 0 and problem in capsys.readouterr().out
    assert main(["retrain", str(tmp_path)]) == 1 and problem in capsys.readouterr().out
    queue.retry(jobs[0])
    assert queue.race_problem() == ""
    work(queue, clock, accuracies=accuracies)
    assert queue.race_problem() == ""
    assert [row["state"] for row in queue.rows() if row["stage"] == "final"] == ["done"]


def test_jobs_that_have_to_be_queued_again_are_work(tmp_path):
    """A training of the race is retried after the race went on, and then dropped."""
    queue, _, accuracies = staged(tmp_path)
    failed = job_ids(queue)[0]
    queue.drop(failed)
    with open_lease(str(tmp_path), OPTIONS) as lease:
        executor(queue, lease, accuracies=accuracies)(pending(queue))
    (final,) = pending(queue)
    queue.retry(failed)
    assert [job.job_id for job in pending(queue)] == [failed]
    for change, text in ((queue.retry, final.job_id), (queue.add, str(final.cell.genotype))):
        with pytest.raises(ValueError, match="was dropped because its cell is no longer among the best cells"):
            change(text)
    queue.drop(failed)
    assert queue.unqueued() == [final.job_id] and queue.has_work(retry_failed=False)
    assert [job.job_id for job in pending(queue)] == [final.job_id]


def test_the_best_cell_is_trained_as_published_and_by_other_recipes(tmp_path):
    final = FinalConfig(seeds=2, published=1, recipes=("digits",))
    queue, digests, accuracies = staged(tmp_path, keep=2, final=final)
    work(queue, accuracies=accuracies)
    retrains = pd.read_parquet(tmp_path / "retrains")
    later = retrains[~retrains["stage"].isin(["rung", "final"])]
    assert later.groupby(["stage", "dataset", "seed"]).size().to_dict() == {
        ("published", "synthetic", 0): 1,
        ("published", "synthetic", 1): 1,
        ("recipe", "digits", 0): 2,
        ("recipe", "digits", 1): 2,
    }
    assert set(retrains[retrains["stage"] == "published"]["genotype_digest"]) == {digests[1]}
    order = dict.fromkeys(row["stage"] for row in queue.rows())
    assert list(order) == ["rung", "final", "published", "recipe"] and set(states(queue)) == {"done"}


def test_more_seeds_of_a_finished_study_change_no_decision(tmp_path):
    queue, digests, accuracies = staged(tmp_path)
    work(queue, accuracies=accuracies)
    more = replace(queue.study, final=FinalConfig(seeds=3))
    assert more.extends(queue.study) and not queue.study.extends(more)
    again = RetrainQueue(more, ResultStore(str(tmp_path)), Clock())
    assert [(job.stage, job.cell.genotype.digest, job.recipe["seed"]) for job in pending(again)] == [
        ("final", digests[1], 1),
        ("final", digests[1], 2),
    ]


def test_a_cell_added_by_hand_is_trained_with_every_seed(tmp_path):
    queue, _, _ = staged(tmp_path, final=FinalConfig(seeds=2))
    queue.add("AmoebaNet")
    added = [row for row in queue.rows() if row["stage"] == "final"]
    assert len(added) == 2
    with pytest.raises(ValueError, match="already, which is queued"):
        queue.add("AmoebaNet")
    queue.drop(added[1]["job_id"])
    queue.add("AmoebaNet")
    assert [row["state"] for row in queue.rows() if row["stage"] == "final"] == ["queued"] * 2


def test_the_stages_survive_a_lost_view_and_are_shown(tmp_path, capsys):
    queue, digests, accuracies = staged(tmp_path)
    added = queue.add("AmoebaNet")
    work(queue, accuracies=accuracies)
    assert [row["rank"] for row in queue.rows() if row["stage"] == "final"] == [1, 2] and job_ids(queue)[6] == added
    before = shown(queue)
    shutil.rmtree(tmp_path / "queue")
    again = RetrainQueue(queue.study, ResultStore(str(tmp_path)))
    assert again.pending() == [] and shown(again) == before
    capsys.readouterr()
    assert main(["queue", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if " done " in line] == ["rung"] * 6 + ["final"] * 2
    assert max(map(len, lines)) <= 100 and sum(line.startswith(" rung 1 ") for line in lines) == 6


def test_a_poisoned_job_fails_before_it_runs_and_stops_nothing(tmp_path):
    queue, counts = opened(tmp_path), Counter()
    poisoned = job_ids(queue)[1]
    path = tmp_path / "queue-requests" / f"{poisoned}.json"
    request = json.loads(path.read_text())
    request["recipe"]["channels"] = 0
    path.write_text(json.dumps(request))
    queue = RetrainQueue(queue.study, queue.store, Clock())
    work(queue, counts=counts)
    assert states(queue) == ["done", "failed", "done"] and counts[poisoned] == 0
    assert "channels is 0" in queue.rows()[1]["error"]


def test_a_result_that_is_delivered_twice_is_one_row(tmp_path):
    queue = opened(tmp_path)
    work(queue)
    for path in (tmp_path / "queue-events").iterdir():
        if json.loads(path.read_text())["kind"] in ("done", "started"):
            path.unlink()
    first = queue.jobs()[0].job
    again = RetrainQueue(queue.study, queue.store, Clock())
    with open_lease(str(tmp_path), OPTIONS) as lease:
        executor(again, lease)([first])
    retrains = pd.read_parquet(tmp_path / "retrains")
    assert len(retrains) == 3 and retrains["job_id"].is_unique
    assert again.pending() == []


def test_two_dispatchers_at_once_run_every_job_once(tmp_path):
    study = opened(tmp_path).study
    counts, barrier, refused = Counter(), threading.Barrier(2), []

    def start():
        queue = RetrainQueue(study, ResultStore(str(tmp_path)))
        barrier.wait()
        try:
            work(queue, counts=counts)
        except LeaseHeldError as error:
            refused.append(error)

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counts) == 3 and set(counts.values()) == {1}


def kill(root, moments, make=opened):
    make(root)
    command = [sys.executable, killing.__file__, str(root), *map(str, moments)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert f"killed {len(moments)}" in ended.stdout
    queue, retrains = pd.read_parquet(root / "queue"), pd.read_parquet(root / "retrains")
    assert set(queue["state"]) == {"done"} and len(queue) == (3 if make is opened else 7)
    assert sorted(retrains["job_id"]) == sorted(queue["job_id"]) and set(retrains["status"]) == {"completed"}
    assert set(retrains["attempt"]) == {1}


def test_a_dispatcher_killed_at_three_moments_loses_and_doubles_nothing(tmp_path):
    kill(tmp_path, [5, 8, 3])


@pytest.mark.slow
def test_a_dispatcher_killed_between_the_stages_goes_on_with_the_final_jobs(tmp_path):
    # Before the final job is requested, which is write 43, after it is, and around the writes that follow.
    kill(tmp_path, [85, 2, 2, 3, 4, 6, 5], make=staged)


@pytest.mark.slow
def test_a_dispatcher_killed_at_25_moments_loses_and_doubles_nothing(tmp_path):
    generator = random.Random(0)
    for turn in range(5):
        # Moments are writes of the run that is left; an early one always comes.
        kill(tmp_path / str(turn), [generator.randint(1, 8) for _ in range(5)])


def test_the_command_shows_and_mends(tmp_path, capsys):
    queue = opened(tmp_path)
    first, second, third = job_ids(queue)

    def said(*argv):
        code = main(["queue", str(tmp_path), *argv])
        output = capsys.readouterr()
        return code, output.out, output.err

    code, text, _ = said("--top", "1")
    assert code == 0 and first in text and second not in text and "0/2" in text
    assert said("drop", first[:8])[0] == 0 and states(RetrainQueue(queue.study, queue.store))[-1] == "dropped"
    RetrainQueue(queue.study, queue.store).update()
    assert states(RetrainQueue(queue.study, queue.store))[-1] == "dropped"  # it stays so, though it is selected
    assert said("retry", first)[0] == 0
    assert said("add", "AmoebaNet")[0] == 0
    (added,) = [row for row in queue.rows() if "added by hand (AmoebaNet)" in row["reason"]]
    assert added["rank"] == 1 and added["state"] == "queued"
    assert main(["retrain", str(tmp_path), "--dry-run"]) == 0
    assert capsys.readouterr().out.count(" queued ") == 4
    assert said("up", third)[0] == 0
    rows = RetrainQueue(queue.study, queue.store).rows()
    assert [(row["job_id"], row["rank"]) for row in rows[:2]] == [(third, 1), (added["job_id"], 2)]
    assert main(["retrain", str(tmp_path), "--dry-run", "--retrain-seeds", "3"]) == 0
    assert "6 more would be queued: " in capsys.readouterr().out
    for argv, message in (
        (("add", "AmoebaNet"), "already, which is queued"),
        (("add", "nonsense"), "genotype"),
        (("drop", "zzz"), "names no job"),
        (("drop", ""), "names several jobs"),
        (("drop",), "needs a genotype or a job"),
        (("retry", third), "is queued, but must be failed or dropped"),
        (("up",), "needs a genotype or a job"),
        (("up", "zzz"), "names no job"),
        (("--top", "0"), "must be at least 1"),
    ):
        code, _, error = said(*argv)
        assert code == 2 and message in error and len(error.strip().splitlines()) == 1


def test_a_running_job_is_dropped_and_retried(tmp_path):
    queue = opened(tmp_path)
    first, *_ = job_ids(queue)
    queue.record(first, "started", attempt=1, term=1)
    assert queue.drop(first) == first and queue.stops.is_set(first)
    queue.record(first, "progress", attempt=1, term=1, epochs=1, epoch_seconds=1.0)
    assert queue.state(first).state == "dropped"
    with pytest.raises(ValueError, match="is dropped, but must be queued or running or failed for this"):
        queue.drop(first)
    with pytest.raises(ValueError, match="is dropped, but must be queued for this"):
        queue.move_up(first)
    queue.retry(first)
    assert queue.state(first).state == "queued" and not queue.stops.is_set(first)
    queue.drop(first)
    queue.add(str(queue.requests.get(first).cell.genotype))
    assert queue.state(first).state == "queued" and not queue.stops.is_set(first)
    asked = [(request.kind, request.target) for request, _ in queue.steering.read()]
    assert asked == [(kind, first) for kind in ("drop", "retry", "drop", "add")]


def test_an_event_that_cannot_be_read_is_told(tmp_path, capsys):
    queue = opened(tmp_path)
    name = sorted(os.listdir(tmp_path / "queue-events"))[0]
    (tmp_path / "queue-events" / name).write_text("{")
    for argv in (["queue", str(tmp_path)], ["retrain", str(tmp_path), "--dry-run"]):
        assert main(argv) == 0
        text = capsys.readouterr().out
        assert text.count(" queued ") == len(queue.jobs()) and text.count("left out a broken event: ") == 1
        assert f"left out a broken event: {name}: Expecting property name" in text


@pytest.mark.slow
def test_the_queue_in_an_object_store(tmp_path):
    with seaweed(tmp_path) as server:
        root = server.uri("smoke")
        queue, counts = opened(root), Counter()
        poor = job_ids(queue)[2]
        first, second = (open_lease(root, OPTIONS) for _ in range(2))
        with first as lease:
            with pytest.raises(LeaseHeldError):
                second.acquire()
            clock = queue.clock
            sleep = lambda s: setattr(clock, "now", clock.now + s)  # noqa: E731
            dispatch(queue, lease, executor(queue, lease, counts, broken={poor}, sleep=sleep))
        second.acquire()
        assert second.term == 2 and sorted(counts.values()) == [1, 1, 2]
        again = RetrainQueue(queue.study, ResultStore(root))
        assert states(again) == ["done", "done", "failed"]
        assert len(again.store.read(RETRAINS)) == 4 and len(again.store.read(QUEUE)) == 3


def test_paths_below_a_uri_with_options():
    assert join("s3://b/s/?region=x", "queue") == "s3://b/s/queue?region=x"
    assert join("/a?b/", "queue") == "/a?b/queue"


def test_a_job_is_found_by_any_unambiguous_prefix():
    jobs = ["1f2e-a", "1f2e-ab", "77-c"]
    assert [find_job(name, jobs) for name in ("7", "1f2e-ab", "1f2e-a")] == ["77-c", "1f2e-ab", "1f2e-a"]
    for name, message in (("1f", "'1f' names several jobs"), ("x", "'x' names no job")):
        with pytest.raises(ValueError, match=message):
            find_job(name, jobs)
