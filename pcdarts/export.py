"""Export of a trained network as files that need no study: weights, cells, a model card, optionally ONNX.

model.safetensors    weights and running statistics without the auxiliary head; metadata: cells, layers, stem
genotype.json        the cells
README.md            the model card
model.onnx           optional; any number of images, one image size
"""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pcdarts.genotype import Genotype
from pcdarts.network import CellNetwork

WEIGHTS, CELLS, CARD, ONNX = "model.safetensors", "genotype.json", "README.md", "model.onnx"
"""Names of the files."""
ONNX_TOLERANCE = 1e-4
"""Largest difference of ONNX and PyTorch logits, relative to the largest logit; both in single precision."""


def network_from_weights(weights: Mapping[str, Tensor], genotype: Genotype, *, layers: int, stem: str) -> CellNetwork:
    """The network of a state dict of `CellNetwork`, in evaluation mode and without the auxiliary head.

    Raises ValueError for weights of another network.
    """
    kept = {name: value for name, value in weights.items() if not name.startswith("auxiliary_head.")}
    try:
        first = kept["stem.0.weight" if stem == "cifar" else "stem.0.0.weight"]
        with torch.device("meta"):
            network = CellNetwork(
                genotype,
                channels=kept["cells.0.preprocess1.1.weight"].shape[0],
                layers=layers,
                classes=kept["classifier.weight"].shape[0],
                image_channels=first.shape[1],
                stem="cifar" if stem == "cifar" else "imagenet",
            )
        network.to_empty(device="cpu").to(first.dtype).load_state_dict(kept)
    except (KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"these weights are not those of {layers} cells {genotype.digest}: {reason}") from None
    return network.eval()


def export_network(folder: str | Path, network: CellNetwork, genotype: Genotype, card: str) -> list[Path]:
    """Write weights, cells and the model card; returns the files.

    Raises ValueError if the folder is not empty or cannot be created.
    """
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise ValueError(f"{str(target)!r} holds files; give a new or an empty folder")
    except OSError as error:
        raise ValueError(f"{str(target)!r} cannot be written to ({error.strerror}); give another folder") from None
    sizes = {
        "genotype": genotype.to_json(),
        "layers": str(len(network.cells)),
        "stem": "imagenet" if isinstance(network.stem, torch.nn.ModuleList) else "cifar",
    }
    state = network.state_dict()
    weights = {name: value.contiguous() for name, value in state.items() if not name.startswith("auxiliary_head.")}
    save_file(weights, target / WEIGHTS, metadata=sizes)
    (target / CELLS).write_text(json.dumps(json.loads(genotype.to_json()), indent=2) + "\n")
    (target / CARD).write_text(card)
    return [target / name for name in (WEIGHTS, CELLS, CARD)]


def load_exported(folder: str | Path) -> CellNetwork:
    """The network that `export_network` wrote, in evaluation mode; raises ValueError for a file that it did not."""
    path = Path(folder, WEIGHTS)
    try:
        with safe_open(path, framework="pt") as file:
            sizes = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}
        genotype, layers = Genotype.parse(sizes["genotype"]), int(sizes["layers"])
        return network_from_weights(weights, genotype, layers=layers, stem=sizes["stem"])
    except (OSError, SafetensorError, KeyError) as error:
        raise ValueError(f"{path} is no exported network ({error}); `pcdarts export` writes one") from None


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


def model_card(
    genotype: Genotype,
    *,
    name: str,
    results: Mapping[str, Any],
    recipe: Mapping[str, Any],
    images: Mapping[str, Any],
    origin: Mapping[str, Any],
) -> str:
    """The model card in Markdown: cells, results, recipe, images (if described), origin, use and limits."""
    described = f"## Images\n\n{_table(images)}\n" if images else ""
    return f"""# {name}

A network with cells found by an architecture search ({genotype.digest}), trained from scratch.

    {genotype}

## Results

{_table(results)}
One training with one seed: other seeds give other accuracies. The validation accuracy selected the epoch, and the test
set was evaluated once, with the weights of that epoch. Multiply-adds are counted for one image in convolutions and
linear layers, without the auxiliary head.

## Recipe

{_table(recipe)}
{described}## Origin

{_table(origin)}
## Use

    from pcdarts.export import load_exported
    logits = load_exported(".")(images)   # (N, C, H, W), normalized as in training

`{WEIGHTS}` holds weights and running statistics without the auxiliary head, `{CELLS}` the cells.

## Limits

The network classifies images like those of its training set into the classes of that set. It was not evaluated on other
data, on corrupted images or on subgroups. The cells were chosen by a search: a fair comparison with other networks
includes the cost of the search and its other seeds.
"""


def _table(rows: Mapping[str, Any]) -> str:
    lines = [f"| {key} | {_cell(value)} |\n" for key, value in rows.items() if value is not None]
    return f"| | |\n|---|---|\n{''.join(lines)}"


def _cell(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 100_000:
        return f"{value:,}"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
