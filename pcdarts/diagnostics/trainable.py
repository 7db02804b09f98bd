"""Whether the images of a configuration are large enough to train on: `require_trainable(config)`.

Batch norms and the auxiliary head set the limits; everything else runs on images of any size, shape and number of
channels, and with any number of classes.
"""

import math

from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.data.datasets import dataset_info
from pcdarts.network import AUXILIARY_POOL, smallest_auxiliary_map


def require_trainable(config: SearchConfig | RetrainConfig) -> None:
    """Raise ValueError, with the smallest size, for images that are too small for a network; reads no images."""
    if isinstance(config, SearchConfig):
        if config.method == "random":
            return
        factor = _reduction(config.stem) * config.spatial_stride
        batches = {"batch_size": config.batch_size}
        if config.eigenvalue_every:
            batches["eigenvalue_batch"] = config.eigenvalue_batch
    else:
        factor, batches = _reduction(config.stem), {"batch_size": config.batch_size}
        if config.auxiliary_weight:
            _require_auxiliary(config)
    size = dataset_info(config).image_size
    for name, images in batches.items():
        if images == 1 and max(size) <= factor:
            raise ValueError(
                f"{name} is 1, but must be at least 2 for images of {_text(size)} pixels: their last feature map is a "
                f"single pixel, and a batch norm needs two values; raise it, or use images of {factor + 1} pixels"
            )


def _require_auxiliary(config: RetrainConfig) -> None:
    """Raise ValueError if the feature map does not fit the auxiliary head."""
    size = dataset_info(config).image_size
    maps = [math.ceil(side / _reduction(config.stem)) for side in size]
    least = smallest_auxiliary_map(config.stem)
    if min(maps) < least:
        raise ValueError(
            f"auxiliary_weight is {config.auxiliary_weight:g}, but must be 0 for images of {_text(size)} pixels: the "
            f"auxiliary head needs {(least - 1) * _reduction(config.stem) + 1} x "
            f"{(least - 1) * _reduction(config.stem) + 1}; set auxiliary_weight to 0, or a larger image_size"
        )
    pixels = math.prod((side - 5) // AUXILIARY_POOL[config.stem] for side in maps)
    if config.stem == "cifar" and config.batch_size * pixels == 1:  # the other head has no batch norm there
        raise ValueError(
            f"batch_size is 1, but must be at least 2 with an auxiliary head on images of {_text(size)} pixels, whose "
            "last batch norm has a single value; raise it, or set auxiliary_weight to 0"
        )


def _reduction(stem: str) -> int:
    """By how much the stem and the two reduction cells reduce the resolution; sizes are rounded up."""
    return 32 if stem == "imagenet" else 4


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
