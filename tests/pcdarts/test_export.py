"""Exported networks: the same logits after a round trip, a model card, ONNX where it is installed."""

import importlib.util
import json

import pytest
import torch

from pcdarts import export
from pcdarts.export import export_network, export_onnx, load_exported, model_card, network_from_weights
from pcdarts.genotype import PUBLISHED, Genotype
from pcdarts.network import CellNetwork


def make(genotype="PC_DARTS_cifar", **values):
    sizes = {"channels": 4, "layers": 3, "classes": 5} | values
    return CellNetwork(PUBLISHED[genotype], **sizes, generator=torch.Generator().manual_seed(0))


def images(channels=3, size=16):
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("genotype", "values", "size"),
    [("PC_DARTS_cifar", {"image_channels": 1}, 16), ("NASNet", {"stem": "imagenet", "layers": 4}, 64)],
)
def test_a_network_comes_back_from_its_files(genotype, values, size, tmp_path):
    trained = make(genotype, auxiliary=True, **values)
    trained(images(values.get("image_channels", 3), size))  # moves the running statistics
    cells, state = PUBLISHED[genotype], trained.state_dict()
    plain = network_from_weights(state, cells, layers=len(trained.cells), stem=values.get("stem", "cifar"))
    files = export_network(tmp_path / "out", plain, cells, "card")
    assert [path.name for path in files] == ["model.safetensors", "genotype.json", "README.md"]
    assert Genotype.parse(files[1].read_text()) == cells and files[2].read_text() == "card"
    again, x = load_exported(tmp_path / "out"), images(values.get("image_channels", 3), size)
    assert torch.equal(again(x), trained.eval()(x)) and again.auxiliary_head is None


def test_wrong_weights_and_folders_are_refused(tmp_path):
    network, cells = make(), PUBLISHED["PC_DARTS_cifar"]
    with pytest.raises(ValueError, match="not those of 4 cells"):
        network_from_weights(network.state_dict(), cells, layers=4, stem="cifar")
    with pytest.raises(ValueError, match="not those of 3 cells .*preprocess1"):
        network_from_weights({"stem.0.weight": torch.zeros(3, 3, 3, 3)}, cells, layers=3, stem="cifar")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="holds files; give a new"):
        export_network(tmp_path, network, cells, "card")
    with pytest.raises(ValueError, match="cannot be written to"):
        export_network(tmp_path / "file", network, cells, "card")
    with pytest.raises(ValueError, match="is no exported network"):
        load_exported(tmp_path)
    (tmp_path / "model.safetensors").write_text("broken")
    with pytest.raises(ValueError, match="is no exported network"):
        load_exported(tmp_path)


def test_the_card_says_what_it_is_told():
    card = model_card(
        PUBLISHED["DARTS_V2"],
        name="demo",
        results={"test_accuracy": 97.4321098, "network_macs": 528_359_040, "top5": None},
        recipe={"seed": 3, "dataset": "a|b"},
        images={"classes, by logit": "cat, dog"},
        origin={"torch_version": "2.9"},
    )
    for line in (
        "# demo",
        "| classes, by logit | cat, dog |",
        "| test_accuracy | 97.4321 |",
        "| network_macs | 528,359,040 |",
        "| seed | 3 |",
    ):
        assert line in card.splitlines()
    assert "top5" not in card and "a\\|b" in card and str(PUBLISHED["DARTS_V2"]) in card


needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime", "onnxscript")),
    reason="needs the extra onnx: pip install -e '.[onnx]'",
)


@needs_onnx
@pytest.mark.parametrize(
    ("genotype", "values", "size"),
    [
        ("PC_DARTS_cifar", {}, 9),
        pytest.param("AmoebaNet", {"stem": "imagenet"}, 64, marks=pytest.mark.slow),
    ],
)
def test_onnx_gives_the_logits_of_pytorch(genotype, values, size, tmp_path):
    network = make(genotype, **values)
    network(images(size=size))
    path = export_onnx(tmp_path, network, (size, size))
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for count in (1, 4):
        x = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(count))
        (logits,) = session.run(None, {"images": x.numpy()})
        with torch.no_grad():
            assert torch.allclose(torch.from_numpy(logits), network(x), rtol=1e-3, atol=1e-4)


@needs_onnx
@pytest.mark.slow
def test_an_onnx_file_that_computes_something_else_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "ONNX_TOLERANCE", -1.0)
    with pytest.raises(ValueError, match="ONNX logits differ"):
        export_onnx(tmp_path, make(), (8, 8))
    assert not list(tmp_path.iterdir())


def test_onnx_without_the_extra_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs onnx, onnxruntime, onnxscript; pip install"):
        export_onnx(tmp_path, make(), (8, 8))


def test_the_cells_are_plain_json(tmp_path):
    _, cells, _ = export_network(tmp_path / "out", make(), PUBLISHED["PC_DARTS_cifar"], "card")
    assert json.loads(cells.read_text())["reduce_concat"] == [2, 3, 4, 5]
