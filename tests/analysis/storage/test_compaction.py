"""Parts that are moved into packs: every method works as before, readers at work see every row once."""

import json
import os
import random
import signal
import threading
import traceback
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis.storage import compaction as packs
from analysis.store import ResultStore
from analysis.tables import EPOCHS, SEARCHES
from tests.analysis.synthetic import epoch_rows, search_row


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(packs, "SIZE", 4)
    monkeypatch.setattr(packs, "LEAST", 3)


def row(number, accuracy=80.0):
    return search_row(4, number, accuracy) | {"search_id": f"s{number:02}"}


def filled(root, count=10):
    store = ResultStore(str(root))
    for number in random.Random(0).sample(range(count), count):
        store.append(SEARCHES, [row(number)], f"s{number:02}")
    return store


def files(root):
    return sorted(path.name for path in Path(root, "searches").iterdir())


def plain(store):
    """The ids and accuracies that pandas alone finds, sorted."""
    frame = pd.read_parquet(f"{store.root}/searches")
    return sorted(zip(frame["search_id"], frame["valid_accuracy"], strict=True))


def test_every_method_finds_what_it_found_before(tmp_path):
    store = filled(tmp_path)
    for number in range(10):
        rows = epoch_rows(row(number), epochs=number % 3)  # a part may be empty
        store.append(EPOCHS, rows, f"s{number:02}")

    def found(store):
        wanted = ("search_id", ["s04", "s08", "absent"])
        return (
            store.read(SEARCHES).to_json(),
            store.read(EPOCHS).to_json(),
            store.read(EPOCHS, columns=["epoch", "betas_normal"], where=wanted).to_json(),
            store.read(EPOCHS, where=wanted).to_json(),
            store.rows(SEARCHES),
            store.parts(EPOCHS),
            [store.read_part(EPOCHS, f"s{number:02}") for number in range(11)],
        )

    before, alone = found(store), plain(store)
    assert store.compact(SEARCHES) == 7 and store.compact(EPOCHS) == 7
    assert len(files(tmp_path)) == 3 and all(name.startswith("pack-") for name in files(tmp_path))
    assert found(store) == before and found(ResultStore(store.root)) == before and plain(store) == alone
    assert store.compact(SEARCHES) == 0 and store.broken == []


def test_parts_written_again_replace_those_in_packs(tmp_path):
    store = filled(tmp_path)
    store.compact(SEARCHES)
    for other in (store, ResultStore(store.root)):
        other.append(SEARCHES, [row(3, 90.0)], "s03")
        expected = [(f"s{n:02}", 90.0 if n == 3 else 80.0) for n in range(10)]
        assert plain(other) == expected
        assert other.read(SEARCHES)["search_id"].tolist() == [name for name, _ in expected]
        assert other.read_part(SEARCHES, "s03") == [row(3, 90.0)]
        other.compact(SEARCHES)
        assert plain(other) == expected


def test_few_parts_and_parts_that_are_not_named_stay(tmp_path):
    store = filled(tmp_path)
    assert store.compact(SEARCHES, ["s00", "s01", "absent"]) == 0
    assert store.compact(SEARCHES, ["s00", "s01", "s02"]) == 2
    assert len(files(tmp_path)) == 8 and len(store.read(SEARCHES)) == 10


def test_readers_at_work_see_every_row_once(tmp_path):
    store = filled(tmp_path, 30)
    expected = [(f"s{number:02}", 80.0) for number in range(30)]
    done, wrong, reads, refused = threading.Event(), [], [0, 0], [0]

    def with_the_store():
        while not done.is_set() or not reads[0]:
            frame = ResultStore(store.root).read(SEARCHES)
            if list(zip(frame["search_id"], frame["valid_accuracy"], strict=True)) != expected:
                wrong.append(frame["search_id"].tolist())
            reads[0] += 1

    def with_pandas_alone():  # right, or an error
        while not done.is_set() or not reads[1]:
            try:
                if plain(store) != expected:
                    wrong.append(plain(store))
                reads[1] += 1
            except (OSError, ValueError):
                refused[0] += 1

    def recorded(read):
        try:
            read()
        except Exception as error:
            wrong.append(error)

    readers = [threading.Thread(target=recorded, args=(read,)) for read in (with_the_store, with_pandas_alone)]
    for reader in readers:
        reader.start()
    try:
        for turn in range(8):
            store.compact(SEARCHES)
            for number in range(turn, 30, 3):
                store.append(SEARCHES, [row(number)], f"s{number:02}")  # out of the pack
    finally:
        done.set()
        for reader in readers:
            reader.join()
    print(f"{reads[0]} reads with the store, {reads[1]} with pandas alone, which was refused {refused[0]} times")
    assert wrong == [] and all(reads)


