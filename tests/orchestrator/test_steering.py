"""What can be asked of a study's driver, and what is refused before it is asked."""

import pytest

from analysis.tables import SEARCHES
from orchestrator.cli import main
from orchestrator.more_seeds import with_added_seeds
from orchestrator.presets import smoke
from orchestrator.queue.retrain_queue import RetrainQueue
from orchestrator.steering import add_seeds, driver_runs, move_up, steering_log, stop_search
from orchestrator.storage.live_board import LiveBoard
from orchestrator.storage.live_status import write_live_status
from orchestrator.storage.steering_log import StopFlags
from orchestrator.storage.study_folder import create_or_open
from tests.analysis.synthetic import search_row
from tests.orchestrator.queue.killing import make_study, study_with_searches


@pytest.fixture
def study(tmp_path):
    study = smoke()
    return study, create_or_open(study, str(tmp_path), [])


def asked(store):
    return [(request.kind, request.target, request.seeds) for request, _ in steering_log(store).read()]


def test_a_search_is_stopped_by_a_prefix_of_its_id(study):
    first, *_ = smoke().searches()
    request = stop_search(*study, first.search_id[:-1])
    assert request.target == first.search_id and asked(study[1]) == [("stop", first.search_id, ())]
    assert StopFlags(study[1].below("stops")).is_set(first.search_id)
    with pytest.raises(ValueError, match=f"search {first.search_id} was asked to stop before"):
        stop_search(*study, first.search_id)


@pytest.mark.parametrize(("name", "found"), [("zzz", "no search"), ("", "no search"), ("k", "several searches")])
def test_a_name_must_be_that_of_one_search(study, name, found):
    with pytest.raises(ValueError, match=f"'{name}' names {found} of this study; give an id"):
        stop_search(*study, name)
    assert asked(study[1]) == []


def test_a_search_that_has_ended_cannot_be_stopped(study):
    config, store = smoke().searches()[0], study[1]
    row = search_row(1, 0, 80.0) | {"search_id": config.search_id, "status": "failed"}
    store.append(SEARCHES, [row], config.search_id)
    with pytest.raises(ValueError, match=f"search {config.search_id} has ended already, it is failed"):
        stop_search(*study, config.search_id)


def test_seeds_are_added_once(study):
    assert add_seeds(*study, [7, 8]).seeds == (7, 8)
    assert asked(study[1]) == [("seeds", "", (7, 8))]
    longer = with_added_seeds(study[0], [7, 8])
    assert longer.extends(study[0]) and longer.sweep["seed"] == (0, 1, 7, 8)
    new = {config.search_id for config in longer.searches()} - {config.search_id for config in smoke().searches()}
    assert stop_search(*study, min(new)).target == min(new)
    for seeds, message in [
        ([8], "seed 8 is in the study already"),
        ([0], "seed 0 is in the study already"),
        ([9, 9], "seed 9 is in the study already, or given twice"),
        ([-1], "seed is -1, but must be an integer from 0"),
        (["x"], "seed is 'x', but must be an integer from 0"),
        ([True], "seed is True, but must be"),
        ([], "no seeds are given, but at least one is needed"),
    ]:
        with pytest.raises(ValueError, match=message):
            add_seeds(*study, seeds)
    assert len(asked(study[1])) == 2


def test_a_study_that_sweeps_no_seed_gets_more(study):
    single = with_added_seeds(
        type(study[0])(name="x", search=study[0].search, sweep={"k": (1, 2)}, retrain=study[0].retrain), [3]
    )
    assert single.sweep["seed"] == (study[0].search.seed, 3) and len(single.searches()) == 4
    assert with_added_seeds(single, [3]) is single


def test_changes_of_the_queue_are_requests_too(tmp_path):
    study, store = study_with_searches(str(tmp_path), make_study())
    queue = RetrainQueue(study, store)
    queue.update()
    *_, last = [row["job_id"] for row in queue.rows()]
    assert move_up(study, store, last[:10]).kind == "up"
    assert [row["job_id"] for row in RetrainQueue(study, store).rows()][0] == last
    queue.drop(last)
    queue.retry(last)
    assert [(kind, target) for kind, target, _ in asked(store)] == [("up", last), ("drop", last), ("retry", last)]


def test_a_driver_runs_while_its_file_is_fresh(study):
    store = study[1]
    assert not driver_runs(store)
    board = LiveBoard()
    write_live_status(store, board.snapshot())
    assert driver_runs(store)
    board.begin("finished")
    write_live_status(store, board.snapshot())
    assert not driver_runs(store)
    write_live_status(store, LiveBoard(clock=lambda: 0.0).snapshot())
    assert not driver_runs(store)


def test_the_command_asks_and_lists(study, tmp_path, capsys):
    root, search = str(tmp_path), smoke().searches()[0].search_id
    assert main(["steer", root, "stop", search]) == 0
    assert main(["steer", root, "seeds", "7", "8"]) == 0
    none = "(no driver runs; `pcdarts run` will take it up)"
    assert capsys.readouterr().out == f"stop: {search} {none}\nseeds: 7 8 {none}\n"
    log = steering_log(study[1])
    log.answer(log.unanswered()[0], reason="it does not run")
    assert main(["steer", root]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert f"stop {search}  taken up " in first and first.endswith(": it does not run")
    assert second.endswith("seeds 7 8  waiting for the driver")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stop"], "stop needs one search"),
        (["stop", "zzz"], "names no search"),
        (["seeds"], "no seeds are given"),
        (["seeds", "1.5"], "seed is '1.5', but must be an integer from 0"),
    ],
)
def test_the_command_refuses_nonsense_in_one_line(study, tmp_path, capsys, words, message):
    assert main(["steer", str(tmp_path), *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("pcdarts: error: ") and message in error and error.count("\n") == 1
