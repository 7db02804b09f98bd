"""The folder of an exported network.

config.json          cells, sizes, images: see `pcdarts.pretrained`
model.safetensors    weights and running statistics without the auxiliary head
genotype.json        the cells alone
README.md            the model card
"""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from pcdarts.genotype import Genotype
from pcdarts.network import CellNetwork

CELLS, CARD = "genotype.json", "README.md"
"""Names of the files that only people read."""


def network_from_weights(weights: Mapping[str, Tensor], genotype: Genotype, *, layers: int, stem: str) -> CellNetwork:
    """The network of a state dict of `CellNetwork`, in evaluation mode and without the auxiliary head.

    Raises ValueError for weights of another network.
    """
    kept = {name: value for name, value in weights.items() if not name.startswith("auxiliary_head.")}
    try:
        sizes = {
            "channels": kept["cells.0.preprocess1.1.weight"].shape[0],
            "classes": kept["classifier.weight"].shape[0],
            "image_channels": kept["stem.0.weight" if stem == "cifar" else "stem.0.0.weight"].shape[1],
        }
    except KeyError as error:
        raise ValueError(
            f"these weights are not those of {layers} cells {genotype.digest}: {error} is missing"
        ) from None
    return CellNetwork.with_weights(genotype, kept, layers=layers, stem=stem, **sizes)


def export_network(folder: str | Path, network: CellNetwork, card: str) -> list[Path]:
    """Write the network, its cells and the model card; returns the files.

    Raises ValueError if the folder is not empty or cannot be created.
    """
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise ValueError(f"{str(target)!r} holds files; give a new or an empty folder")
    except OSError as error:
        raise ValueError(f"{str(target)!r} cannot be written to ({error.strerror}); give another folder") from None
    files = network.save_pretrained(target)
    (target / CELLS).write_text(json.dumps(json.loads(network.genotype.to_json()), indent=2) + "\n")
    (target / CARD).write_text(card)
    return [*files, target / CELLS, target / CARD]


def load_exported(folder: str | Path) -> CellNetwork:
    """The same as `CellNetwork.from_pretrained`."""
    return CellNetwork.from_pretrained(folder)
