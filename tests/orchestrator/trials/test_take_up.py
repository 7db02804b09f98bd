"""What a driver does with requests while searches or jobs run."""

import pytest

from analysis.store import ResultStore
from analysis.tables import EPOCHS, SEARCHES
from orchestrator.live_driver import LiveDriver
from orchestrator.more_seeds import with_added_seeds
from orchestrator.presets import smoke
from orchestrator.queue.retrain_queue import RetrainQueue
from orchestrator.steering import add_seeds, move_up, steering_log, stop_search
from orchestrator.storage.lease import Lease
from orchestrator.storage.study_folder import create_or_open, open_study
from orchestrator.storage.table_writer import TableWriter
from orchestrator.trials.progress import Progress
from orchestrator.trials.retrain_listener import RetrainListener
from orchestrator.trials.retrain_spec import DroppedError, RetrainSpec, dropped_check
from orchestrator.trials.search_listener import NEVER_RAN, SearchListener
from orchestrator.trials.take_up import Requests, RetrainRequests, SearchRequests
from orchestrator.trials.tune_trials import TrialLine, TrialSpec
from tests.analysis.synthetic import epoch_rows, search_row
from tests.orchestrator.queue.killing import OPTIONS, make_study, study_with_searches


def requests_of(study, store):
    live = LiveDriver(store.root, ["pcdarts"], Lease(f"{store.root}/study-lease"))
    return Requests(live, study, store, lambda study: create_or_open(study, store.root, []))


def answers(store):
    return [(request.kind, answer.verdict, answer.reason) for request, answer in steering_log(store).read() if answer]


def plan(configs):
    return [TrialSpec(key=config.search_id, root="", config=config) for config in configs]


class Searches:
    """A driver whose searches all wait, in a folder."""

    def __init__(self, root, writer):
        self.study = smoke()
        self.store = writer.store
        create_or_open(self.study, root, [])
        specs = plan(self.study.searches())
        self.keys = [spec.key for spec in specs]
        progress = Progress("searches", {spec.key: spec.config.epochs for spec in specs})
        self.base = requests_of(self.study, self.store)
        board = self.base.live.board
        self.listener = SearchListener(self.study, writer, Lease(f"{root}/lease"), progress, board=board)
        self.listener.expect(specs)
        self.line = TrialLine(specs)
        self.during = SearchRequests(self.base, self.listener, self.line, plan)

    def waiting(self):
        return [spec.key for spec in self.line.specs]

    def start(self):
        spec = self.line.specs.popleft()
        self.listener.started(spec)
        return spec

    def ask_to_stop(self, key):
        stop_search(self.study, self.store, key)
        self.during.take_up(look=True)
        return answers(self.store)[-1]


@pytest.fixture
def searches(tmp_path):
    with TableWriter(ResultStore(str(tmp_path)), (EPOCHS, SEARCHES)) as writer:
        yield Searches(str(tmp_path), writer)


def row_of(searches, key):
    searches.listener.writer.flush()
    rows = searches.store.read_part(SEARCHES, key)
    return rows and rows[0]


def test_a_search_that_waits_does_not_run(searches):
    first, second, *others = searches.keys
    assert searches.ask_to_stop(second) == ("stop", "taken up", "it does not run")
    assert searches.waiting() == [first, *others]
    row = row_of(searches, second)
    assert (row["status"], row["error"], row["genotype"]) == ("canceled", NEVER_RAN, None)
    assert searches.listener.progress.total == 3 and searches.base.live.board.snapshot().waiting == 3


def test_a_search_that_ray_has_already_is_canceled_as_well(searches):
    spec = searches.line.specs.popleft()  # Ray has it, but it has not started
    searches.ask_to_stop(spec.key)
    searches.listener.started(spec)
    searches.listener.reported(spec, {"kind": "canceled", "content": {}})
    assert row_of(searches, spec.key)["status"] == "canceled" and not searches.listener.running


def test_a_search_that_runs_ends_by_itself(searches):
    spec = searches.start()
    assert searches.ask_to_stop(spec.key) == ("stop", "taken up", "it ends after its present epoch")
    assert row_of(searches, spec.key) is None


def test_a_search_that_waits_again_ends_with_its_last_epoch(searches):
    key = searches.keys[0]
    searches.store.append(EPOCHS, epoch_rows(search_row(1, 0, 80.0) | {"search_id": key}, epochs=1), key)
    assert searches.ask_to_stop(key)[2] == "it ends with the cell of its last epoch, once it has a place"
    assert key in searches.waiting()


