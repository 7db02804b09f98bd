"""All figures: numbers of a study, valid charts, equal specifications for equal tables."""

import json

import numpy as np
import pytest

from analysis.drawing.svg_files import FILE_FORMATS
from analysis.figures import FIGURES, chart_file, chart_spec, epoch_curves_data, page_spec, panels, vega_script
from analysis.figures.epochs import MAX_POINTS
from analysis.report.data_sets import packed
from analysis.study_data import StudyData
from tests.analysis.sections.studies import made_up, study
from tests.analysis.synthetic import epoch_rows, search_row, write_study
from tests.simulated import Setting, SimulatedStudy

STARTS = {"svg": b"<svg", "pdf": b"%PDF", "png": b"\x89PNG"}


@pytest.fixture(scope="module")
def race(tmp_path_factory):
    """Four settings with retrained cells: every figure has numbers."""
    settings = (Setting(k=2), Setting(k=4), Setting(method="darts"), Setting(method="random"))
    found = SimulatedStudy(settings=settings, generator=np.random.default_rng(0))
    found.retrain(found.race([(25, 1, 6)]), seeds=2)
    return StudyData(store=found.write(str(tmp_path_factory.mktemp("studies") / "race")))


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return StudyData(store=write_study(str(tmp_path_factory.mktemp("studies") / "demo")))


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_valid_and_draws_numbers_or_none(race, demo, name):
    figure = FIGURES[name]
    for data in (race, demo):
        frame = figure.data(data)
        assert "panel" in frame and frame["panel"].notna().all()
        chart = figure.chart(frame)
        chart.to_dict()  # validates
        assert chart_file(chart, "svg").startswith(STARTS["svg"])
        first = next(iter(panels(frame).values()))
        assert page_spec(figure.chart(first))["width"] == "container"


def test_every_figure_has_numbers_in_some_study(race, demo):
    empty = {name for name, figure in FIGURES.items() if not len(figure.data(race)) and not len(figure.data(demo))}
    assert empty <= {"epochs-found-minus-random", "one-shot-error"}


def test_the_same_tables_give_the_same_specification(race):
    again = StudyData(store=race.store)
    for figure in FIGURES.values():
        first, second = (json.dumps(chart_spec(figure.chart(figure.data(data)))) for data in (race, again))
        assert first == second and "http" not in first


@pytest.mark.parametrize("form", FILE_FORMATS)
def test_files_need_no_browser(race, form):
    figure = FIGURES["test-errors"]
    made = chart_file(figure.chart(figure.data(race)), form)
    assert made.startswith(STARTS[form])
    assert form != "pdf" or b"FontFile" in made
    assert b"var(--" not in made


def test_the_script_loads_nothing_and_can_stand_in_a_page():
    script = vega_script()
    assert "vegaEmbed" in script and "</script" not in script and len(script) < 1e6
    assert script is vega_script()


def test_the_colors_of_a_page_are_its_variables(race):
    figure = FIGURES["test-errors"]
    text = json.dumps(page_spec(figure.chart(figure.data(race))))
    assert "var(--series-0,#2563a8)" in text and '"#2563a8"' not in text


def test_curves_are_those_of_the_tables(tmp_path):
    search = search_row(4, 0, 80.0)
    rows = epoch_rows(search, epochs=10)
    found = epoch_curves_data(study(tmp_path, searches=[search], epochs=rows), "valid_accuracy")
    assert found["value"].tolist() == pytest.approx([row["valid_accuracy"] for row in rows])
    assert found["frozen_epochs"].unique().tolist() == [3] and found["epoch"].tolist() == list(range(10))


def test_searches_without_a_result_have_no_seed(tmp_path):
    data = study(tmp_path, epochs=epoch_rows(search_row(4, 0, 80.0), epochs=3))
    frame = epoch_curves_data(data, "valid_accuracy")
    assert set(frame["setting"]) == {"not finished"} and frame["seed"].isna().all()
    assert "NaN" not in json.dumps(page_spec(FIGURES["epochs-valid-accuracy"].chart(frame)))


def test_long_curves_are_thinned_and_keep_their_ends(tmp_path):
    search = search_row(4, 0, 80.0)
    data = study(tmp_path, searches=[search], epochs=epoch_rows(search, epochs=601))
    epochs = epoch_curves_data(data, "valid_accuracy")["epoch"]
    assert len(epochs) <= MAX_POINTS + 1 and epochs.iloc[0] == 0 and epochs.iloc[-1] == 600


def test_many_searches_are_medians_with_quantiles(tmp_path):
    rows = [search_row(4, seed, 80.0) for seed in range(61)]
    epochs = [e | {"valid_accuracy": float(row["seed"])} for row in rows for e in epoch_rows(row, epochs=2)]
    found = epoch_curves_data(study(tmp_path, searches=rows, epochs=epochs), "valid_accuracy")
    assert found[["value", "low", "high", "n"]].to_numpy().tolist() == [[30, 6, 54, 61]] * 2


def test_a_measure_that_is_none_is_named(demo):
    with pytest.raises(ValueError, match="measure is 'speed', but must be one of valid_accuracy, "):
        epoch_curves_data(demo, "speed")


def test_test_errors_have_the_mean_of_their_setting(tmp_path):
    from tests.analysis.conclusions.tables import settings_with

    found = FIGURES["test-errors"].data(made_up(tmp_path, settings_with({"k=2": [3.0, 4.0], "k=4": [5.0]})))
    assert found["value"].tolist() == pytest.approx([3, 4, 5])
    assert found["mean"].tolist() == pytest.approx([3.5, 3.5, 5]) and found["series"].tolist() == [0, 0, 1]


def test_packed_data_sets_hold_each_text_once():
    rows = [{"name": name, "x": x, "same": True} for name, x in (("a", 1.0), ("b", 1 / 3), ("a", None))]
    (found,) = packed({"datasets": {"data": rows}})["datasets"].values()
    assert found == {
        "rows": 3,
        "columns": {
            "name": {"texts": ["a", "b"], "places": [0, 1, 0]},
            "x": [1, 0.333333, None],
            "same": {"value": True},
        },
    }
