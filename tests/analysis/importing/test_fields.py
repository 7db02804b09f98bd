"""Sources of fields, types and units."""

import pytest

from analysis.importing.fields import Sources


def read(columns, rows, unit=None, **values):
    return Sources(columns=columns, values=values, unit=unit).read(rows, "old.csv")


def test_values_get_the_types_of_their_fields():
    columns = {"k": "K", "edge_normalization": "beta", "learning_rate": "lr", "side_operation": "side", "epochs": "n"}
    rows = [
        {"K": "4", "beta": "True", "lr": "0.1", "side": "none", "n": 50},
        {"K": 8.0, "beta": False, "lr": None, "side": None, "n": "NaN"},
    ]
    assert read(columns, rows, space="s1", order="2") == [
        {"k": 4, "edge_normalization": True, "learning_rate": 0.1, "side_operation": "none", "epochs": 50}
        | {"space": "s1", "order": 2},
        {"k": 8, "edge_normalization": False, "learning_rate": None, "side_operation": None, "epochs": None}
        | {"space": "s1", "order": 2},
    ]


@pytest.mark.parametrize("unit", ["percent", "fraction"])
def test_accuracies_become_percent_and_errors_become_accuracies(unit):
    scale = 1 if unit == "percent" else 0.01
    columns = {"valid_accuracy": "a", "test_error": "e", "retrain.valid_accuracy": "v"}
    rows = [{"a": 87.5 * scale, "e": 2.5 * scale, "v": None}, {"a": 50 * scale, "e": None, "v": 0}]
    found = read(columns, rows, unit)
    assert found[0] == {
        "valid_accuracy": pytest.approx(87.5),
        "retrain.test_accuracy": pytest.approx(97.5),
        "retrain.valid_accuracy": None,
    }
    assert found[1] == {
        "valid_accuracy": pytest.approx(50),
        "retrain.test_accuracy": None,
        "retrain.valid_accuracy": 0,
    }


@pytest.mark.parametrize(
    ("columns", "row", "unit", "message"),
    [
        ({"acuracy": "a"}, {}, None, "acuracy is no column of `searches`, nor `retrain.` and a column of `retrains`"),
        ({"valid_acuracy": "a"}, {}, None, "did you mean valid_accuracy?"),
        ({"alphas_normal": "a"}, {}, None, "alphas_normal is no column"),
        ({"k": "K"}, {"a": 1, "b": 2}, None, "old.csv has no column 'K' for k; its columns are a, b"),
        ({"k": "K"}, {"K": "four"}, None, "old.csv, row 1: column K is 'four', but must be an integer; correct it"),
        ({"k": "K"}, {"K": 4.5}, None, "column K is '4.5', but must be an integer"),
        ({"seconds": "s"}, {"s": "inf"}, None, "column s is 'inf', but must be a number"),
        ({"method": "m"}, {"m": "nas"}, None, "column m is 'nas', but must be one of pcdarts, "),
        ({"edge_normalization": "b"}, {"b": "maybe"}, None, "column b is 'maybe', but must be true or false"),
        ({"valid_accuracy": "a"}, {"a": 0.9}, None, "lie between 0.9 and 0.9, but nothing says in which unit"),
        ({"valid_accuracy": "a"}, {"a": 0.9}, "percent", "no value of column a is above 1 %, the largest is 0.9"),
        ({"valid_accuracy": "a"}, {"a": 90}, "fraction", "row 1: column a is 90, but must be between 0 and 1"),
        ({"test_accuracy": "a", "test_error": "e"}, {}, None, "both have a column, but are stored as one"),
    ],
)
def test_what_does_not_fit_is_named(columns, row, unit, message):
    with pytest.raises(ValueError) as caught:
        read(columns, [row], unit)
    assert message in str(caught.value)


def test_a_column_may_begin_in_a_later_row():
    assert read({"k": "K"}, [{"a": 1}, {"K": 4}]) == [{"k": None}, {"k": 4}]


def test_a_field_has_one_source():
    with pytest.raises(ValueError, match="k has a column and a value"):
        Sources(columns={"k": "K"}, values={"k": 4})
    with pytest.raises(ValueError, match="--set epochs is 'x', but must be an integer"):
        Sources(columns={}, values={"epochs": "x"}).read([{}], "old.csv")
