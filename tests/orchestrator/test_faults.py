"""Workers, nodes, drivers and storage fail at random moments: the tables are those of an undisturbed study."""

import json
import os
import random
import threading
import time
from collections import Counter

import pytest

from analysis.store import ResultStore
from analysis.tables import EPOCHS, SEARCHES
from tests.object_store import serving
from tests.orchestrator import faults
from tests.orchestrator.test_study import VARYING

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
KILLS = ("worker", "node", "driver")


@pytest.fixture(scope="module")
def server():
    """An S3 server; its credentials are in the environment before the nodes start."""
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def nodes(server):
    found = faults.Nodes()
    yield found
    found.cluster.shutdown()


@pytest.fixture(scope="module")
def make_study(nodes):
    """Makes studies on the nodes; drivers that a failed test leaves behind are ended."""
    made = []

    def make(storage, **options):
        made.append(faults.Study(nodes.cluster.address, str(storage), **options))
        return made[-1]

    yield make
    for study in made:
        study.kill()


@pytest.fixture(scope="module")
def undisturbed(make_study, tmp_path_factory):
    study = make_study(tmp_path_factory.mktemp("undisturbed"))
    study.start()
    study.end()
    assert study.epochs() == faults.SEARCHES_EPOCHS and len(faults.failures(study.root)) == 0
    return contents(study.root)


def contents(root):
    """Rows of both tables, without what differs from run to run; numbers to the last bit."""
    found = []
    for table in (SEARCHES, EPOCHS):
        rows = ResultStore(root).rows(table)
        found += [{name: value for name, value in row.items() if name not in VARYING} for row in rows]
    return sorted(json.dumps(row) for row in found)


def suffer(study, nodes, kills, seed):
    """Run a study to its end; at random moments something is killed."""
    choose = random.Random(seed)
    moments = sorted(choose.randrange(1, faults.SEARCHES_EPOCHS - 1) for _ in kills)
    for kill, epochs in zip(kills, moments, strict=True):
        study.start()
        study.wait_for(epochs)
        time.sleep(choose.uniform(0, 0.5))  # anywhere between two epochs
        if study.process.poll() is None:
            if kill == "driver":
                study.kill()
            elif kill == "node":
                nodes.kill_a_node(choose)
            else:
                nodes.kill_a_worker(choose)
    study.start()
    return study.end()


def test_a_worker_a_node_and_the_driver_are_killed(nodes, make_study, undisturbed, tmp_path):
    study = make_study(tmp_path)
    output = suffer(study, nodes, KILLS, seed=0)
    assert contents(study.root) == undisturbed
    found = faults.failures(study.root)
    assert "driver" in set(found["kind"])
    report = (tmp_path / "smoke" / "report.html").read_text()
    assert all(subject in report for subject in found["subject"]), output


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_30_random_kills(nodes, make_study, undisturbed, tmp_path):
    counts = Counter()
    for turn in range(10):
        kills = random.Random(turn).sample(KILLS, 3)
        study = make_study(tmp_path / str(turn))
        suffer(study, nodes, kills, seed=turn)
        assert contents(study.root) == undisturbed, turn
        counts.update(kills)
        counts.update(f"recorded: {kind}" for kind in faults.failures(study.root)["kind"])
    print(dict(counts))


def test_a_full_disk_stops_the_study_in_one_line_and_it_goes_on_later(make_study, undisturbed, tmp_path):
    with faults.small_disk(tmp_path / "disk") as disk:
        study = make_study(disk, storage_patience=1)
        study.start()
        study.wait_for(2)
        filler = faults.fill(disk)
        output = study.end(code=3)
        (line,) = [line for line in output.splitlines() if "error" in line]
        assert "the storage failed for 1 s" in line and "No space left on device" in line
        assert "Traceback" not in output
        filler.unlink()
        study.start()
        study.end()
        assert contents(study.root) == undisturbed
        assert set(faults.failures(study.root)["kind"]) >= {"driver"}


def test_storage_that_is_read_only_for_a_while_is_waited_for(make_study, undisturbed, tmp_path):
    with faults.small_disk(tmp_path / "disk") as disk:
        study = make_study(disk)
        study.start()
        study.wait_for(2)
        faults.set_read_only(disk, True)
        time.sleep(2)
        assert study.process.poll() is None and study.epochs() < faults.SEARCHES_EPOCHS  # it lives, and is not done
        faults.set_read_only(disk, False)
        study.end()
        assert contents(study.root) == undisturbed
        found = faults.failures(study.root)  # none where only trials wanted to write meanwhile
        report = (disk / "smoke" / "report.html").read_text()
        assert set(found["kind"]) <= {"storage"} and (found.empty or "Read-only file system" in report)


@pytest.mark.parametrize("seconds", [3, pytest.param(20, marks=pytest.mark.long)])
def test_an_s3_server_that_answers_503_for_a_while(make_study, undisturbed, server, seconds):
    study = make_study(server.uri(f"busy{seconds}"))
    study.start()
    study.wait_for(2)
    server.refused, server.busy = 0, True
    faults.wait_until(lambda: server.refused, "the server refused something")
    threading.Timer(seconds, server.__setattr__, ("busy", False)).start()
    output = study.end()
    assert server.refused > 0 and contents(study.root) == undisturbed
    assert set(faults.failures(study.root)["kind"]) <= {"storage"}
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    stored = server.contents(f"busy{seconds}")
    assert len(stored) > 10 and secret not in output
    assert not [name for name, content in stored.items() if secret.encode() in content]
