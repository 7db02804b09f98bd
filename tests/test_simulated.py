"""Tests of the simulation itself: its deviations are those that its module names."""

import numpy as np
import pytest

from tests.simulated import FULL, PUBLISHED, Noise, Setting, SimulatedStudy


def study(*settings, **noise):
    return SimulatedStudy(settings=settings or [Setting()], generator=np.random.default_rng(0), noise=Noise(**noise))


def test_trainings_vary_as_published_and_share_most_errors():
    simulated = study()
    cell = simulated.cells()[0]
    simulated.retrain([cell], seeds=200)
    errors = [~np.unpackbits(np.frombuffer(row["test_correct"], np.uint8)).astype(bool) for row in simulated.retrains]
    accuracies = [row["test_accuracy"] for row in simulated.retrains]
    assert accuracies[0] == pytest.approx(100 - errors[0].mean() * 100)
    assert np.std(accuracies) == pytest.approx(0.10, abs=0.015)
    assert np.mean(errors[0] & errors[1]) / np.mean(errors[0]) == pytest.approx(2 / 3, abs=0.1)


def test_cells_of_a_setting_vary_around_its_accuracy_in_no_relation_to_one_shot():
    simulated = study(Setting(searches=400, accuracy=96.5, one_shot=80.0), Setting(k=8, searches=400))
    first, second = simulated.cells("k=4"), simulated.cells("k=8")
    truth = np.array([simulated.truth[cell] for cell in first])
    one_shot = np.array([row["valid_accuracy"] for row in simulated.searches[:400]])
    assert (truth.mean(), truth.std()) == pytest.approx((96.5, 0.17), abs=0.02)
    assert (one_shot.mean(), one_shot.std()) == pytest.approx((80.0, 0.43), abs=0.05)
    assert abs(np.corrcoef(truth, one_shot)[0, 1]) < 0.12
    assert np.mean([simulated.truth[cell] for cell in second]) == pytest.approx(97.0, abs=0.02)


def test_short_trainings_order_cells_less_than_perfectly():
    simulated = study(Setting(searches=400), test_images=0, validation_images=0, trainings=0.0, short=((25, 0.6),))
    simulated.race([(25, 1, 10)])
    rung = np.array([row["test_accuracy"] for row in simulated.retrains])
    truth = np.array([simulated.truth[cell] for cell in simulated.cells()])
    assert np.corrcoef(rung, truth)[0, 1] == pytest.approx(0.6, abs=0.1)
    assert (rung.mean(), rung.std()) == pytest.approx((94.0, 0.17), abs=0.02)


def test_a_race_keeps_a_cell_of_every_setting_but_in_its_last_rung():
    simulated = study(Setting(searches=3), Setting(k=8, searches=3, accuracy=90.0))
    kept = simulated.race([(25, 1, 3), (100, 1, 2)])
    assert [simulated.setting_of[cell].name for cell in kept] == ["k=4", "k=4"]
    second = {row["genotype_digest"] for row in simulated.retrains if row["rung"] == 2}
    assert sorted(simulated.setting_of[cell].name for cell in second) == ["k=4", "k=4", "k=8"]


def test_failed_searches_have_no_cell_and_collapsed_ones_a_bad_one_that_looks_good():
    simulated = study(Setting(collapsed=(1,), failed=(2,)), Setting(k=2, method="random"), one_shot=0.0, cells=0.0)
    accuracies = [row["valid_accuracy"] for row in simulated.searches]
    assert accuracies == [86.3, 88.3, None, 86.3, 86.3, *[None] * 5]
    assert list(simulated.truth.values()) == [97.0, 96.0, 97.0, 97.0, *[97.0] * 5]
    cell = simulated.cells("method=random")[0]
    simulated.retrain([cell], PUBLISHED, stage="published")
    simulated.retrain(simulated.cells("k=4"), FULL, failed=simulated.cells("k=4")[:1])
    searches, queue, retrains = simulated.frames()
    assert len(searches) == 10 and len(queue) == len(retrains) == 5
    assert retrains["validation_images"].iloc[0] == 0 and np.isnan(retrains["valid_accuracy"].iloc[0])
    assert list(retrains["status"]) == ["completed", "failed", "completed", "completed", "completed"]
