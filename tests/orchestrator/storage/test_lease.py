"""One driver at a time: refusal, take-over, time-outs by the storage's clock, and drivers that start at once."""

import os
import threading
import time
from dataclasses import replace

import pytest

from analysis.storage.study_files import StudyFiles
from orchestrator.options import RunOptions
from orchestrator.storage.lease import (
    Lease,
    LeaseHeldError,
    LeaseLostError,
    LeaseReader,
    machine,
    open_lease,
    process,
    process_is_dead,
)


def lease(root, **more):
    return Lease(str(root), **{"timeout": 60.0, "is_dead": lambda term: False} | more)


def let_pass(root, seconds):
    """Make the files of a lease older."""
    for path in root.iterdir():
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - seconds))


def test_the_second_is_refused_in_one_line_until_the_first_ends(tmp_path):
    first, second = lease(tmp_path), lease(tmp_path)
    first.acquire()
    let_pass(tmp_path, 20)
    with pytest.raises(LeaseHeldError, match=r"another process, process \d+ on .* since 2.*expires in \d+ s") as e:
        second.acquire()
    assert "\n" not in str(e.value)
    first.release()
    second.acquire()
    assert (first.term, second.term, second.left_behind) == (0, 2, None)


def test_a_dead_dispatcher_loses_the_lease_and_notices_if_it_was_only_asleep(tmp_path):
    first, second = lease(tmp_path), lease(tmp_path)
    first.acquire()
    let_pass(tmp_path, 50)
    first.renew()
    let_pass(tmp_path, 50)
    with pytest.raises(LeaseHeldError):
        second.acquire()
    let_pass(tmp_path, 11)
    second.acquire()
    assert second.term == 2 and second.left_behind == first.held
    for call in (first.confirm, first.renew, first.check):
        with pytest.raises(LeaseLostError, match=r"lost the lease of the queue: process \d+ on .* took over"):
            call()
    assert first.lost
    first.release()  # takes nothing from the second
    second.renew()
    with pytest.raises(LeaseHeldError):
        lease(tmp_path).acquire()


@pytest.mark.parametrize("wake", [Lease.check, Lease.confirm, Lease.renew])
def test_a_lease_that_expired_while_the_computer_slept_is_still_held_if_nobody_took_it(tmp_path, wake):
    first = lease(tmp_path)
    first.acquire()
    let_pass(tmp_path, 3600)
    wake(first)
    first.renew()
    with pytest.raises(LeaseHeldError):
        lease(tmp_path).acquire()


def test_a_take_over_is_noticed_even_if_it_is_over(tmp_path):
    first, second = lease(tmp_path), lease(tmp_path)
    first.acquire()
    let_pass(tmp_path, 3600)
    second.acquire()
    second.release()
    with pytest.raises(LeaseLostError, match="took over"):
        first.confirm()


def test_who_judged_before_another_took_over_is_refused(tmp_path):
    first, second = lease(tmp_path), lease(tmp_path)
    create = second.folder.create_text

    def late(name, text):
        first.acquire()
        return create(name, text)

    second.folder.create_text = late
    with pytest.raises(LeaseHeldError, match=r"another process, process \d+"):
        second.acquire()
    first.confirm()
    assert (first.term, second.term) == (1, 0)


def test_a_creation_whose_answer_was_lost_is_ones_own(tmp_path):
    mine = lease(tmp_path)
    mine.folder.patience, create = 10.0, mine.folder._create

    def unlucky(path, data):
        mine.folder._create = create
        create(path, data)
        raise OSError("no answer")

    mine.folder._create = unlucky
    mine.acquire()
    mine.confirm()
    assert mine.term == 1


def test_waiting_ends_with_the_other(tmp_path):
    lines = []
    first = lease(tmp_path)
    first.acquire()
    second = lease(tmp_path, sleep=lambda seconds: let_pass(tmp_path, seconds))
    second.wait(poll=25.0, say=lines.append)
    assert second.term == 2 and len(lines) == 1 and lines[0].startswith("waiting: another")


