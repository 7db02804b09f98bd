"""Studies in a real object store, SeaweedFS: files and tables, wrong keys, a server that is killed."""

import threading

import pyarrow as pa
import pytest

from analysis.storage.storage_retry import StorageError
from analysis.storage.study_files import StudyFiles, join
from analysis.store import ResultStore
from analysis.tables import EPOCHS, SEARCHES
from orchestrator.storage.lease import Lease, LeaseHeldError
from orchestrator.storage.study_folder import check_writable, checkpoint
from tests.analysis.synthetic import write_study
from tests.object_store import credentials, seaweed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with seaweed(tmp_path_factory.mktemp("seaweed")) as found:
        yield found


def test_files_are_written_listed_and_removed(server):
    files = StudyFiles(server.uri("files"))
    assert files.names() == [] and files.read_text("a.json") is None
    files.write_text("a.json", "größe")
    files.write_bytes("large", bytes(12_000_000))
    assert files.read_text("a.json") == "größe" and len(files.read_bytes("large")) == 12_000_000
    files.write_texts("report", {"a.csv": "1", "b.csv": "2"})
    files.write_texts("report", {"b.csv": "3"})
    assert files.below("report").names() == ["b.csv"] and files.folders() == ["report"]
    files.delete_text("a.json")
    files.delete_text("a.json")
    assert files.names() == ["large"]


def test_of_many_that_create_an_object_at_once_one_succeeds(server):
    for turn in range(5):
        barrier, won = threading.Barrier(16), []

        def race(number, turn=turn, barrier=barrier, won=won):
            files = StudyFiles(server.uri("race"))
            barrier.wait()
            won.append(files.create_text(f"{turn}.json", str(number)))

        threads = [threading.Thread(target=race, args=[number]) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(won) == [False] * 15 + [True]


def test_a_study_and_its_checkpoints_are_read_as_on_a_disk(server, tmp_path):
    here, there = write_study(str(tmp_path)), write_study(server.uri("study"))
    assert there.broken == []
    for table in (SEARCHES, EPOCHS):
        assert there.read(table).equals(here.read(table))
        assert there.compact(table) == here.compact(table)
        assert there.read(table).equals(here.read(table))
    file = checkpoint(server.uri("study"), "x")
    assert file.load({"k": 1}) is None
    file.save({"config": {"k": 1}, "step": 3})
    assert file.load({"k": 1})["step"] == 3


def test_the_lease_expires_by_the_clock_of_the_server(server):
    def lease(timeout):
        return Lease(join(server.uri("expiry"), "queue-lease"), timeout=timeout, is_dead=lambda term: False)

    first, second = lease(3.0), lease(3.0)
    first.acquire()
    second.wait(poll=0.1, say=lambda line: None)
    assert second.term == 2 and second.left_behind == first.held
    second.release()
    third = lease(3600.0)
    third.acquire()
    third.renew()
    with pytest.raises(LeaseHeldError, match=r"expires in 3[56]\d\d s"):
        lease(3600.0).acquire()


def test_a_storage_that_can_be_used_leaves_nothing_of_the_check(server):
    check_writable(server.uri("checked"))
    assert StudyFiles(server.uri("checked")).below("study-lease").names() == []


def test_a_wrong_key_is_refused_in_one_line_that_does_not_hold_it(server):
    with credentials("a-wrong-secret"), pytest.raises(ValueError, match="cannot be written to") as refused:
        check_writable(server.uri("secret"))
    assert "\n" not in str(refused.value) and "a-wrong-secret" not in str(refused.value)
    with credentials("a-wrong-secret"), pytest.raises(StorageError) as refused:
        StudyFiles(server.uri("secret")).create_text("a.json", "x")
    assert "\n" not in str(refused.value) and "a-wrong-secret" not in str(refused.value)


def test_a_missing_bucket_is_named(server):
    with pytest.raises(ValueError, match=r"nowhere.*cannot be written to"):
        check_writable(server.uri("x").replace("s3://studies", "s3://nowhere"))


def test_a_server_that_is_killed_is_waited_for_and_has_lost_nothing(server):
    root = server.uri("killed")
    store, log = ResultStore(root, patience=600.0), StudyFiles(join(root, "log"), patience=600.0)
    assert log.create_text("0.json", "0") and write_study(root)
    before = store.read(SEARCHES)
    server.kill()
    with pytest.raises(StorageError):
        StudyFiles(root).create_text("b.json", "b")
    refused, done, create = threading.Event(), threading.Event(), log._create

    def seen(path, data):
        try:
            return create(path, data)
        except OSError:
            refused.set()
            raise

    log._create = seen

    def write():
        log.create_text("1.json", "1")
        log.write_text("2.json", "2")
        done.set()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    assert refused.wait(600)
    server.start()
    assert done.wait(600)
    assert log.names() == ["0.json", "1.json", "2.json"] and log.troubles
    assert not StudyFiles(join(root, "log")).create_text("1.json", "another")
    assert pa.Table.from_pandas(store.read(SEARCHES)).equals(pa.Table.from_pandas(before))
