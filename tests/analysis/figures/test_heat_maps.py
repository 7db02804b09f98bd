"""Weights of chosen operations, and similarity of cells."""

import pytest

from analysis.figures import similarity_data
from analysis.figures.heat_maps import MAX_COLUMNS, alpha_weights, alpha_weights_data
from analysis.tables import EPOCHS
from pcdarts.genotype import Genotype
from pcdarts.spaces import SPACES
from tests.analysis.sections.studies import study
from tests.analysis.synthetic import epoch_rows, search_row


def architectures(rows):
    return EPOCHS.to_arrow(rows).to_pandas()


def test_alpha_of_another_space_has_its_own_columns():
    operations = SPACES["s3"].normal[0]
    search = search_row(4, 0, 80.0) | {"space": "s3"}
    kept = [("sep_conv_3x3", 0), ("skip_connect", 1)] * 4
    search["genotype"] = str(Genotype(kept, range(2, 6), kept, range(2, 6)))
    alphas = tuple(tuple(50.0 * (name == "skip_connect") for name in operations) for _ in range(14))
    rows = [epoch | {"alphas_normal": alphas, "alphas_reduce": alphas} for epoch in epoch_rows(search, epochs=1)]
    normal = alpha_weights(architectures(rows), search).query("panel == 'normal cell'")
    weights = dict(zip(normal["operation"].str.split(": ").str[1], normal["weight"].round(3), strict=True))
    assert weights == {"sep_conv_3x3": 0, "skip_connect": 1}
    assert len(alpha_weights(architectures(rows), search | {"space": "darts"})) == 0


def test_equal_alphas_have_equal_weights_and_long_searches_are_thinned(tmp_path):
    search = search_row(4, 0, 80.0)
    even = tuple((0.5,) * 8 for _ in range(14))
    rows = [row | {"alphas_normal": even, "alphas_reduce": None} for row in epoch_rows(search, epochs=120)]
    found = alpha_weights_data(study(tmp_path, searches=[search], epochs=rows))
    assert set(found["panel"]) == {"normal cell"}
    assert found["weight"].tolist() == pytest.approx([1 / 8] * 8 * MAX_COLUMNS)
    assert found["epoch"].min() == 0 and found["epoch"].max() == 119


def test_a_study_without_cells_has_no_heat_maps(tmp_path):
    data = study(tmp_path, searches=[search_row(4, 0, 80.0) | {"genotype": "?"}])
    assert len(alpha_weights_data(data)) == len(similarity_data(data)) == 0


def test_equal_cells_have_similarity_one(tmp_path):
    found = similarity_data(study(tmp_path, searches=[search_row(4, seed, 80.0) for seed in range(3)]))
    assert len(found) == 2 * 3 * 3 and set(found["similarity"]) == {1.0}
