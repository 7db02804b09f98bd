"""An exported network as ONNX, checked against PyTorch."""

import importlib.util
from pathlib import Path

import torch

from pcdarts.network import CellNetwork

ONNX = "model.onnx"
"""Name of the file."""
ONNX_TOLERANCE = 1e-4
"""Largest difference of ONNX and PyTorch logits, relative to the largest logit; both in single precision."""


def export_onnx(folder: str | Path, network: CellNetwork, image_size: tuple[int, int]) -> Path:
    """Write the network in evaluation mode as ONNX, for any number of images, and check it against PyTorch.

    Raises ValueError if the extra `onnx` is not installed, or if the logits differ by more than `ONNX_TOLERANCE`.
    """
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"ONNX export needs {', '.join(missing)}; pip install 'pcdarts-orchestrator[onnx]'")
    import onnxruntime

    path = Path(folder, ONNX)
    first = next(network.stem.parameters())
    images = torch.randn(3, first.shape[1], *image_size, generator=torch.Generator().manual_seed(0))
    network = network.eval()
    torch.onnx.export(
        network,
        (images[:2],),
        path,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = network(images)  # a batch size other than in the export
    (actual,) = session.run(["logits"], {"images": images.numpy()})
    difference = float((torch.from_numpy(actual) - expected).abs().max() / expected.abs().max())
    if not difference <= ONNX_TOLERANCE:
        path.unlink()
        raise ValueError(
            f"the ONNX logits differ from those of PyTorch by {difference:.1e} of the largest logit, but must differ "
            f"by at most {ONNX_TOLERANCE:g}; model.onnx was removed"
        )
    return path