def test_of_many_threads_at_once_one_gets_the_lease(tmp_path):
    barrier, held = threading.Barrier(8), []

    def start():
        mine = lease(tmp_path)
        barrier.wait()
        try:
            mine.acquire()
            held.append(mine)
        except LeaseHeldError:
            pass

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 1


def test_terms_go_on_where_the_lease_was_removed(tmp_path):
    again = lease(tmp_path, least_term=7)
    again.acquire()
    assert again.term == 8
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(LeaseLostError, match="its files were removed"):
        again.confirm()


def test_a_broken_term_is_named(tmp_path):
    (tmp_path / "00000003.json").write_text("{")
    with pytest.raises(ValueError, match=r"00000003\.json is broken; remove it"):
        lease(tmp_path).acquire()


def test_files_of_earlier_versions_are_followed(tmp_path):
    mine = lease(tmp_path)
    mine.acquire()
    text = (tmp_path / "00000001.json").read_text().rstrip("}") + ', "renewed_at": 1.0, "state": "released"}'
    (tmp_path / "00000001.json").write_text(text)
    let_pass(tmp_path, 3600)
    (tmp_path / "00000009-0123.json").write_text("{}")  # of an object store
    again = lease(tmp_path)
    again.acquire()
    assert again.term == 2 and again.left_behind is None


def test_a_process_that_is_gone_is_noticed_at_once(tmp_path):
    first = lease(tmp_path)
    first.acquire()
    if not machine():
        pytest.skip("this system does not tell")
    term = first.held
    assert not process_is_dead(term)
    assert process_is_dead(replace(term, process=f"{os.getpid()}/1"))  # the number was given to another process
    assert not process_is_dead(replace(term, process="1/1", machine="elsewhere"))
    assert process(2**30) == ""
    lease(tmp_path, is_dead=lambda other: other.id == term.id).acquire()


def test_it_is_renewed_while_it_is_held(tmp_path):
    mine = Lease(str(tmp_path), timeout=0.2)
    renewed = threading.Event()
    renew = mine.renew
    mine.renew = lambda: (renew(), renewed.set())
    with mine:
        renewed.wait()
        mine.confirm()
    assert mine.held is None
    assert {path.name for path in tmp_path.iterdir()} == {f"00000001.{end}" for end in ("json", "renewed", "released")}


def test_a_reader_sees_the_holder_until_it_releases(tmp_path):
    mine, reader = lease(tmp_path), LeaseReader(StudyFiles(str(tmp_path)))
    assert reader.look(time.time) is None
    mine.acquire()
    holder = reader.look(time.time)
    assert holder.term == mine.held and 0 < holder.seconds_left <= 61
    assert not mine.held_elsewhere()  # but in this very process
    mine.release()
    assert reader.look(time.time) is None


def test_no_file_of_a_study_is_changed_after_a_take_over(tmp_path):
    files, (first, second) = StudyFiles(str(tmp_path / "study")), (lease(tmp_path / "lease") for _ in range(2))
    first.acquire()
    with files.guarded(first.confirm):
        events = files.below("queue-events")
        events.write_text("a", "1")
        let_pass(tmp_path / "lease", 3600)
        second.acquire()
        changes = (
            lambda: events.write_text("a", "2"),
            lambda: events.create_text("b", "2"),
            lambda: events.delete_text("a"),
            lambda: files.write_texts("queue-events", {}),
        )
        for change in changes:
            with pytest.raises(LeaseLostError):
                change()
    assert events.names() == ["a"] and events.read_text("a") == "1"
    events.delete_text("a")


def test_the_time_out_that_the_help_names_is_the_one_that_holds(tmp_path):
    assert open_lease(str(tmp_path), RunOptions()).timeout == RunOptions().lease_timeout
    assert open_lease(str(tmp_path), RunOptions(storage_patience=90.0)).timeout == 180.0
