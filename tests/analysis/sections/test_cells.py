"""The drawn cells."""

from analysis.sections import cells
from tests.analysis.conclusions.tables import Tables, digest
from tests.analysis.sections.studies import made_up, study, texts
from tests.analysis.synthetic import search_row


def titles(data):
    return [card.title for card in cells.cell_cards(data)]


def test_the_recommended_cell_comes_first_and_then_those_of_the_longest_training(tmp_path):
    tables = Tables()
    for cell in range(3):
        tables.search("k=4", cell, cell)
        tables.train(cell, [4.0], validated=[4.0 + cell], stage="rung", rung=1)
    for cell, error in ((1, 3.0), (2, 2.0)):
        tables.train(cell, [error], validated=[error])
    data = made_up(tmp_path, tables)
    assert titles(data) == [f"Recommended cell {digest(2)}", f"Cell {digest(1)}", f"Cell {digest(0)}"]


def test_without_a_queue_settings_take_turns(tmp_path):
    rows = [
        search_row(2, 0, 99.0, cell="DARTS_V1"),
        search_row(2, 1, 98.0, cell="DARTS_V2"),
        search_row(4, 0, 80.0, cell="PC_DARTS_cifar"),
    ]
    found = [row["genotype_digest"] for row in rows]
    assert titles(study(tmp_path, searches=rows)) == [f"Cell {found[i]}" for i in (0, 2, 1)]


def test_a_random_cell_has_no_one_shot_accuracy(tmp_path):
    card = cells.cell_cards(study(tmp_path, searches=[search_row(4, 0, 80.0) | {"valid_accuracy": None}]))[0]
    assert ("one-shot validation accuracy", "–") in card.facts


def test_a_cell_that_cannot_be_read_has_a_reason_instead_of_a_drawing(tmp_path):
    data = study(tmp_path, searches=[search_row(4, 0, 80.0) | {"genotype": "Genotype(normal=["}])
    (card,) = cells.cell_cards(data)
    assert card.figures == () and card.problem.startswith("genotype cannot be read")


def test_a_study_without_cells_says_so(tmp_path):
    assert texts(cells.section(study(tmp_path))) == ["No cell has been found yet."]
