"""Many searches: what the driver spends on each, and what it keeps."""

import pytest

from analysis.storage import compaction as packs
from analysis.storage.storage_retry import StorageError
from analysis.store import ResultStore
from analysis.tables import EPOCHS, SEARCHES
from orchestrator.trials.tune_trials import TrialSpec, run_trials
from pcdarts.config import SearchConfig
from tests.benchmarks.orchestration import Seconds, Times, Utilisation, busy, chain, feed, search_without_work


def test_searches_that_compute_nothing_fill_the_tables(ray_session, tmp_path, monkeypatch):
    monkeypatch.setattr(packs, "SIZE", 16)
    measured = chain(40, 2, str(tmp_path))
    store = ResultStore(str(tmp_path))
    assert len(store.read(SEARCHES)) == 40 and len(store.read(EPOCHS)) == 80
    assert len(list((tmp_path / "searches").iterdir())) < 20  # packs, and at most 15 that ended last
    assert len(measured.seconds) == 40 and measured.seconds_each < 2


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("searches", [2_000, 10_000])
@pytest.mark.timeout(1800)
def test_memory_of_the_driver_grows_little_with_the_number_of_searches(ray_session, tmp_path, searches):
    measured = chain(searches, 1, str(tmp_path))
    print(f"{searches}: {measured.seconds_each:.3f} s, {measured.slowdown:.2f}, {measured.bytes_each / 1e3:.0f} kB")
    assert len(ResultStore(str(tmp_path)).parts(SEARCHES)) == searches
    assert measured.bytes_each <= 100_000


def test_the_share_of_the_time_that_slots_are_busy():
    times = [(0.0, 4.0), (1.0, 4.0), (4.0, 6.0), (5.0, 9.0)]  # looked at from 1 to 5: one slot idles from 4 to 5
    slept = [Times(began, ended, ended - began) for began, ended in times]
    assert busy(slept, slots=2) == Utilisation(gpus=2, trials=4, seconds=4.0, busy=7 / 8, waited=0.0)
    half = [trial._replace(slept=trial.slept / 2) for trial in slept]
    found = busy(half, slots=2)
    assert (found.busy, found.waited) == (7 / 16, 1 / 2)


def test_the_tables_keep_up_with_a_feed_of_recorded_reports(tmp_path):
    found = feed(20, 0.5, 2.0, str(tmp_path), latency=0.0, rows_before=150)
    store = ResultStore(str(tmp_path))
    epochs, searches = store.read(EPOCHS, columns=["search_id", "epoch"]), store.read(SEARCHES)
    assert found.reports and found.searches == len(searches)
    assert not epochs.duplicated().any() and len(epochs) >= 150 + found.reports


class Refusing(Seconds):
    def reported(self, spec, report):
        raise StorageError("the storage failed for 1 s: disk full")


def test_what_a_listener_raises_passes_through_tune(ray_session):
    configs = [SearchConfig(dataset="synthetic", seed=seed, epochs=1, warmup_epochs=0) for seed in range(2)]
    specs = [TrialSpec(key=config.search_id, root="", config=config) for config in configs]
    with pytest.raises(StorageError, match="^the storage failed for 1 s: disk full$"):
        run_trials(search_without_work, specs, Refusing(), resources=lambda spec: {"CPU": 1})