def die_at(moment, work):
    """Do `work` in a process that kills itself at a change of the folder, every second time after it."""
    child = os.fork()
    if child == 0:
        count = 0

        def counted(method):
            def changed(self, path, *content):
                nonlocal count
                count += 1
                if 2 * count - 1 == moment:
                    os.kill(os.getpid(), signal.SIGKILL)
                method(self, path, *content)
                if 2 * count == moment:
                    os.kill(os.getpid(), signal.SIGKILL)

            return changed

        ResultStore._write, ResultStore._remove = counted(ResultStore._write), counted(ResultStore._remove)
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or status == 0, "the work failed, see its traceback"
    return os.WIFSIGNALED(status)


def append_packs(store):
    """Two parts are written as a pack, and the pack is replaced: one part was in another pack, one in its own file."""
    parts = {f"s{number:02}": SEARCHES.to_arrow([row(number, accuracy)]) for number, accuracy in ((2, 90.0), (3, 80.0))}
    (name,) = store.append_packs(SEARCHES, [parts])
    store.append_packs(SEARCHES, [parts], replaced=name)


@pytest.mark.parametrize("change", ["compact", "append", "append_packs"])
def test_a_process_killed_at_any_moment_loses_and_doubles_nothing(tmp_path, change):
    allowed = {80.0} if change == "compact" else {80.0, 90.0}
    moment = 0
    while True:
        moment += 1
        store = filled(tmp_path / str(moment), 6)
        if change != "compact":
            store.compact(SEARCHES)
            store.append(SEARCHES, [row(3)], "s03")
        works = {
            "compact": partial(store.compact, SEARCHES),
            "append": partial(store.append, SEARCHES, [row(2, 90.0)], "s02"),
            "append_packs": partial(append_packs, store),
        }
        killed = die_at(moment, works[change])
        for attempt in range(2):
            again = ResultStore(store.root)
            found = {r["search_id"]: r["valid_accuracy"] for r in again.rows(SEARCHES)}
            assert len(again.read(SEARCHES)) == len(found)
            assert found.keys() == {f"s{number:02}" for number in range(6)}
            assert found["s02"] in allowed
            if attempt:
                assert plain(again) == sorted(found.items())
            again.compact(SEARCHES)
        if not killed:
            break
    assert moment > 8


def test_a_broken_pack_is_named_and_the_rest_is_read(tmp_path):
    store = filled(tmp_path)
    store.compact(SEARCHES)
    name = files(tmp_path)[0]
    (tmp_path / "searches" / name).write_bytes(b"PAR1 broken")
    again = ResultStore(store.root)
    with pytest.warns(UserWarning, match="left out the broken part"):
        assert 2 <= len(again.read(SEARCHES)) < 10
    assert name in again.broken[0]
    with pytest.warns(UserWarning):
        again.compact(SEARCHES)
    assert name in files(tmp_path)
    with pytest.raises(ValueError, match="pack- is the prefix of packs"):
        store.append(SEARCHES, [row(1)], "pack-1")


class Flaky:
    """A file system whose files cannot be opened the first `failures` times."""

    def __init__(self, files, failures):
        self.files, self.failures = files, failures

    def __getattr__(self, name):
        return getattr(self.files, name)

    def open_input_file(self, path):
        if self.failures:
            self.failures -= 1
            raise OSError("503 Service Unavailable")
        return self.files.open_input_file(path)


