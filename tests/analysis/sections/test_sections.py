"""Tests of the report's sections: numbers in their tables, and studies in which much is missing."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.report.build import build, page
from analysis.report.sections import result_sections
from analysis.sections import epoch_curves, figures, found_cells, result_tables, sampling_rates
from analysis.sections.blocks import Card, Figure, ReportTable
from analysis.sections.study_data import StudyData
from analysis.sections.wording import interval_text, number
from analysis.statistics.comparison import compare_settings
from analysis.statistics.summaries import summarize, summarize_settings
from analysis.store import ResultStore
from analysis.tables import EPOCHS, QUEUE, RETRAINS, SEARCHES
from pcdarts.genotype import PUBLISHED, Genotype
from pcdarts.spaces import SPACES
from tests.analysis.report.test_build import check
from tests.analysis.synthetic import epoch_rows, queue_row, retrain_row, search_row, write_study

MEASURES = [measure.column for measure in sampling_rates.MEASURES]


def frame(*rows):
    return SEARCHES.to_arrow(rows).to_pandas()


def write_part(store, table, rows):
    """A part as an importer writes it: every column may be missing."""
    schema = pa.schema([field.with_nullable(True) for field in table.schema])
    folder = Path(store.root, table.name)
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([table.row(row) for row in rows], schema=schema), folder / "imported.parquet")


def built(store):
    """Sections by id; the page that they make is checked too."""
    report = build(StudyData(store=store))
    check(page(report))
    return {section.id: section for section in report.sections}


def titles(section):
    return [type(block).__name__ for block in section.blocks]


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path / "demo"))


def test_a_row_of_settings_holds_all_statistics():
    searches = frame(*(search_row(4, seed, 80.0 + seed) for seed in range(5)), search_row(4, 5, None))
    summaries = summarize_settings(searches)
    table = result_tables.settings_table(summaries, found_cells.setting_cells(searches, summaries))
    (row,) = (dict(zip(table.headings, row, strict=True)) for row in table.rows)
    assert (row["n"], row["failed"], row["stopped"], row["mean ± std"]) == ("5", "1", "0", "82.00 ± 1.58")
    assert (row["median"], row["quartiles"], row["IQM"]) == ("82.00", "81.00 to 83.00", "82.00")
    assert (row["worst"], row["worst seed"], row["best"], row["distinct cells"]) == ("80.00", "0", "84.00", "1")
    assert row["similarity normal / reduction"] == "1.00 / 1.00" and row["CI method"] == "(a)"
    assert "(a) Student's t (n < 20)." in table.note
    low, high = row["95 % CI of the mean"].values
    assert (low, high) == pytest.approx((80.04, 83.96), abs=0.01)  # t(0.975, 4) = 2.776 times 1.58 / sqrt(5)


def test_settings_without_a_value_have_dashes():
    table = result_tables.settings_table(summarize_settings(frame(search_row(4, 0, None))))
    assert table.rows[0] == ("k=4", "0", "1", "0", "–", "–", "", "–", "–", "–", "–", "–", "–", "0", "–", "–", "–")


def test_comparisons_stand_by_their_p_value():
    values = {
        2: (80.0, 80.2, 80.4, 80.1, 80.3, 80.5),
        4: (81.0, 81.3, 81.1, 81.6, 81.4, 81.2),
        8: (81.1, 81.2, 81, 81.7, 81, 82),
    }
    searches = frame(*(search_row(k, seed, v) for k, row in values.items() for seed, v in enumerate(row)))
    table = result_tables.comparisons_table(compare_settings(searches, np.random.default_rng(0)))
    assert [row[:2] for row in table.rows] == [("k=2", "k=4"), ("k=2", "k=8"), ("k=4", "k=8")]
    first = dict(zip(table.headings, table.rows[0], strict=True))
    assert (first["common seeds"], first["effect size"], first["p"], first["p (Holm)"]) == (
        "6",
        "-1.00",
        "0.0312",
        "0.0938",
    )
    assert first["P(first better) [95 %]"] == "0.00"  # of all pairs: 1 or 0 for certain it is not


def test_the_profile_is_the_share_of_runs_above_a_score():
    searches = frame(*(search_row(4, seed, 80.0 + seed) for seed in range(6)))
    figure = figures.profile_figure(searches, summarize_settings(searches))
    assert figure.table.headings == ("setting", *(f"above {80 + i}.00 %" for i in range(6)))
    assert figure.table.rows[0] == ("k=4", "0.83", "0.67", "0.50", "0.33", "0.17", "0.00")


def test_equal_values_have_no_worst_seed_and_one_score_in_the_profile():
    searches = frame(*(search_row(4, seed, 80.0) for seed in range(3)))
    summaries = summarize_settings(searches)
    table = result_tables.settings_table(summaries)
    assert table.rows[0][table.headings.index("worst seed")] == "–"
    assert figures.profile_figure(searches, summaries).table.headings == ("setting", "above 80.00 %")


def test_costs_are_gpu_days_where_there_was_a_gpu():
    searches = frame(*(search_row(4, seed, 80.0) | {"gpu_days": 0.5} for seed in range(2)))
    assert figures.cost_figure(searches, summarize_settings(searches)).table.headings[2] == "GPU-days"
    without = frame(search_row(4, 0, 80.0))
    assert figures.cost_figure(without, summarize_settings(without)).table.headings[2] == "seconds"
    searches = frame(*(search_row(4, seed, 80.0) | {"seconds": None, "gpu_days": None} for seed in range(2)))
    assert figures.cost_figure(searches, summarize_settings(searches)) is None


def test_rates_are_compared_where_only_k_differs():
    rows = [
        search_row(k, seed, 80.0) | {"setting": f"k={k}, space={s}", "space": s, "search_id": f"{k}-{s}-{seed}"}
        for k in (1, 4)
        for s in ("s2", "s3")
        for seed in (0, 1)
    ]
    found = sampling_rates.rate_summaries(frame(*rows))
    assert [(s.others, s.k, s.sampling_rate, s.n) for s in found] == [
        (f"space={space}", k, rate, 2) for space in ("s2", "s3") for k, rate in ((1, 1.0), (4, 0.25))
    ]
    assert found[0].measures["weight_norm"].mean == pytest.approx(70.5)
    table = sampling_rates.rate_table(found)
    assert table.rows[0][:4] == ("space=s2, k=1", "1", "2", "70.5 [64.1, 76.9]")
    legend, *drawings = sampling_rates.rate_figures(found)
    assert [name for name, _ in legend.entries] == ["space=s2", "space=s3"] and len(drawings) == len(MEASURES)


def test_a_sampling_rate_without_another_is_not_compared():
    rows = [
        search_row(k, 0, 80.0) | {"space": s, "search_id": f"{k}-{s}"} for k, s in ((1, "s2"), (4, "s2"), (4, "s3"))
    ]
    found = sampling_rates.rate_summaries(frame(*rows))
    assert [(s.others, s.k) for s in found] == [("", 1), ("", 4)]
    assert sampling_rates.rate_table(found).rows[0][0] == "k=1"
    assert len(sampling_rates.rate_figures(found)) == len(MEASURES)
    assert sampling_rates.rate_summaries(frame(*(row | dict.fromkeys(MEASURES) for row in rows))) == []


def test_alpha_is_shown_for_the_chosen_operations():
    search = search_row(4, 0, 80.0)
    epochs = epoch_rows(search, epochs=2)
    for epoch, row in enumerate(epochs):  # all of the weight goes to skip connections
        row["alphas_normal"] = tuple(tuple(50.0 * epoch * (i == 3) for i in range(8)) for _ in range(14))
    normal, reduction = epoch_curves.alpha_figures(EPOCHS.to_arrow(epochs).to_pandas(), search)
    shown = {row[0]: tuple(map(str, row[1:])) for row in normal.table.rows}
    assert shown["c(k-2) → 2: skip_connect"] == ("0.125", "1.000")
    assert shown["c(k-1) → 2: sep_conv_3x3"] == ("0.125", "0.000")
    assert len(reduction.table.rows) == 8


def test_alpha_of_another_space_has_its_own_columns():
    operations = SPACES["s3"].normal[0]
    search = search_row(4, 0, 80.0) | {"space": "s3"}
    kept = [("sep_conv_3x3", 0), ("skip_connect", 1)] * 4
    search["genotype"] = str(Genotype(kept, range(2, 6), kept, range(2, 6)))
    alphas = tuple(tuple(50.0 * (name == "skip_connect") for name in operations) for _ in range(14))
    rows = [epoch | {"alphas_normal": alphas, "alphas_reduce": alphas} for epoch in epoch_rows(search, epochs=1)]
    normal, _ = epoch_curves.alpha_figures(EPOCHS.to_arrow(rows).to_pandas(), search)
    assert {row[0].split(": ")[1]: str(row[1]) for row in normal.table.rows} == {
        "sep_conv_3x3": "0.000",
        "skip_connect": "1.000",
    }
    unlike = search | {"space": "darts"}
    assert epoch_curves.alpha_figures(EPOCHS.to_arrow(rows).to_pandas(), unlike) == []


def test_many_searches_are_bands_of_their_settings():
    rows = [search_row(k, seed, 80.0) for k in (2, 4) for seed in range(31)]
    epochs = EPOCHS.to_arrow([e for row in rows for e in epoch_rows(row, epochs=3)]).to_pandas()
    accuracy = epoch_curves.epoch_figures(frame(*rows), epochs, summarize_settings(frame(*rows)))[0]
    assert "10 to 90 % quantile band" in accuracy.caption
    assert accuracy.svg.count("10 to 90 % of") == 2 and len(accuracy.svg) < 5000


def test_agreement_and_consensus_of_the_seeds():
    names = ("DARTS_V1", "DARTS_V1", "DARTS_V2")
    searches = frame(*(search_row(4, seed, 80.0, cell=name) for seed, name in enumerate(names)))
    (found,) = found_cells.setting_cells(searches, summarize_settings(searches))
    assert found.seeds == (0, 1, 2)
    card = found_cells.consensus_card(found)
    assert {row[2] for row in card.figures[0].table.rows} <= {"67", "100"}
    normal, _ = found_cells.similarity_figures(found)
    assert normal.svg.count(">1.00</text>") == 5  # the diagonal, and the two equal cells twice
    alone = frame(search_row(4, 0, 80.0))
    (found,) = found_cells.setting_cells(alone, summarize_settings(alone))
    assert found_cells.consensus_card(found) is None and found_cells.similarity_figures(found) == []


def test_agreement_stands_beside_that_of_random_cells_of_the_space():
    def shown(*rows):
        searches = frame(*rows)
        return found_cells.agreement_table(found_cells.setting_cells(searches, summarize_settings(searches)), {}).rows

    rows = [search_row(4, seed, 80.0) for seed in range(2)]
    assert shown(*rows) == (
        ("k=4", "2", "1", *["1.000"] * 6, "–"),
        ("random cells of darts", "–", "100", "0.091", "0.092", "0.225", "0.224", "0.059", "0.059", "–"),
    )
    assert shown(*(row | {"space": "s2"} for row in rows))[1][:3] == ("random cells of s2", "–", "100")
    assert len(shown(*(row | {"space": None} for row in rows))) == 1  # an import that does not know it
    assert len(shown(rows[0])) == 1  # nothing to compare


def test_cells_that_cannot_be_read_or_compared_are_left_out(store):
    small = str(Genotype([("noise", 0), ("noise", 1)], [2], [("noise", 0), ("noise", 1)], [2]))
    rows = [
        search_row(4, 0, 80.0),
        search_row(4, 1, 81.0) | {"genotype": small},
        search_row(4, 2, 82.0) | {"genotype": "?"},
    ]
    store.append(SEARCHES, rows, "a")
    found = built(store)
    assert found["agreement"].blocks and not any(isinstance(block, Card) for block in found["agreement"].blocks)


def test_retrained_accuracies_are_correlated_with_search_accuracies(store):
    names = list(PUBLISHED)[:4]
    searches = [search_row(4, seed, 80.0 + seed, cell=name) for seed, name in enumerate(names)]
    jobs = [queue_row(row, rank + 1, "done") for rank, row in enumerate(searches)]
    store.append(SEARCHES, searches, "a")
    store.append(QUEUE, jobs, "a")
    store.append(RETRAINS, [retrain_row(job, 97.0 + i / 10) for i, job in enumerate(jobs)], "a")
    blocks = built(store)["retrained"].blocks
    (table,) = (block for block in blocks if isinstance(block, ReportTable) and block.id == "rank-correlation")
    assert table.rows[1] == ("search validation", "test", "4", "1.00 [-1.00, 1.00]")


def test_random_searches_without_accuracy_or_epochs(store):
    names = ("DARTS_V1", "DARTS_V2")
    nothing = dict.fromkeys(("train_loss", "train_accuracy", "valid_loss", "valid_accuracy", *MEASURES))
    rows = [
        search_row(4, seed, 80.0, cell=name) | nothing | {"setting": "method=random"} for seed, name in enumerate(names)
    ]
    write_part(store, SEARCHES, rows)
    found = built(store)
    assert titles(found["epochs"]) == ["Text"] and titles(found["comparisons"]) == ["Text"]
    assert isinstance(found["agreement"].blocks[0], ReportTable)


def test_imported_searches_without_alphas_and_eigenvalues(store):
    searches = [
        search_row(1, seed, 80.0 + seed) | dict.fromkeys(("gpu_days", "warnings", "stop_reason", *MEASURES))
        for seed in range(3)
    ]
    kept = ("search_id", "study", "epoch", "alpha_trained", "valid_accuracy")
    epochs = [{name: row[name] for name in kept} for search in searches for row in epoch_rows(search)]
    write_part(store, SEARCHES, searches)
    write_part(store, EPOCHS, epochs)
    blocks = built(store)["epochs"].blocks
    assert len([block for block in blocks if isinstance(block, Figure)]) == 1
    assert blocks[-1].text == "This study did not measure the dominant eigenvalue and the entropy of alpha."


def test_a_critical_difference_is_drawn_where_there_are_enough_seeds(store):
    rows = [search_row(k, seed, 80.0 + k + seed / 10 + seed % 2) for k in (1, 2, 4) for seed in range(5)]
    store.append(SEARCHES, rows, "a")
    assert titles(built(store)["comparisons"]) == ["ReportTable", "Figure"]


def test_many_settings_are_compared_with_the_best(store):
    rows = [search_row(k, seed, 80.0 + k + seed / 10) for k in range(1, 17) if 16 % k == 0 for seed in range(2)]
    rows += [row | {"setting": row["setting"] + ", order=2", "search_id": row["search_id"] + "b"} for row in rows]
    store.append(SEARCHES, rows, "a")
    table = built(store)["comparisons"].blocks[0]
    assert len(table.rows) == 9 and {row[1] for row in table.rows} == {"k=16"}


def test_everything_of_a_whole_study_has_something_to_show(tmp_path):
    data = StudyData(store=write_study(str(tmp_path / "demo")))
    for section in result_sections(data):
        assert any(isinstance(block, ReportTable | Figure | Card) for block in section.blocks), section.id


def test_numbers_as_text():
    assert (number(-0.0001), number(None), number(math.nan, 3)) == ("0.00", "–", "–")
    assert interval_text(summarize([1.0, 3.0])) == "2.00 [-10.71, 14.71]"
    assert interval_text(summarize([1.0])) == "1.00" and interval_text(summarize([])) == "–"
