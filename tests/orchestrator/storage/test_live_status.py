"""The file live.json: written and read, stale, broken."""

import json
from dataclasses import asdict, replace
from datetime import datetime, timedelta

import pytest

from analysis.storage.study_files import StudyFiles
from orchestrator.storage.live_status import (
    DriverStatus,
    LiveStatus,
    ResourceUse,
    RunningTrial,
    StorageStatus,
    read_live_status,
    write_live_status,
)

STATUS = LiveStatus(
    written_at="2026-01-01T12:00:00+00:00",
    driver=DriverStatus(host="a", pid=7, command="pcdarts run x", phase="searches", message=""),
    running=(
        RunningTrial(
            key="s1",
            kind="search",
            setting="k=4",
            cell=None,
            seed=0,
            epoch=2,
            epochs=50,
            started_at="2026-01-01T11:59:00+00:00",
            reported_at=None,
            seconds_left=None,
            attempt=1,
            node=None,
        ),
    ),
    waiting=3,
    done=1,
    failed=0,
    resources=ResourceUse(cpus=2.0, cpus_used=1.0, gpus=0.0, gpus_used=0.0, nodes=1),
    storage=StorageStatus(troubles=("disk full",), rows_waiting=4, last_write_at=None),
    seconds_left=12.0,
)
WRITTEN = datetime.fromisoformat(STATUS.written_at)


def test_what_was_written_is_read(tmp_path):
    files = StudyFiles(str(tmp_path))
    assert read_live_status(files) is None
    write_live_status(files, STATUS)
    assert read_live_status(files) == STATUS
    without = replace(STATUS, resources=None)
    write_live_status(files, without)
    assert read_live_status(files) == without


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", json.dumps(asdict(STATUS) | {"more": 1}), json.dumps(asdict(STATUS) | {"written_at": "x"})],
)
def test_a_file_that_cannot_be_read_counts_as_none(tmp_path, text):
    (tmp_path / "live.json").write_text(text)
    assert read_live_status(StudyFiles(str(tmp_path))) is None


@pytest.mark.parametrize(
    ("phase", "seconds", "stale"), [("race", 30, False), ("race", 31, True), ("failed", 99, False)]
)
def test_only_a_driver_that_has_not_ended_goes_stale(phase, seconds, stale):
    status = replace(STATUS, driver=replace(STATUS.driver, phase=phase))
    assert status.stale(WRITTEN + timedelta(seconds=seconds)) is stale
    assert status.age(WRITTEN + timedelta(seconds=seconds)) == seconds
