"""A trained network as a folder of two files, in the conventions of the Hugging Face hub.

config.json          cells and sizes, the images that the network takes, the names of its classes
model.safetensors    weights and running statistics, without the auxiliary head

The folder is on this machine or on the hub: `hf://OWNER/NAME`, or `OWNER/NAME` if there is no such folder here.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pcdarts.data.augment import normalize
from pcdarts.data.images import resize
from pcdarts.data.pixels import eight_bit
from pcdarts.genotype import Genotype

if TYPE_CHECKING:
    from PIL import Image

CONFIG, WEIGHTS = "config.json", "model.safetensors"
"""Names of the files."""
SIZES = ("channels", "layers", "classes", "image_channels", "stem")
"""Arguments of `pcdarts.network.CellNetwork` that config.json holds next to the cells."""
HUB = "hf://"
"""Prefix of a model on the hub."""


@dataclass(frozen=True, kw_only=True)
class ImageInput:
    """The images that a network was trained on, and what its logits stand for."""

    height: int
    """Height of the network's input, pixels."""
    width: int
    """Width of the network's input, pixels."""
    shorter_side: int
    """Side to which the shorter side of an image is resized before its center is cropped, pixels."""
    mean: tuple[float, ...]
    """Mean of every channel, scaled to [0, 1]."""
    std: tuple[float, ...]
    """Standard deviation of every channel, scaled to [0, 1]."""
    labels: tuple[str, ...] = ()
    """Names of the classes, by logit; empty if they are not known."""

    def batch(self, *images: "Image.Image") -> Tensor:
        """Pillow images of any size and mode as the network takes them: float32 (N, C, height, width).

        Raises ValueError for a network that takes neither grayscale nor RGB images.
        """
        if len(self.mean) not in (1, 3):
            raise ValueError(f"the network takes {len(self.mean)} channels; build its input from arrays, not images")
        mode = "L" if len(self.mean) == 1 else "RGB"
        pixels = [self._cropped(eight_bit(image).convert(mode)) for image in images]
        return normalize(torch.cat(pixels), self.mean, self.std)

    def _cropped(self, image: "Image.Image") -> Tensor:
        """An image as uint8 (1, C, height, width)."""
        pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
        pixels = pixels.view(1, image.height, image.width, -1).permute(0, 3, 1, 2)
        return resize(pixels, self.shorter_side, (self.height, self.width))


def write_model(
    folder: str | Path,
    genotype: Genotype,
    sizes: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    images: ImageInput | None,
) -> list[Path]:
    """Write both files into a folder, which is created if necessary; returns their paths."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {"architecture": "pcdarts.network.CellNetwork", "genotype": str(genotype)}
    config |= {name: sizes[name] for name in SIZES}
    config |= {"input": None if images is None else dataclasses.asdict(images)}
    (target / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    kept = {name: value.contiguous() for name, value in weights.items() if not name.startswith("auxiliary_head.")}
    save_file(kept, target / WEIGHTS, metadata={"format": "pt"})
    return [target / CONFIG, target / WEIGHTS]


def read_model(
    source: str | Path, revision: str | None = None
) -> tuple[Genotype, dict[str, Any], dict[str, Tensor], ImageInput | None]:
    """Cells, sizes, weights and images of a folder or of a model on the hub.

    Raises ValueError if it is missing or is not what `write_model` writes.
    """
    folder = model_folder(source, revision)
    try:
        config = json.loads((folder / CONFIG).read_text())
        genotype = Genotype.parse(str(config["genotype"]))
        sizes = {name: config[name] for name in SIZES}
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}
        return genotype, sizes, weights, _image_input(config["input"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise ValueError(f"{folder} is no exported network ({reason}); `pcdarts export` writes one") from None


def model_folder(source: str | Path, revision: str | None = None) -> Path:
    """The folder of a model on this machine; a model on the hub is downloaded into the hub's cache first.

    Raises ValueError if it is missing or cannot be downloaded.
    """
    name = str(source).removeprefix(HUB)
    if not str(source).startswith(HUB) and Path(source).is_dir():
        return Path(source)
    if isinstance(source, Path) or not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise ValueError(
            f"{str(source)!r} is neither a folder nor a model of the Hugging Face hub; give a folder that "
            f"`pcdarts export` wrote, or {HUB}OWNER/NAME"
        )
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError:
        raise ValueError(
            f"{str(source)!r} is no folder here, and reading the Hugging Face hub needs huggingface_hub; "
            "pip install 'pcdarts-orchestrator[hub]'"
        ) from None
    try:
        folder = Path(hf_hub_download(name, CONFIG, revision=revision)).parent
        hf_hub_download(name, WEIGHTS, revision=folder.name)  # a commit: both files are of the same one
        return folder
    except (OSError, ValueError, HfHubHTTPError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(
            f"{name} cannot be read from the Hugging Face hub ({reason}); check the name, the network and your token"
        ) from None


def _image_input(values: Mapping[str, Any] | None) -> ImageInput | None:
    if values is None:
        return None
    tuples = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return ImageInput(**{**values, **tuples})
