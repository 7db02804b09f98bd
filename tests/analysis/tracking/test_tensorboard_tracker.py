"""TensorBoard: what its own reader finds in the files."""

import os
from pathlib import Path

import pytest

from analysis.store import ResultStore
from analysis.tables import EPOCHS, SEARCHES
from analysis.tracking.mirror import Changes, Mirror
from analysis.tracking.tensorboard_tracker import FILE, TensorBoardTracker, read_events
from analysis.tracking.tracker import TrackerError
from tests.analysis.synthetic import epoch_rows, search_row, write_study

pytest.importorskip("tensorboardX", reason="needs the extra tensorboard: pip install -e '.[tensorboard]'")


def mirror(store, folder):
    return Mirror(store, TensorBoardTracker(str(folder))).update()


def contents(folder):
    return {path: path.read_bytes() for path in sorted(Path(folder).rglob(FILE))}


def test_a_second_mirror_changes_nothing(tmp_path):
    store = write_study(str(tmp_path / "demo"))
    assert mirror(store, tmp_path / "tb") == Changes(10, 80, 10)
    before = contents(tmp_path / "tb")
    assert len(before) == 10 and mirror(store, tmp_path / "tb") == Changes()
    assert contents(tmp_path / "tb") == before


def test_tensorboard_reads_the_files(tmp_path):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs the extra tensorboard"
    )
    store = ResultStore(str(tmp_path / "demo"))
    search = search_row(4, 0, 90.0)
    rows = epoch_rows(search)
    store.append(EPOCHS, rows, search["search_id"])
    store.append(SEARCHES, [search], search["search_id"])
    mirror(store, tmp_path / "tb")
    folder = tmp_path / "tb" / "demo" / search["search_id"]
    events = accumulator.EventAccumulator(str(folder)).Reload()
    values = [(event.step, event.value) for event in events.Scalars("valid_accuracy")]
    assert values == [(row["epoch"], pytest.approx(row["valid_accuracy"])) for row in rows]
    assert [event.step for event in events.Scalars("dominant_eigenvalue")] == [0, 2, 4, 6, 8]
    assert [event.value for event in events.Scalars("result/valid_accuracy")] == [90.0]
    assert (
        events.Tensors("notes/text_summary")[0].tensor_proto.string_val[0].decode().startswith("**status**: completed")
    )
    from tensorboard.plugins.hparams.metadata import (
        SESSION_END_INFO_TAG,
        SESSION_START_INFO_TAG,
        parse_session_start_info_plugin_data,
    )

    tags = events.summary_metadata
    start = parse_session_start_info_plugin_data(tags[SESSION_START_INFO_TAG].plugin_data.content)
    assert start.hparams["k"].number_value == 4 and start.hparams["dataset"].string_value == "synthetic"
    assert start.hparams["edge_normalization"].bool_value is True and SESSION_END_INFO_TAG in tags


@pytest.mark.parametrize("cut", [1, 40, 4000])
def test_a_file_that_was_cut_off_is_mended(cut, tmp_path):
    store = ResultStore(str(tmp_path / "demo"))
    search = search_row(4, 0, 90.0)
    store.append(EPOCHS, epoch_rows(search), search["search_id"])
    store.append(SEARCHES, [search], search["search_id"])
    mirror(store, tmp_path / "tb")
    ((path, whole),) = contents(tmp_path / "tb").items()
    os.truncate(path, len(whole) - cut)
    assert mirror(store, tmp_path / "tb").runs == 1
    events, end = read_events(path)
    assert end == path.stat().st_size
    seen = [e.step for e in events if any(value.tag == "valid_accuracy" for value in e.summary.value)]
    assert seen == list(range(10)) and mirror(store, tmp_path / "tb") == Changes()


def test_a_search_that_goes_on_grows_its_file(tmp_path):
    store = ResultStore(str(tmp_path / "demo"))
    search = search_row(4, 0, 90.0)
    rows = epoch_rows(search)
    live = Mirror(store, TensorBoardTracker(str(tmp_path / "tb")))
    for count in (2, 5):
        store.append(EPOCHS, rows[:count], search["search_id"])
        live.update()
    ((path, _),) = contents(tmp_path / "tb").items()
    events, _ = read_events(path)
    steps = [(event.step, event.wall_time - events[0].wall_time) for event in events if event.summary.value]
    assert [step for step, _ in steps] == [0, 1, 2, 3, 4]
    assert [round(elapsed) for _, elapsed in steps] == [12, 24, 36, 48, 60]


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    store = write_study(str(tmp_path / "demo"))
    with pytest.raises(TrackerError, match=r"file cannot be written to \(.*\); give another folder"):
        mirror(store, tmp_path / "file")