def test_searches_that_were_stopped_before_the_run_are_canceled_at_its_start(searches):
    stop_search(searches.study, searches.store, searches.keys[0])
    searches.during.cancel_stopped()
    assert searches.waiting() == searches.keys[1:]
    searches.listener.writer.flush()
    searches.during.take_up(look=True)
    assert answers(searches.store) == [("stop", "taken up", "")]


def test_a_search_that_ended_before_the_driver_looked_is_refused(searches):
    key = searches.keys[0]
    stop_search(searches.study, searches.store, key)
    searches.store.append(SEARCHES, [search_row(1, 0, 80.0) | {"search_id": key}], key)
    searches.during.take_up(look=True)
    assert answers(searches.store) == [("stop", "refused", f"search {key} has ended already, it is completed")]


def test_searches_of_more_seeds_wait_behind_the_others(searches):
    add_seeds(searches.study, searches.store, [7])
    searches.during.take_up(look=True)
    assert answers(searches.store) == [("seeds", "taken up", "the searches wait for a place")]
    added = searches.waiting()[4:]
    assert len(added) == 2 and searches.waiting()[:4] == searches.keys
    stored, _ = open_study(searches.store.root)
    assert stored.sweep["seed"] == (0, 1, 7) and stored == searches.base.study
    assert set(added) <= {config.search_id for config in stored.searches()}
    assert searches.listener.progress.total == 6 and searches.base.live.board.snapshot().waiting == 6
    assert searches.ask_to_stop(added[0])[1:] == ("taken up", "it does not run")


def test_searches_that_need_more_room_run_later(searches):
    searches.during.plan = lambda configs: []
    add_seeds(searches.study, searches.store, [7])
    searches.during.take_up(look=True)
    assert answers(searches.store) == [("seeds", "taken up", "the searches run after the present ones")]
    assert searches.waiting() == searches.keys and searches.base.study.sweep["seed"] == (0, 1, 7)
    later = [config.search_id for config in searches.base.study.searches() if config.seed == 7]
    assert searches.ask_to_stop(later[0]) == ("stop", "taken up", "it does not run")


def test_searches_that_have_ended_do_not_run_again_with_their_seed(searches):
    first, second = (config for config in with_added_seeds(searches.study, [7]).searches() if config.seed == 7)
    row = search_row(1, 0, 80.0) | {"search_id": first.search_id}
    searches.store.append(SEARCHES, [row], first.search_id)
    add_seeds(searches.study, searches.store, [7])
    searches.during.take_up(look=True)
    assert searches.waiting() == [*searches.keys, second.search_id]


def test_a_search_that_failed_and_runs_again_can_be_stopped(searches):
    spec = searches.start()
    searches.store.append(SEARCHES, [search_row(1, 0, None) | {"search_id": spec.key}], spec.key)
    steering_log(searches.store).ask("stop", spec.key)
    searches.during.take_up(look=True)
    assert answers(searches.store) == [("stop", "taken up", "it ends after its present epoch")]


def test_the_queue_can_be_changed_while_searches_run(searches):
    RetrainQueue(searches.study, searches.store).add("PC_DARTS_cifar")
    searches.during.take_up(look=True)
    assert answers(searches.store) == [("add", "taken up", "the queue is changed; no job runs during the searches")]
    assert searches.base.changed_queue


class Jobs:
    """A driver whose jobs all wait, with one place."""

    def __init__(self, root):
        self.study, self.store = study_with_searches(root, make_study())
        self.queue = RetrainQueue(self.study, self.store)
        self.queue.update()
        specs = self.plan([queued.job for queued in self.queue.pending()])
        self.keys = [spec.key for spec in specs]
        progress = Progress("retraining", {spec.key: 2 for spec in specs})
        self.base = requests_of(self.study, self.store)
        board = self.base.live.board
        self.listener = RetrainListener(self.queue, Lease(f"{root}/lease"), progress, OPTIONS, board=board)
        self.listener.expect(specs)
        self.line = TrialLine(specs, ahead=False)
        self.during = RetrainRequests(self.base, self.listener, self.line, self.plan)
        self.outside = RetrainQueue(self.study, self.store)

    def plan(self, jobs):
        return [
            RetrainSpec(key=job.job_id, root=self.store.root, config=self.queue.recipe(job), job=job) for job in jobs
        ]

    def waiting(self):
        return [spec.key for spec in self.line.specs]

    def start(self):
        spec = self.line.specs.popleft()
        self.line.handed["trial"] = spec.key
        self.listener.reported(spec, {"kind": "began", "content": {}})
        return spec

    def answer(self):
        self.during.take_up(look=True)
        return answers(self.store)[-1]