@pytest.mark.parametrize("failures", [1, 2])
def test_storage_that_fails_for_a_while_loses_no_row(tmp_path, failures):
    filled(tmp_path, 4).compact(SEARCHES)
    store = ResultStore(str(tmp_path), patience=60.0)
    store._files = Flaky(store._files, failures)
    assert len(store.read(SEARCHES)) == 4 and store.broken == []
    assert len(store.troubles) == failures - 1  # of the first one nothing was waited for


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        (None, "its metadata do not say which parts it holds"),
        ([["s00", 3]], "its metadata name 3 rows, but it has 4"),
    ],
)
def test_a_pack_whose_metadata_do_not_fit_is_named(tmp_path, parts, reason):
    filled(tmp_path, 6).compact(SEARCHES, [f"s{number:02}" for number in range(4)])
    path = next((tmp_path / "searches").glob("pack-*"))
    metadata = parts and {"pcdarts.parts": json.dumps(parts)}
    pq.write_table(pq.ParquetFile(path).read().replace_schema_metadata(metadata), path)
    store = ResultStore(str(tmp_path))
    for columns in (None, ["search_id"]):
        with pytest.warns(UserWarning, match="left out the broken part"):
            assert store.read(SEARCHES, columns=columns)["search_id"].tolist() == ["s04", "s05"]
        assert store.broken == [f"{path}: {reason}"]


