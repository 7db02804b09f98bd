"""Exported networks: the same logits after a round trip, the files, and what is refused."""

import json

import pytest
import torch

from pcdarts.export import export_network, load_exported, network_from_weights
from pcdarts.genotype import PUBLISHED, Genotype
from tests.pcdarts.export.networks import images, make


@pytest.mark.parametrize(
    ("genotype", "values", "size"),
    [("PC_DARTS_cifar", {"image_channels": 1}, 16), ("NASNet", {"stem": "imagenet", "layers": 4}, 64)],
)
def test_a_network_comes_back_from_its_files(genotype, values, size, tmp_path):
    trained = make(genotype, auxiliary=True, **values)
    x = images(values.get("image_channels", 3), size)
    trained(x)  # moves the running statistics
    cells, state = PUBLISHED[genotype], trained.state_dict()
    plain = network_from_weights(state, cells, layers=len(trained.cells), stem=values.get("stem", "cifar"))
    files = export_network(tmp_path / "out", plain, "card")
    assert [path.name for path in files] == ["config.json", "model.safetensors", "genotype.json", "README.md"]
    assert Genotype.parse(files[2].read_text()) == cells and files[3].read_text() == "card"
    again = load_exported(tmp_path / "out")
    assert torch.equal(again(x), trained.eval()(x)) and again.auxiliary_head is None and not again.training


def test_wrong_weights_and_folders_are_refused(tmp_path):
    network, cells = make(), PUBLISHED["PC_DARTS_cifar"]
    with pytest.raises(ValueError, match="not those of 4 cells"):
        network_from_weights(network.state_dict(), cells, layers=4, stem="cifar")
    with pytest.raises(ValueError, match="not those of 3 cells .*preprocess1"):
        network_from_weights({"stem.0.weight": torch.zeros(3, 3, 3, 3)}, cells, layers=3, stem="cifar")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="holds files; give a new"):
        export_network(tmp_path, network, "card")
    with pytest.raises(ValueError, match="cannot be written to"):
        export_network(tmp_path / "file", network, "card")


def test_the_cells_are_plain_json(tmp_path):
    *_, cells, _ = export_network(tmp_path / "out", make(), "card")
    assert json.loads(cells.read_text())["reduce_concat"] == [2, 3, 4, 5]
