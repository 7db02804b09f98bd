"""One dispatcher at a time: time-outs, take-over, dispatchers that start at once, on disks and without conditions."""

import os
import threading
from dataclasses import replace

import pytest

from orchestrator.options import RunOptions
from orchestrator.storage.lease import (
    Lease,
    LeaseHeldError,
    LeaseLostError,
    machine,
    open_lease,
    process,
    process_is_dead,
)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def lease(root, clock, **more):
    return Lease(str(root), timeout=60.0, clock=clock, is_dead=lambda claim: False, **more)


def without_conditions(lease):
    """As on an object store."""
    lease.folder.create_text = lambda name, text: None
    return lease


def test_the_second_is_refused_in_one_line_until_the_first_ends(tmp_path):
    clock = Clock()
    first, second = lease(tmp_path, clock), lease(tmp_path, clock)
    first.acquire()
    clock.now += 20
    with pytest.raises(LeaseHeldError, match=r"another process, process \d+ on .* since 1970.*expires in 40 s") as e:
        second.acquire()
    assert "\n" not in str(e.value)
    first.release()
    second.acquire()
    assert (first.term, second.term) == (0, 2)


def test_a_dead_dispatcher_loses_the_lease_and_notices_if_it_was_only_asleep(tmp_path):
    clock = Clock()
    first, second = lease(tmp_path, clock), lease(tmp_path, clock)
    first.acquire()
    clock.now += 50
    first.renew()
    clock.now += 50
    with pytest.raises(LeaseHeldError):
        second.acquire()
    clock.now += 11
    second.acquire()
    assert second.term == 2
    for call in (first.check, first.renew):
        with pytest.raises(LeaseLostError, match="lost the lease of the queue"):
            call()
    first.release()  # takes nothing from the second
    second.renew()
    with pytest.raises(LeaseHeldError):
        lease(tmp_path, clock).acquire()


def test_waiting_ends_with_the_other(tmp_path):
    clock, said = Clock(), []

    def sleep(seconds):
        clock.now += seconds

    lease(tmp_path, clock).acquire()
    second = lease(tmp_path, clock, sleep=sleep)
    second.wait(say=said.append)
    assert second.term == 2 and clock.now == 1060 and len(said) == 1 and said[0].startswith("waiting: another")


def test_of_many_threads_at_once_one_gets_the_lease(tmp_path):
    clock, barrier, held = Clock(), threading.Barrier(8), []

    def start():
        mine = lease(tmp_path, clock)
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


@pytest.mark.parametrize("wake", [Lease.check, Lease.renew])
def test_a_lease_that_lapsed_while_the_computer_slept_is_taken_anew_unless_another_had_it(tmp_path, wake):
    clock = Clock()
    first, second = lease(tmp_path, clock), lease(tmp_path, clock)
    first.acquire()
    clock.now += 3600
    wake(first)
    assert first.term == 2
    with pytest.raises(LeaseHeldError):
        second.acquire()
    clock.now += 3600
    second.acquire()
    second.release()  # what it wrote, the first does not know
    with pytest.raises(LeaseLostError, match="took over"):
        wake(first)


def test_a_lease_taken_anew_is_not_taken_for_that_of_another(tmp_path):
    clock = Clock()
    mine = lease(tmp_path, clock)
    mine.acquire()
    clock.now += 3600
    names, looks = mine.folder.names, iter([True, True, False])

    def away_at_third_look():
        if not next(looks, True):
            raise OSError("no storage")
        return names()

    mine.folder.names = away_at_third_look
    with pytest.raises(OSError, match="no storage"):
        mine.renew()  # the claim of term 2 is written, its success not seen
    mine.renew()
    assert mine.term == 3 and mine.left_behind is None


def test_terms_go_on_where_the_lease_was_removed(tmp_path):
    again = lease(tmp_path, Clock(), least_term=7)
    again.acquire()
    assert again.term == 8


@pytest.mark.parametrize("ids", [("a", "b"), ("b", "a")])
def test_without_conditional_creation_the_lowest_claim_wins_whoever_wrote_first(tmp_path, ids):
    clock, refused = Clock(), []
    first, second = (without_conditions(lease(tmp_path, clock)) for _ in range(2))
    first.id, second.id = ids

    def meanwhile(seconds):  # the second comes while the first lets its claim settle
        second.folder.names, names = (lambda: []), second.folder.names
        second.sleep = lambda seconds: setattr(second.folder, "names", names)
        try:
            second.acquire()
        except LeaseHeldError as error:
            refused.append(error)

    first.sleep = meanwhile
    try:
        first.acquire()
    except LeaseHeldError as error:
        refused.append(error)
    assert len(refused) == 1 and sorted([first.term, second.term]) == [0, 1]
    winner = first if first.term else second
    winner.renew()
    assert winner.id == "a"


def test_without_conditional_creation_a_late_claim_does_not_depose(tmp_path):
    clock = Clock()
    first, second = (without_conditions(lease(tmp_path, clock, sleep=lambda seconds: None)) for _ in range(2))
    first.id, second.id = "b", "a"
    names = second.folder.names
    second.folder.names = lambda: []  # it looked before the first came
    first.acquire()
    second.sleep = lambda seconds: setattr(second.folder, "names", names)
    with pytest.raises(LeaseHeldError):
        second.acquire()
    first.renew()


def test_a_process_that_is_gone_is_noticed_at_once(tmp_path):
    clock = Clock()
    first = lease(tmp_path, clock)
    first.acquire()
    if not machine():
        pytest.skip("this system does not tell")
    claim = first.claim
    assert not process_is_dead(claim)
    assert process_is_dead(replace(claim, process=f"{os.getpid()}/1"))  # the number was given to another process
    assert not process_is_dead(replace(claim, process="1/1", machine="elsewhere"))
    assert process(2**30) == ""
    Lease(str(tmp_path), clock=clock, is_dead=lambda other: other.id == claim.id).acquire()


def test_it_is_renewed_while_it_is_held(tmp_path):
    mine = Lease(str(tmp_path), timeout=0.2)
    renewed = threading.Event()
    renew = mine.renew
    mine.renew = lambda: (renew(), renewed.set())
    with mine:
        renewed.wait()
        mine.check()
    assert mine.claim is None and '"released"' in next(tmp_path.iterdir()).read_text()


def test_the_time_out_that_the_help_names_is_the_one_that_holds(tmp_path):
    assert open_lease(str(tmp_path), RunOptions()).timeout == RunOptions().lease_timeout
    assert open_lease(str(tmp_path), RunOptions(storage_patience=90.0)).timeout == 180.0
