"""Curves over epochs."""

from analysis.sections import epoch_curves
from analysis.tables import EPOCHS, SEARCHES
from tests.analysis.sections.studies import figures, study, texts, write_imported
from tests.analysis.synthetic import epoch_rows, search_row


def test_measures_that_depend_on_the_super_network_have_a_figure_for_each(tmp_path):
    searches = [search_row(k, 0, 80.0) for k in (2, 4)]
    data = study(tmp_path, searches=searches, epochs=[e for row in searches for e in epoch_rows(row)])
    captions = [figure.caption for figure in figures(epoch_curves.section(data))]
    assert captions[:4] == [
        "Validation accuracy of each search, k=2.",
        "Validation accuracy of each search, k=4.",
        "Entropy of softmax(alpha) of each search (reduction cell dashed).",
        "Dominant eigenvalue of each search, k=2.",
    ]


def test_super_networks_of_different_size_never_share_an_axis(tmp_path):
    channels = [16 * (1 + place) for place in range(9)]
    searches = [search_row(4, c, 80.0) | {"channels": c, "setting": f"channels={c}"} for c in channels]
    data = study(tmp_path, searches=searches, epochs=[e for row in searches for e in epoch_rows(row, epochs=2)])
    drawn = [figure for figure in figures(epoch_curves.section(data)) if figure.caption.startswith("Validation")]
    assert [set(figure.frame["setting"]) for figure in drawn] == [{f"channels={c}"} for c in channels]


def test_many_searches_are_bands_of_their_settings(tmp_path):
    rows = [search_row(4, seed, 80.0) for seed in range(61)]
    data = study(tmp_path, searches=rows, epochs=[e for row in rows for e in epoch_rows(row, epochs=3)])
    accuracy = figures(epoch_curves.section(data))[0]
    assert "10 to 90 % quantile band" in accuracy.caption
    assert len(accuracy.frame) == 3 and list(accuracy.frame["n"]) == [61] * 3


def test_searches_that_have_not_finished_are_apart(tmp_path):
    rows = [search_row(4, seed, 80.0) for seed in range(2)]
    data = study(tmp_path, searches=rows[:1], epochs=[e for row in rows for e in epoch_rows(row)])
    captions = [figure.caption for figure in figures(epoch_curves.section(data))]
    assert "Validation accuracy of each search, searches without a result." in captions


def test_what_was_not_measured_is_named(tmp_path):
    searches = [search_row(1, seed, 80.0 + seed) for seed in range(2)]
    kept = ("search_id", "study", "epoch", "alpha_trained", "valid_accuracy")
    write_imported(tmp_path, SEARCHES, searches)
    write_imported(
        tmp_path, EPOCHS, [{name: row[name] for name in kept} for search in searches for row in epoch_rows(search)]
    )
    section = epoch_curves.section(study(tmp_path))
    assert len(figures(section)) == 1
    assert texts(section)[-1].startswith("Not measured in this study: entropy of softmax(alpha), dominant eigenvalue,")


def test_alpha_is_shown_for_the_chosen_operations(tmp_path):
    search = search_row(4, 0, 80.0)
    epochs = epoch_rows(search, epochs=2)
    for epoch, row in enumerate(epochs):  # all of the weight goes to skip connections
        row["alphas_normal"] = tuple(tuple(50.0 * epoch * (i == 3) for i in range(8)) for _ in range(14))
    normal, reduction = epoch_curves.alpha_charts(study(tmp_path, searches=[search], epochs=epochs))
    shown = {row[0]: tuple(map(str, row[1:])) for row in normal.table.rows}
    assert shown["c(k-2) → 2: skip_connect"] == ("0.125", "1.000")
    assert shown["c(k-1) → 2: sep_conv_3x3"] == ("0.125", "0.000")
    assert len(reduction.table.rows) == 8


def test_no_epochs_are_no_figures(tmp_path):
    section = epoch_curves.section(study(tmp_path))
    assert texts(section) == ["No epoch has been recorded."] and figures(section) == []
