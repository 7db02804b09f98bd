"""The section that compares settings by their retrained cells."""

from analysis.conclusions.comparisons import DECISION_RULE
from analysis.sections import comparisons
from tests.analysis.conclusions.tables import settings_with
from tests.analysis.sections.studies import column, figures, made_up, rows_of, study, table_of, texts
from tests.analysis.synthetic import search_row

EIGHT = {"k=2": [3.0 + i / 50 for i in range(8)], "k=4": [3.5 + i / 40 for i in range(8)]}


def test_a_decided_pair_names_the_better_setting_and_the_rule(tmp_path):
    section = comparisons.section(made_up(tmp_path, settings_with(EIGHT)))
    (row,) = rows_of(table_of(section, "comparisons"))
    assert (row["first"], row["second"], row["common seeds"]) == ("k=2", "k=4", "8")
    assert row["conclusion"] == "k=2 is better" and row["p (Wilcoxon, Holm)"] == "0.0078"
    assert row["level of the interval (%)"] == "95.00"
    assert DECISION_RULE in texts(section)


def test_too_few_seeds_decide_nothing(tmp_path):
    few = {name: values[:3] for name, values in EIGHT.items()}
    (row,) = rows_of(table_of(comparisons.section(made_up(tmp_path, settings_with(few))), "comparisons"))
    assert row["conclusion"] == "too few seeds to decide: needs 6"


def test_settings_that_were_not_retrained_are_named_with_the_reason(tmp_path):
    tables = settings_with(EIGHT)
    tables.search("k=8", 0, 99)
    section = comparisons.section(made_up(tmp_path, tables))
    assert rows_of(table_of(section, "not-compared")) == [{"setting": "k=8", "reason": "no cell was retrained"}]


def test_one_shot_accuracies_alone_compare_nothing(tmp_path):
    searches = [search_row(k, seed, 80.0 + k) for k in (2, 4) for seed in (0, 1)]
    section = comparisons.section(study(tmp_path, searches=searches))
    assert texts(section) == ["No cell was retrained, so no two settings can be compared."]
    assert section.tables() == []


def test_every_error_is_drawn_and_listed(tmp_path):
    section = comparisons.section(made_up(tmp_path, settings_with(EIGHT)))
    errors, profile = figures(section)
    assert errors.frame["value"].notna().sum() == 16
    assert column(errors.table, "test error")[:3] == ["3.00", "3.02", "3.04"]
    assert list(profile.frame["share"])[:3] == [0, 0.125, 0.25]


def test_costs_are_those_of_the_searches(tmp_path):
    tables = settings_with({"k=2": [3.0, 3.1], "k=4": [3.0, 3.1]})
    for row in tables.searches:
        row |= {"gpu_days": 0.5}
    *_, cost = figures(comparisons.section(made_up(tmp_path, tables)))
    assert rows_of(cost.table)[0]["GPU-days"] == "0.5000"


def test_one_setting_has_its_errors_and_nothing_to_compare(tmp_path):
    section = comparisons.section(made_up(tmp_path, settings_with({"k=2": [3.0, 3.1]})))
    assert texts(section)[-1] == "The study has one setting, so there is nothing to compare."
    assert len(figures(section)) == 1


def test_a_study_without_searches_has_nothing_to_compare(tmp_path):
    tables = settings_with({"k=2": [3.0]})
    tables.searches = []
    section = comparisons.section(made_up(tmp_path, tables))
    assert texts(section)[1] == "The study has no setting, so there is nothing to compare."


def test_many_settings_are_cut_in_figures_and_listed_in_tables(tmp_path):
    tables = settings_with({f"k={k}, epochs={e}": [3.0] for k in (1, 2, 4, 8) for e in (10, 20, 30, 40)})
    section = comparisons.section(made_up(tmp_path, tables))
    assert "Figures show the first 12 of 16 settings; the tables list all." in texts(section)
    assert len(table_of(section, "test-errors").rows) == 16
