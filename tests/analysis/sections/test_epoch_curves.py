"""Curves over epochs."""

from analysis.sections import epoch_curves
from analysis.sections.palette import Palette
from analysis.tables import EPOCHS, SEARCHES
from pcdarts.genotype import Genotype
from pcdarts.spaces import SPACES
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


def test_many_searches_are_bands_of_their_settings(tmp_path):
    rows = [search_row(4, seed, 80.0) for seed in range(61)]
    data = study(tmp_path, searches=rows, epochs=[e for row in rows for e in epoch_rows(row, epochs=3)])
    accuracy = figures(epoch_curves.section(data))[0]
    assert "10 to 90 % quantile band" in accuracy.caption
    assert accuracy.svg.count("10 to 90 % of") == 1 and len(accuracy.svg) < 5000


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


def test_no_epochs_are_no_figures(tmp_path):
    searches = SEARCHES.to_arrow([search_row(4, 0, 80.0)]).to_pandas()
    none = epoch_curves.with_differences(EPOCHS.to_arrow([]).to_pandas())
    assert epoch_curves.epoch_figures(searches, none, Palette.of(["k=4"], {"k=4": 0}), ()) == []
    assert texts(epoch_curves.section(study(tmp_path))) == ["No epoch has been recorded."]
