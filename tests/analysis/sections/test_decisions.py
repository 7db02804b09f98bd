"""The section that says how decided the searches are."""

import math

import pandas as pd
import pytest

from analysis.sections import decisions
from analysis.sections.wording import MISSING
from tests.analysis.sections.studies import rows_of, study, table_of, texts
from tests.analysis.synthetic import epoch_rows, search_row


def measured(seed, found, random, **values):
    return search_row(4, seed, 80.0) | {decisions.DISCRETIZED: found, decisions.RANDOM: random} | values


def test_the_found_cell_is_compared_with_random_cells_of_its_own_super_network(tmp_path):
    rows = [measured(0, 60.0, 50.0), measured(1, 64.0, 52.0), measured(2, None, None)]
    table = table_of(decisions.section(study(tmp_path, searches=rows)), "discretization")
    (row,) = rows_of(table)
    assert (row["n"], row["found cell"], row["random cells"]) == ("2", "62.00", "51.00")
    assert row["difference [95 %]"] == "11.00 [-1.71, 23.71]"  # t(0.975, 1) = 12.71 times 1
    assert row["found cell better"] == "2 of 2" and "do not compare settings" in table.note


def test_entropies_near_their_maximum_are_named(tmp_path):
    most = math.log(8)
    near = {"alpha_entropy_normal": 0.99 * most, "alpha_entropy_reduce": 0.97 * most, "beta_entropy_normal": 0.98}
    rows = [search_row(4, 0, 80.0) | near, search_row(2, 0, 80.0) | {"alpha_entropy_normal": most / 2}]
    section = decisions.section(study(tmp_path, searches=rows))
    far, shown = rows_of(table_of(section, "decisions"))
    assert shown["entropy of alpha, normal / reduction (% of maximum)"] == "99.0 / 97.0"
    assert shown["entropy of beta, normal / reduction (% of maximum)"].startswith("98.0 / ")
    assert far["setting"] == "k=2"
    (text,) = texts(section)
    assert text.startswith("The entropy of alpha is above 95 % of its maximum in k=4:")


def test_margins_are_in_units_of_the_deviation_between_seeds(tmp_path):
    searches, epochs = [], []
    for seed, high in ((0, 1.0), (1, 0.0)):
        search = search_row(4, seed, 80.0) | {"alpha_margin_normal": 0.02}
        alphas = tuple(tuple(high * (place == 3) for place in range(8)) for _ in range(14))
        searches.append(search)
        epochs += [epoch | {"alphas_normal": alphas, "alphas_reduce": alphas} for epoch in epoch_rows(search)]
    table = table_of(decisions.section(study(tmp_path, searches=searches, epochs=epochs)), "decisions")
    (row,) = rows_of(table)
    top, rest = math.e / (math.e + 7), 1 / (math.e + 7)
    variance = ((top - 1 / 8) ** 2 + 7 * (rest - 1 / 8) ** 2) / 2 / 8
    assert row["margin, normal"] == "0.0200"
    assert row["in deviations"] == f"{0.02 / math.sqrt(variance):.2f}"


@pytest.mark.parametrize(
    "alphas", [[[[0.0, 1.0]]], [[[0.0, 1.0]], [[0.0, 1.0, 2.0]]], []], ids=["one seed", "other shapes", "none"]
)
def test_a_deviation_needs_two_matrices_of_one_shape(alphas):
    assert math.isnan(decisions.deviation_between_seeds(pd.Series(alphas, dtype=object)))


def test_margins_without_alphas_have_no_deviation(tmp_path):
    table = table_of(decisions.section(study(tmp_path, searches=[search_row(4, 0, 80.0)])), "decisions")
    assert rows_of(table)[0]["in deviations"] == MISSING


def test_a_study_that_measured_nothing_says_so(tmp_path):
    nothing = dict.fromkeys(("alpha_entropy_normal", "alpha_entropy_reduce"))
    section = decisions.section(study(tmp_path, searches=[search_row(4, 0, 80.0) | nothing]))
    assert texts(section) == ["This study measured no entropy of alpha and no accuracy of discretized cells."]
