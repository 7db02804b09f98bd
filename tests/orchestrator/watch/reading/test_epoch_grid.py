import numpy as np
import pandas as pd
import pytest

from analysis.figures.live_curves import curve_band
from orchestrator.watch.reading.epoch_grid import MEASURES, EpochGrid, at, at_each, best_epochs, last, medians

NAN = np.nan


def rows(search, values, start=0):
    frame = pd.DataFrame({"search_id": search, "epoch": range(start, start + len(values))})
    return frame.assign(**dict.fromkeys(MEASURES, NAN)).assign(valid_accuracy=values)


def test_searches_grow_side_by_side():
    grid = EpochGrid()
    grid.update(rows("a", [1.0, 2.0]))
    grid.update(pd.concat([rows("b", [5.0]), rows("a", [1.0, 2.5, 3.0])]))
    places = grid.places(["b", "a", "none"])
    np.testing.assert_array_equal(
        grid.values("valid_accuracy", places), [[5.0, NAN, NAN], [1.0, 2.5, 3.0], [NAN, NAN, NAN]]
    )
    assert list(grid.done(places)) == [1, 3, 0]


def test_a_search_that_starts_again_loses_its_old_epochs():
    grid = EpochGrid()
    grid.update(rows("a", [1.0, 2.0, 3.0]))
    grid.update(rows("a", [4.0]))
    np.testing.assert_array_equal(grid.values("valid_accuracy", grid.places(["a"])), [[4.0]])


def test_an_empty_grid_has_no_values():
    grid = EpochGrid()
    assert grid.values("seconds", grid.places(["a"])).shape == (1, 0)
    assert np.isnan(last(grid.values("seconds", grid.places(["a"])))).all()
    assert list(grid.done(grid.places(["a"]))) == [0]


def test_last_best_and_at_an_epoch_differ():
    grid = np.array([[1.0, 9.0, 4.0, NAN], [NAN, NAN, NAN, NAN], [3.0, NAN, 2.0, 5.0]])
    np.testing.assert_array_equal(last(grid), [4.0, NAN, 5.0])
    np.testing.assert_array_equal(best_epochs(grid), [1, -1, 3])
    np.testing.assert_array_equal(at_each(-grid, best_epochs(grid)), [-9.0, NAN, -5.0])
    np.testing.assert_array_equal(at(grid, 2), [4.0, NAN, 2.0])
    np.testing.assert_array_equal(at(grid, 9), [NAN, NAN, NAN])
    np.testing.assert_array_equal(medians(grid), [4.0, NAN, 3.0])


@pytest.mark.parametrize("searches", [1, 2, 7, 40])
def test_a_band_is_what_numpy_computes(searches):
    values = np.random.default_rng(searches).normal(size=(searches, 5))
    values[0, 3] = values[:, 4] = NAN
    band = curve_band(values)
    expected = np.array([np.nanquantile(values[:, :3], share, axis=0) for share in (0.1, 0.5, 0.9)])
    np.testing.assert_allclose([band.low[:3], band.median[:3], band.high[:3]], expected)
    assert list(band.n) == [searches] * 3 + [searches - 1, 0]
    assert np.isnan(band.median[4])
