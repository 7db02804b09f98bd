"""Networks as ONNX: the logits of PyTorch, where the extra is installed."""

import importlib.util

import pytest
import torch

from pcdarts.export import export_onnx, onnx_file
from tests.pcdarts.export.networks import images, make

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
    monkeypatch.setattr(onnx_file, "ONNX_TOLERANCE", -1.0)
    with pytest.raises(ValueError, match="ONNX logits differ"):
        export_onnx(tmp_path, make(), (8, 8))
    assert not list(tmp_path.iterdir())


def test_onnx_without_the_extra_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs onnx, onnxruntime, onnxscript; pip install"):
        export_onnx(tmp_path, make(), (8, 8))
