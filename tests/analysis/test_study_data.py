"""The input of the report."""

import pytest

from analysis.study_data import NAMED_DARTS, named_settings
from analysis.tables import SEARCHES
from tests.analysis.conclusions.tables import settings_with
from tests.analysis.sections.studies import made_up, study
from tests.analysis.synthetic import epoch_rows, search_row


@pytest.mark.parametrize(
    ("setting", "values", "expected"),
    [
        ("method=darts", {}, NAMED_DARTS),
        ("k=1, method=darts, epochs=50", {}, f"k=1, {NAMED_DARTS}, epochs=50"),
        ("method=darts-official", {"method": "darts-official"}, "method=darts-official"),
        ("method=darts", {"python_version": None}, "method=darts"),  # imported: its settings are not known
        ("k=4", {}, "k=4"),
    ],
)
def test_darts_with_other_settings_than_its_own_is_named_so(setting, values, expected):
    row = search_row(4, 0, 80.0) | {"setting": setting, "method": "darts"} | values
    assert list(named_settings(SEARCHES.to_arrow([row]).to_pandas())["setting"]) == [expected]


def test_settings_stand_in_the_order_of_their_values(tmp_path):
    data = study(tmp_path, searches=[search_row(k, 0, 80.0 + k) for k in (16, 4, 8)])
    assert list(data.order) == [summary.setting for summary in data.summaries] == ["k=4", "k=8", "k=16"]


def test_errors_are_those_of_the_level_of_the_comparison(tmp_path):
    data = made_up(tmp_path, settings_with({"k=2": [3.0, 3.1]}))
    assert list(data.errors["test_error"]) == pytest.approx([3.0, 3.1])
    assert len(study(tmp_path / "none", searches=[search_row(4, 0, 80.0)]).errors) == 0


def test_alphas_are_those_of_the_chosen_epoch(tmp_path):
    search = search_row(4, 0, 80.0) | {"chosen_epoch": 2}
    epochs = epoch_rows(search)
    found = study(tmp_path, searches=[search], epochs=epochs).final_alphas
    (row,) = found.to_dict("records")
    assert (row["setting"], row["seed"]) == ("k=4", 0)
    assert [tuple(edge) for edge in row["alphas_normal"]] == list(epochs[2]["alphas_normal"])
