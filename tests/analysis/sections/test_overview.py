"""The first screen of the report."""

import math

from analysis.sections import overview
from analysis.sections.blocks import Card
from analysis.sections.wording import MISSING
from tests.analysis.conclusions.tables import Tables, digest, settings_with
from tests.analysis.sections.studies import made_up, rows_of, study, table_of, texts
from tests.analysis.synthetic import queue_row, retrain_row, search_row


def test_a_setting_has_one_row_with_the_errors_of_its_retrained_cells(tmp_path):
    tables = settings_with({"k=2": [3.0, 3.2], "random": [3.4, 3.6]})
    tables.search("k=2", 2, None)
    section = overview.section(made_up(tmp_path, tables).conclusions)
    table = table_of(section, "settings")
    first, random = rows_of(table)
    assert (first["setting"], first["searches"], first["collapsed"]) == ("k=2", "2 (1 failed)", "0")
    assert (first["cells retrained"], first["trainings"]) == ("2 of 2", "2")
    assert (first["test error mean ± std"], first["worst cell"]) == ("3.10 ± 0.14", "3.20")
    assert first["fewer errors than random cells [interval]"] == "0.40"
    assert (random["fewer errors than random cells [interval]"], random["cost of a search"]) == (MISSING, MISSING)
    assert "trained on 45,000 images, the epoch picked on 5,000 other training images" in table.note


def test_nothing_is_claimed_where_nothing_was_retrained(tmp_path):
    data = study(tmp_path, searches=[search_row(k, 0, 80.0 + k) for k in (2, 4)])
    section = overview.section(data.conclusions)
    assert [row["test error mean ± std"] for row in rows_of(table_of(section, "settings"))] == [MISSING] * 2
    assert not any(isinstance(block, Card) for block in section.blocks)


def test_the_recommended_cell_is_there_with_its_genotype_and_how_sure_it_is(tmp_path):
    tables = Tables()
    for cell, errors in enumerate(([2.5, 2.6, 2.7], [4.0, 4.1, 4.2])):
        tables.search("k=4", cell, cell)
        tables.train(cell, errors, validated=errors)
    (card,) = (b for b in overview.section(made_up(tmp_path, tables).conclusions).blocks if isinstance(b, Card))
    facts = dict(card.facts)
    assert card.title == f"Recommended cell: {digest(0)}" and card.code and card.unfolded
    assert facts["found by"] == "k=4, seed 0"
    assert facts["next best"] == f"{digest(1)}; this cell is better with a probability of more than 99 %"
    assert facts["test error"].startswith("2.60 ± 0.10 % over 3 trainings; [2.31, 2.93] for the number of test images")
    assert facts["network"] == "3.00 M parameters, 500 M multiply-adds"


def test_one_training_each_leaves_the_order_of_cells_open(tmp_path):
    tables = settings_with({"k=4": [2.5, 2.6]})
    (card,) = (b for b in overview.section(made_up(tmp_path, tables).conclusions).blocks if isinstance(b, Card))
    assert dict(card.facts)["next best"] == f"{digest(1)}; how sure the order is, is not known"


def test_costs_are_gpu_days_or_cpu_hours(tmp_path):
    rows = [search_row(2, 0, 80.0) | {"gpu_days": 0.0712}, search_row(4, 0, 80.0) | {"threads": 2}]
    found = study(tmp_path, searches=rows).conclusions.settings
    assert [str(overview.cost(row)) for row in found] == ["0.0712 GPU-days", "0.0669 CPU-hours"]  # 120.5 s x 2
    assert math.isclose(overview.cost(found[1]).values[0], 120.5 * 2 / 3600)


def test_several_devices_have_a_column(tmp_path):
    rows = [search_row(2, 0, 80.0) | {"device_name": "A"}, search_row(4, 0, 80.0) | {"device_name": "B"}]
    section = overview.section(study(tmp_path, searches=rows).conclusions)
    assert [row["device"] for row in rows_of(table_of(section, "settings"))] == ["A", "B"]


def test_the_recommended_card_has_the_top_5_error(tmp_path):
    tables = settings_with({"k=4": [24.0]})
    tables.retrains = [row | {"test_top5": 92.5} for row in tables.retrains]
    (card,) = [
        each for each in overview.section(made_up(tmp_path, tables).conclusions).blocks if isinstance(each, Card)
    ]
    assert dict(card.facts)["test error"].endswith("; top-5 error 7.50 %")


def test_a_study_without_searches_shows_the_recommended_cell(tmp_path):
    job = queue_row(search_row(4, 0, 80.0), 1, "done")
    section = overview.section(study(tmp_path, queue=[job], retrains=[retrain_row(job, 97.0)]).conclusions)
    assert texts(section) == ["The study trained given cells, without a search."]
    assert [block.title for block in section.blocks if isinstance(block, Card)] == [
        f"Recommended cell: {job['genotype_digest']}"
    ]


def test_an_empty_study(tmp_path):
    assert texts(overview.section(study(tmp_path).conclusions)) == ["No search has finished yet."]


def test_the_images_are_described_with_the_origin_of_the_test_part():
    images = {
        "dataset": "folder",
        "place": "/data/flowers",
        "fingerprint": "70+14 images, 3x64x64, 1a2b3c4d",
        "train_images": [30, 40],
        "test_images": [7, 7],
        "channels": 3,
        "height": 32,
        "width": 28,
        "test_part": "val/",
    }
    assert overview.image_sentence(images) == (
        "Images: own images flowers, 2 classes, 70 training images (30 to 40 of a class) and 14 test images of 3 x 32 "
        "x 28 pixels. Test images: val/. Fingerprint: 70+14 images, 3x64x64, 1a2b3c4d."
    )
    assert overview.augmentation_sentence(images, several_flips=False) == ""
    augmented = images | {"crop_padding": 3, "flip": True, "in_memory": True}
    assert overview.augmentation_sentence(augmented, several_flips=False) == (
        "Training images are shifted by up to 3 pixels and flipped; all are normalized with the mean and standard "
        "deviation of the training images."
    )
    large = augmented | {"flip": False, "in_memory": False}
    assert overview.augmentation_sentence(large, several_flips=False) == (
        "Training images are randomly cropped and resized and not flipped; all are normalized with the mean and "
        "standard deviation of ImageNet."
    )
    assert "pixels and flipped as the field flip says;" in overview.augmentation_sentence(augmented, several_flips=True)
    copies = images | {"in_both": ["val/a/1.png", "val/b/2.png"]}
    assert "val/. 2 of them are also training images, which makes test errors too low. Fi" in overview.image_sentence(
        copies
    )
    built_in = images | {"dataset": "digits", "place": "", "fingerprint": "", "train_images": [40, 40]}
    assert overview.image_sentence(built_in).startswith("Images: digits, 2 classes, 80 training images (40 of a class)")
    assert "Fingerprint" not in overview.image_sentence(built_in)
