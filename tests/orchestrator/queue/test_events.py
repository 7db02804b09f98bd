"""The state of a job: a function of the set of its events."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.storage.study_files import StudyFiles
from orchestrator.queue.events import Event, EventLog, JobState, backoff, state_of

KINDS = ("queued", "started", "progress", "done", "failed", "dropped", "retried", "up")
BY_HAND = ("queued", "dropped", "retried", "up")


def history(*kinds, term=1):
    """Events in this order; a kind may name its attempt: "started 2"."""
    events = []
    for order, text in enumerate(kinds):
        kind, attempt = [*text.split(), "1"][:2]
        by_person = kind in BY_HAND
        numbers = {"attempt": 0, "term": 0} if by_person else {"attempt": int(attempt), "term": term}
        events.append(Event(job_id="j", kind=kind, order=order, id=f"{order}", **numbers))
    return events


@st.composite
def events(draw):
    kind = draw(st.sampled_from(KINDS))
    by_person = kind in BY_HAND
    return Event(
        job_id="j",
        kind=kind,
        order=draw(st.integers(0, 20)),
        id=draw(st.text("ab", min_size=1, max_size=4)),
        attempt=0 if by_person else draw(st.integers(1, 4)),
        term=0 if by_person else draw(st.integers(1, 3)),
        error="e" if kind == "failed" else "",
        retry_at=draw(st.sampled_from([None, 5.0])) if kind == "failed" else None,
    )


def histories():
    """Any events of a job; no two have the same id, as in every queue."""
    return st.lists(events(), max_size=12, unique_by=lambda event: event.id)


@given(histories())
def test_moving_a_job_up_changes_nothing_else(found):
    without = state_of(event for event in found if event.kind != "up")
    last = max((event.order for event in found if event.kind == "up"), default=0)
    assert state_of(found) == replace(without, moved_up=last)


@given(histories(), st.randoms())
def test_order_of_reading_and_duplicates_change_nothing(found, random):
    shuffled = found + [event for event in found if random.random() < 0.5]
    random.shuffle(shuffled)
    assert state_of(shuffled) == state_of(found)


@given(histories())
def test_done_is_final_and_only_done_is_done(found):
    assert (state_of(found).state == "done") == any(event.kind == "done" for event in found)
    done = state_of(found)
    assert done.tries <= done.attempts or any(event.kind == "retried" for event in found) or done.tries <= 1


@given(histories(), events())
def test_what_a_deposed_dispatcher_says_late_counts_for_nothing_unless_it_is_done(found, late):
    reign = replace(history("started 9", term=7)[0], order=100)
    before = state_of([*found, reign])
    if late.term and late.kind != "done":
        assert state_of([*found, reign, replace(late, order=200)]) == before


@pytest.mark.parametrize(
    ("kinds", "state", "attempts", "tries"),
    [
        ([], "queued", 0, 0),
        (["queued", "started"], "running", 1, 1),
        (["queued", "started", "started"], "running", 1, 1),  # it was interrupted and goes on
        (["queued", "started", "failed"], "failed", 1, 1),
        (["queued", "started", "failed", "retried"], "queued", 1, 0),
        (["queued", "started", "failed", "retried", "started 2"], "running", 2, 1),
        (["queued", "started", "failed", "started"], "failed", 1, 1),  # late
        (["queued", "dropped"], "dropped", 0, 0),
        (["queued", "dropped", "queued"], "queued", 0, 0),
        (["queued", "started", "dropped", "done"], "done", 1, 1),
        (["queued", "started", "retried"], "running", 1, 1),
    ],
)
def test_histories(kinds, state, attempts, tries):
    found = state_of(history(*kinds))
    assert (found.state, found.attempts, found.tries) == (state, attempts, tries)


@pytest.mark.parametrize(("reached", "tries"), [((200, 400, 590), 2), ((200, 200, 200), 4), ((200, 100, 200), 4)])
def test_tries_are_counted_anew_where_a_job_gets_further(reached, tries):
    found = []
    for attempt, epochs in enumerate(reached, start=1):
        started, progress, failed = history(f"started {attempt}", f"progress {attempt}", f"failed {attempt}")
        found += [started, replace(progress, epochs=epochs), replace(failed, retry_at=5.0)]
    found += history("started 4")
    state = state_of(replace(event, order=order) for order, event in enumerate(found))
    assert (state.state, state.attempts, state.tries) == ("running", 4, tries)


def test_a_failure_with_a_time_to_retry_waits():
    failed = replace(history("failed")[0], retry_at=5.0, error="e")
    assert state_of([failed]) == JobState(state="queued", attempts=1, error="e", retry_at=5.0)


def test_backoff_doubles_up_to_the_most():
    assert [backoff(n, 10.0, 60.0) for n in (1, 2, 3, 4, 5000)] == [10, 20, 40, 60, 60]


def test_events_follow_each_other_whatever_the_clock_says(tmp_path):
    times = iter([100.0, 50.0, 50.0])
    log = EventLog(StudyFiles(str(tmp_path)), lambda: next(times))
    log.append("j", "queued")
    log.append("j", "dropped", error="why")
    log.append("j", "queued")
    (tmp_path / "j.1.broken.json").write_text("{")
    other = EventLog(StudyFiles(str(tmp_path)))
    assert [event.kind for event in sorted(other.read()["j"], key=lambda e: e.order)] == ["queued", "dropped", "queued"]
    assert [event.order for event in log.known("j")] == [1, 2, 3]
    assert [event.at for event in log.known("j")] == [100_000, 50_000, 50_000]
    assert other.broken[0].startswith("j.1.broken.json")


def test_of_two_that_write_at_once_one_reads_the_other_first(tmp_path):
    here, there = (EventLog(StudyFiles(str(tmp_path))) for _ in range(2))
    here.append("j", "queued")
    there.read()
    here.append("j", "started", term=1, attempt=1)
    event = there.append("j", "started", term=2, attempt=lambda state: state.attempts + (state.state != "running"))
    assert (event.order, event.attempt) == (3, 1)
    late = here.append("j", "failed", term=1, attempt=1, error="late")
    assert late.order == 4 and state_of(here.read()["j"]).state == "running"


def test_a_file_that_cannot_be_read_holds_up_no_event(tmp_path):
    log = EventLog(StudyFiles(str(tmp_path)))
    (tmp_path / "j.000000000000001.json").write_text("{")
    assert log.append("j", "queued").order == 2


def test_events_of_earlier_versions_are_followed(tmp_path):
    log = EventLog(StudyFiles(str(tmp_path)))
    old = Event(job_id="j", kind="up", order=1_790_000_000_000, id="x")
    plain = {name: value for name, value in vars(old).items() if name != "at"}
    log.folder.write_text(f"j.{old.order:015d}.x.json", json.dumps(plain))
    assert state_of(log.read()["j"]).moved_up == old.order
    assert log.append("j", "queued").order == old.order + 1
