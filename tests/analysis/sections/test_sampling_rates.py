"""Norms and entropies by sampling rate."""

import pytest

from analysis.sections import sampling_rates
from analysis.statistics.sampling_rates import rate_summaries
from analysis.tables import EPOCHS, SEARCHES
from tests.analysis.sections.studies import study, texts
from tests.analysis.synthetic import epoch_rows, search_row

MEASURED = ("weight_norm", "alpha_norm", "alpha_entropy_normal", "alpha_entropy_reduce", "train_valid_gap")


def found(rows, epochs=()):
    frames = (table.to_arrow(list(some)).to_pandas() for table, some in ((SEARCHES, rows), (EPOCHS, epochs)))
    return rate_summaries(*frames)


def grid(spaces=("s2", "s3")):
    return [
        search_row(k, seed, 80.0) | {"setting": f"k={k}, space={s}", "space": s, "search_id": f"{k}-{s}-{seed}"}
        for k in (1, 4)
        for s in spaces
        for seed in (0, 1)
    ]


def test_rates_are_compared_where_only_k_differs():
    shown = found(grid())
    assert [(s.others, s.k, s.sampling_rate, s.n) for s in shown] == [
        (f"space={space}", k, rate, 2) for space in ("s2", "s3") for k, rate in ((1, 1.0), (4, 0.25))
    ]
    assert shown[0].measures["alpha_norm"].mean == pytest.approx(0.81)


def test_the_norm_after_the_first_epoch_is_subtracted():
    searches = [search_row(k, 0, 80.0) for k in (1, 4)]
    norms = {row["search_id"]: row["weight_norm"] - 2.5 for row in searches}
    epochs = [epoch for row in searches for epoch in epoch_rows(row)]
    epochs = [epoch | {"weight_norm": norms[epoch["search_id"]] + epoch["epoch"]} for epoch in epochs]
    shown = found(searches, epochs)
    assert [s.measures["weight_norm_growth"].mean for s in shown] == pytest.approx([2.5, 2.5])
    assert "growth of the weight norm" in sampling_rates.rate_table(shown).headings


def test_without_epochs_the_growth_is_not_known():
    assert found(grid())[0].measures["weight_norm_growth"].n == 0


def test_a_sampling_rate_without_another_is_not_compared():
    rows = [
        search_row(k, 0, 80.0) | {"space": s, "search_id": f"{k}-{s}"} for k, s in ((1, "s2"), (4, "s2"), (4, "s3"))
    ]
    assert [(s.others, s.k) for s in found(rows)] == [("", 1), ("", 4)]
    assert found([row | dict.fromkeys(MEASURED) for row in rows]) == []


def test_the_default_sampling_has_no_penalty(tmp_path):
    (text,) = texts(sampling_rates.section(study(tmp_path, searches=[search_row(k, 0, 80.0) for k in (1, 4)])))
    assert text.startswith("With `channel_sampling` `shuffle` the sampled channels do not vary, so the penalty of the")
    assert "not shown here" in sampling_rates.penalty_text({"random", "shuffle"})


def test_one_sampling_rate_has_nothing_to_compare(tmp_path):
    (text,) = texts(sampling_rates.section(study(tmp_path, searches=[search_row(4, 0, 80.0)])))
    assert text == "No two searches with these measures differ in k alone, so they do not compare sampling rates."
