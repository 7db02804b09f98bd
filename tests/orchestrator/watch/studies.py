"""Simulated studies for the tests of the live page, and the rows of searches that run."""

import json
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from analysis.store import ResultStore
from analysis.tables import EPOCHS, SEARCHES
from orchestrator.presets import smoke
from orchestrator.storage.live_status import (
    DriverStatus,
    LiveStatus,
    ResourceUse,
    RunningTrial,
    StorageStatus,
    write_live_status,
)
from tests.analysis.synthetic import epoch_rows, search_row
from tests.simulated import FULL, Setting, SimulatedStudy

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()


def simulated(root, searches=3, **settings):
    """A study of k=2 and k=4 with ten epochs of each search, and trainings of two cells."""
    study = SimulatedStudy(
        settings=[Setting(k=k, searches=searches, **settings) for k in (2, 4)], generator=np.random.default_rng(0)
    )
    study.retrain(study.cells()[:2], FULL)
    return study.write(str(root))


def large(root, searches, epochs=10):
    """A study of four settings with copies of a few searches."""
    store, rng = ResultStore(str(root)), np.random.default_rng(0)
    originals = [search_row(k, 0, 80.0) for k in (1, 2, 4, 8)]
    ids = [f"search-{number:05d}" for number in range(searches)]
    found = copies(SEARCHES.to_arrow(originals), searches // 4)
    found = replaced(found, "search_id", ids)
    found = replaced(found, "seed", [number // 4 for number in range(searches)])
    found = replaced(found, "valid_accuracy", rng.normal(80, 2, searches))
    template = EPOCHS.to_arrow(epoch_rows(originals[0], epochs))
    measured = replaced(copies(template, searches), "search_id", np.repeat(ids, epochs))
    measured = replaced(measured, "valid_accuracy", rng.normal(80, 2, searches * epochs))
    store.append_arrow(SEARCHES, found, "imported")
    store.append_arrow(EPOCHS, measured, "imported")
    store.write_text("study.json", json.dumps({"name": "large"}))
    return store


def copies(data, count):
    return pa.concat_tables([data] * count).combine_chunks()


def replaced(data, name, values):
    place = data.schema.get_field_index(name)
    return data.set_column(place, data.schema.field(place), pa.array(values, data.schema.field(place).type))


def description():
    """The text of `study.json`."""
    config = smoke()
    return json.dumps({"name": config.name, "config": config.to_dict(), "command": ["pcdarts", "run", "smoke"]})


def planned(root):
    """A study that has not started: its description alone."""
    (root / "study.json").write_text(description())
    return smoke()


def report_epochs(store, search, epochs):
    """Write the first epochs of a search, as its driver does."""
    store.append(EPOCHS, epoch_rows(search, epochs), search["search_id"])


def end(store, search):
    """Write the row of a search that has ended."""
    store.append(SEARCHES, [search], search["search_id"])


def trial(key, *, epoch=2, epochs=10, kind="search", reported_at=NOW, seconds_left=80.0):
    return RunningTrial(
        key=key,
        kind=kind,
        setting="k=4" if kind == "search" else None,
        cell=None,
        seed=7,
        epoch=epoch,
        epochs=epochs,
        started_at=iso(NOW - 60),
        reported_at=iso(reported_at),
        seconds_left=seconds_left,
        attempt=1,
        node="worker-1",
    )


def live(store, *running, phase="searches", written_at=NOW, troubles=()):
    """Write what the driver says about itself."""
    status = LiveStatus(
        written_at=iso(written_at),
        driver=DriverStatus(host="head", pid=41, command="pcdarts run demo", phase=phase, message=""),
        running=running,
        waiting=3,
        done=1,
        failed=0,
        resources=ResourceUse(cpus=8, cpus_used=4, gpus=2, gpus_used=1, nodes=2),
        storage=StorageStatus(troubles=troubles, rows_waiting=5, last_write_at=iso(written_at)),
        seconds_left=120.0,
    )
    write_live_status(store, status)


def iso(seconds):
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