@pytest.mark.parametrize("second", ["pack-a", "pack-c"])
@pytest.mark.filterwarnings("ignore:left out the broken part")
def test_a_damaged_pack_hides_no_row_that_was_written_anew(tmp_path, monkeypatch, second):
    names = ["pack-b", second]
    monkeypatch.setattr(packs, "new_name", lambda: names.pop(0))
    filled(tmp_path, 4).compact(SEARCHES)
    path = tmp_path / "searches" / "pack-b.parquet"
    damaged = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(0).column(SEARCHES.schema.names.index("study"))
    damaged[column.dictionary_page_offset + column.total_compressed_size // 2] ^= 1
    path.write_bytes(damaged)
    store = ResultStore(str(tmp_path))
    for number in range(4):
        store.append(SEARCHES, [row(number, 90.0)], f"s{number:02}")
        assert not any(packs.MARKER in name for name in files(tmp_path))  # the broken pack stays, no move is under way
    store.compact(SEARCHES)
    assert files(tmp_path) == sorted(["pack-b.parquet", f"{second}.parquet"])
    wanted = ("search_id", ["s01", "s02"])
    assert store.read(SEARCHES)["valid_accuracy"].tolist() == [90.0] * 4
    assert store.read(SEARCHES, columns=["valid_accuracy"], where=wanted)["valid_accuracy"].tolist() == [90.0] * 2
    assert store.read(SEARCHES, columns=["valid_accuracy"])["valid_accuracy"].tolist() == [90.0] * 4
    assert [r["search_id"] for r in store.rows(SEARCHES)] == ["s00", "s01", "s02", "s03"]
    assert len(store.broken) == 1 and str(path) in store.broken[0]


@pytest.mark.parametrize("late", ["pack-0", "pack-z"])
def test_an_earlier_copy_that_a_driver_without_its_lease_wrote_late_does_not_count(tmp_path, late):
    def written(epochs):
        store = ResultStore(str(tmp_path))
        store.append_packs(EPOCHS, [{f"s{n:02}": EPOCHS.to_arrow(epoch_rows(row(n), epochs=epochs)) for n in range(3)}])
        return store

    written(2)
    (earlier,) = (tmp_path / "epochs").iterdir()
    content = earlier.read_bytes()
    rows = written(5).rows(EPOCHS)
    (tmp_path / "epochs" / f"{late}.parquet").write_bytes(content)
    store = ResultStore(str(tmp_path))
    assert store.rows(EPOCHS) == rows and len(rows) == 15
    assert store.read_part(EPOCHS, "s01") == rows[5:10]
    store.compact(EPOCHS)
    assert ResultStore(str(tmp_path)).rows(EPOCHS) == rows and len(pd.read_parquet(tmp_path / "epochs")) == 15


def change_metadata(path):
    pq.write_table(pq.ParquetFile(path).read().replace_schema_metadata(None), path)


DAMAGES = {
    "end": lambda path: path.write_bytes(path.read_bytes()[:-8] + b"xxxxxxxx"),
    "rows": lambda path: path.write_bytes(b"PAR1" + bytes(2000) + path.read_bytes()[2004:]),
    "metadata": change_metadata,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.filterwarnings("ignore:left out the broken part")
def test_broken_files_leave_the_folder_of_their_table(tmp_path, damage):
    filled(tmp_path, 8).compact(SEARCHES, [f"s{number:02}" for number in range(4)])
    pack, part = next((tmp_path / "searches").glob("pack-*")), tmp_path / "searches" / "s05.parquet"
    whole = pack.read_bytes()
    DAMAGES[damage](pack)
    part.write_bytes(b"")
    store = ResultStore(str(tmp_path))
    assert store.read(SEARCHES)["search_id"].tolist() == ["s04", "s06", "s07"]
    reasons = sorted(entry.partition(": ")[2] for entry in store.broken)
    assert store.set_aside(EPOCHS) == {}
    moved = store.set_aside(SEARCHES)
    assert sorted(moved.values()) == reasons and store.broken == []
    assert files(tmp_path) == ["s04.parquet", "s06.parquet", "s07.parquet"]
    assert all((tmp_path / name).is_file() for name in moved)
    names = sorted(name[len("damaged/searches/12345678-") :] for name in moved)
    assert names == [pack.name, part.name]
    assert plain(store) == [("s04", 80.0), ("s06", 80.0), ("s07", 80.0)]
    store.append(SEARCHES, [row(1, 90.0)], "s01")
    assert plain(store)[0] == ("s01", 90.0) and store.read(SEARCHES)["search_id"].tolist()[0] == "s01"
    pack.write_bytes(whole)  # as if it had been whole, and were moved back
    assert ResultStore(store.root).read(SEARCHES)["valid_accuracy"].tolist() == [80.0, 90.0, *[80.0] * 5]


@pytest.mark.filterwarnings("ignore:left out the broken part")
def test_a_file_that_is_whole_when_read_again_or_gone_is_not_set_aside(tmp_path):
    filled(tmp_path, 8).compact(SEARCHES, [f"s{number:02}" for number in range(4)])
    pack, part = next((tmp_path / "searches").glob("pack-*")), tmp_path / "searches" / "s05.parquet"
    whole = pack.read_bytes()
    pack.write_bytes(b"")
    part.write_bytes(b"")
    store = ResultStore(str(tmp_path))
    store.read(SEARCHES)
    assert len(store.broken) == 2
    pack.write_bytes(whole)
    part.unlink()
    assert store.set_aside(SEARCHES) == {} and store.broken == []
    assert len(store.read(SEARCHES)) == 7


@pytest.mark.filterwarnings("ignore:left out the broken part")
def test_a_broken_pack_is_not_read_for_every_part_and_may_be_taken_out_by_hand(tmp_path, monkeypatch):
    filled(tmp_path, 4).compact(SEARCHES)
    pack = next((tmp_path / "searches").glob("pack-*"))
    DAMAGES["end"](pack)
    store, read = ResultStore(str(tmp_path)), []
    monkeypatch.setattr(store, "_read", lambda path: read.append(path) or ResultStore._read(store, path))
    for number in range(4, 8):
        store.append(SEARCHES, [row(number)], f"s{number:02}")
    assert read == [str(pack)] * 2  # for its columns and for its parts
    pack.unlink()
    store.append(SEARCHES, [row(8)], "s08")
    other = filled(tmp_path, 9)
    other.compact(SEARCHES)
    for pack in (tmp_path / "searches").glob("pack-*"):
        pack.unlink()
    for writer in (other, ResultStore(store.root)):
        writer.append(SEARCHES, [row(8)], "s08")
    assert plain(store) == [("s08", 80.0)]


def test_packs_without_atomic_renames():
    store = filled("mock:///bucket/demo")
    before = store.read(SEARCHES).to_json()
    assert store.compact(SEARCHES) == 7 and store.read(SEARCHES).to_json() == before
