"""Values that a field may take.  Needs the standard library alone."""

from typing import Literal

Dataset = Literal[
    "digits",
    "fashion-mnist",
    "mnist",
    "kmnist",
    "svhn",
    "cifar10",
    "cifar100",
    "imagenet",
    "folder",
    "arrays",
    "synthetic",
]
"""Data sets by name; folder and arrays are the user's own images."""

OWN_IMAGES: tuple[Dataset, ...] = ("folder", "arrays")
"""Data sets whose name says nothing about the images."""

FROM_IMAGES = ("classes", "image_channels", "image_height", "image_width", "data_fingerprint")
"""Fields that `pcdarts.data.sources.described` fills in from the images; not to be set by hand."""

Flip = Literal["auto", "on", "off"]
"""Whether training images are flipped horizontally at random."""

Rule = Literal["off", "warn", "stop"]
"""What a collapse rule does when its condition holds; see `pcdarts.diagnostics.collapse`."""