@pytest.fixture
def jobs(tmp_path):
    return Jobs(str(tmp_path))


def test_a_job_that_is_moved_up_runs_next(jobs):
    running = jobs.start()
    move_up(jobs.study, jobs.store, jobs.keys[2])
    assert jobs.answer() == ("up", "taken up", "")
    assert jobs.waiting() == [jobs.keys[2], jobs.keys[1]] and running.key == jobs.keys[0]
    assert [row["job_id"] for row in jobs.outside.rows()] == [jobs.keys[2], *jobs.keys[:2]]


def test_a_job_whose_drop_was_interrupted_is_dropped_by_the_driver(jobs):
    spec = jobs.start()
    jobs.queue.stops.raise_flag(spec.key)  # the event is missing
    jobs.listener.reported(spec, {"kind": "dropped", "content": {}})
    assert jobs.queue.state(spec.key).state == "dropped"


def test_a_job_that_waits_is_dropped_at_once(jobs):
    jobs.start()
    jobs.outside.drop(jobs.keys[1])
    assert jobs.answer() == ("drop", "taken up", "")
    assert jobs.waiting() == [jobs.keys[2]]
    assert jobs.listener.progress.total == 2 and jobs.base.live.board.snapshot().waiting == 1


def test_a_job_that_runs_is_dropped_after_its_epoch_and_can_be_retried(jobs):
    spec = jobs.start()
    dropped_check(spec)()
    jobs.outside.drop(spec.key)
    assert jobs.answer() == ("drop", "taken up", "it ends after its present epoch")
    with pytest.raises(DroppedError):
        dropped_check(spec)()
    jobs.listener.reported(spec, {"kind": "dropped", "content": {}})
    jobs.line.handed.clear()
    assert jobs.queue.state(spec.key).state == "dropped" and jobs.base.live.board.snapshot().running == ()
    jobs.outside.retry(spec.key)
    assert jobs.answer() == ("retry", "taken up", "")
    assert sorted(jobs.waiting()) == sorted(jobs.keys)
    dropped_check(spec)()


def test_a_job_that_is_added_joins_the_round(jobs):
    jobs.outside.drop(jobs.keys[0])
    jobs.answer()
    jobs.outside.add(str(jobs.plan([jobs.queue.requests.get(jobs.keys[0])])[0].job.cell.genotype))
    assert jobs.answer() == ("add", "taken up", "") and len(jobs.waiting()) == 3


def test_a_job_of_another_stage_runs_later(jobs):
    jobs.during.plan = lambda pending: []
    jobs.outside.drop(jobs.keys[0])
    jobs.outside.retry(jobs.keys[0])
    assert jobs.answer() == ("retry", "taken up", "it runs in a later round")


def test_seeds_that_come_during_the_retraining_end_the_round(jobs):
    add_seeds(jobs.study, jobs.store, [7])
    assert jobs.answer() == ("seeds", "taken up", "the searches run once the present trainings have ended")
    assert jobs.base.study.sweep["seed"] == (0, 1, 2, 7)


def test_a_request_for_what_is_not_in_the_study_is_refused(jobs):
    jobs.base.live.log.ask("stop", "nothing")
    assert jobs.answer() == ("stop", "refused", "'nothing' is no search of this study")


def test_seeds_that_make_no_study_are_refused(jobs):
    def save(study):
        raise ValueError("another configuration")

    jobs.during.save = save
    add_seeds(jobs.study, jobs.store, [7])
    assert jobs.answer() == ("seeds", "refused", "another configuration")
    assert jobs.base.study == jobs.study


def test_the_queue_is_not_read_while_nothing_is_asked(jobs, monkeypatch):
    monkeypatch.setattr(jobs.queue, "pending", lambda: pytest.fail("read"))
    jobs.during.take_up(look=True)
    assert answers(jobs.store) == []
