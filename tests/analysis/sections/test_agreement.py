"""Agreement between the cells of a setting's seeds."""

from analysis.sections import agreement
from analysis.sections.blocks import Card
from analysis.sections.wording import MISSING
from pcdarts.genotype import Genotype
from tests.analysis.sections.studies import figures, rows_of, study, table_of, texts
from tests.analysis.synthetic import epoch_rows, search_row


def test_agreement_and_consensus_of_the_seeds(tmp_path):
    names = ("DARTS_V1", "DARTS_V1", "DARTS_V2")
    rows = [search_row(4, seed, 80.0, cell=name) for seed, name in enumerate(names)]
    data = study(tmp_path, searches=rows)
    (found,) = data.seed_cells
    assert found.seeds == (0, 1, 2) and data.compared_cells == found
    card = agreement.consensus_card(found)
    assert {row[2] for row in card.figures[0].table.rows} <= {"67", "100"}
    normal, _ = figures(agreement.section(data))
    assert list(normal.frame["similarity"]).count(1) == 5  # the diagonal, and the two equal cells twice


def test_agreement_stands_beside_what_random_cells_reach_by_chance(tmp_path):
    rows = [search_row(4, seed, 80.0) for seed in range(3)]
    (row,) = rows_of(table_of(agreement.section(study(tmp_path, searches=rows)), "agreement"))
    assert row["similarity, normal / reduction"] == row["kappa, normal / reduction"] == "1.00 / 1.00"
    assert row["chance up to, normal / reduction"] == "0.21 / 0.21"
    assert row["chance up to, normal / reduction (kappa)"] == "0.18 / 0.18"
    assert row["tau of alpha"] == MISSING
    unknown = study(tmp_path / "imported", searches=[row | {"space": None} for row in rows])
    (row,) = rows_of(table_of(agreement.section(unknown), "agreement"))
    assert row["chance up to, normal / reduction"] == MISSING


def test_tau_comes_from_the_alphas_of_the_seeds(tmp_path):
    searches = [search_row(4, seed, 80.0) for seed in range(2)]
    matrix = tuple(tuple(float(i) for i in range(8)) for _ in range(14))
    epochs = [
        epoch | {"alphas_normal": matrix, "alphas_reduce": matrix} for row in searches for epoch in epoch_rows(row)
    ]
    assert agreement.alpha_agreement(study(tmp_path, searches=searches, epochs=epochs)) == {"k=4": 1.0}


def test_one_seed_has_nothing_to_compare(tmp_path):
    section = agreement.section(study(tmp_path, searches=[search_row(4, 0, 80.0)]))
    assert texts(section) == ["No setting has cells from two seeds, so there is nothing to compare."]


def test_cells_that_cannot_be_read_or_compared_are_left_out(tmp_path):
    small = str(Genotype([("noise", 0), ("noise", 1)], [2], [("noise", 0), ("noise", 1)], [2]))
    rows = [
        search_row(4, 0, 80.0),
        search_row(4, 1, 81.0) | {"genotype": small},
        search_row(4, 2, 82.0) | {"genotype": "?"},
    ]
    section = agreement.section(study(tmp_path, searches=rows))
    assert section.blocks and not any(isinstance(block, Card) for block in section.blocks)
