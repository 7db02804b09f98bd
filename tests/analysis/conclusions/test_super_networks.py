"""Tests of analysis.conclusions.super_networks."""

from analysis.conclusions.super_networks import super_network_groups, why_separate
from analysis.tables import SEARCHES
from tests.analysis.conclusions.tables import Tables


def groups(*searches):
    tables = Tables()
    for number, (setting, values) in enumerate(searches):
        tables.search(setting, number, number, **{"valid_accuracy": 90.0, **values})
    return super_network_groups(tables.frames()[0])


def test_searches_that_differ_in_the_seed_alone_are_one_group():
    (found,) = groups(("k=4", {}), ("k=4", {}))
    assert (found.settings, found.searches, found.values) == (("k=4",), 2, ())
    assert why_separate((found,)) == ""


def test_another_k_or_stride_is_another_super_network():
    found = groups(("k=8", {}), ("k=4", {}), ("k=4, spatial_stride=2", {"spatial_stride": 2}), ("k=4", {}))
    assert [(each.settings, each.searches) for each in found] == [
        (("k=4",), 2),
        (("k=4, spatial_stride=2",), 1),
        (("k=8",), 1),
    ]
    assert found[1].values == ("k = 4", "spatial_stride = 2")
    assert why_separate(found) == (
        "The super-networks differ in k and spatial_stride, so their one-shot accuracies differ whatever the cells are "
        "worth: they are not on one axis. Retrained cells compare settings."
    )


def test_what_changes_only_the_speed_or_a_measurement_keeps_super_networks_comparable():
    (found,) = groups(("k=4, threads=1", {}), ("k=4, threads=2", {"threads": 2, "eigenvalue_every": 5}))
    assert found.settings == ("k=4, threads=1", "k=4, threads=2") and found.searches == 2 and found.values == ()


def test_random_cells_and_failed_searches_have_no_super_network():
    assert groups(("random", {"valid_accuracy": None})) == ()
    assert super_network_groups(SEARCHES.to_arrow([]).to_pandas()) == ()
