"""One image file as 8-bit pixels, or a refusal in one line that names the file.

16-bit and floating-point images are scaled, never clipped or cast. Alpha is dropped; of several frames, the first is
taken.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
"""File extensions of images, in lower case: torchvision's and GIF."""

REMEDY = "replace it or move it out of the tree"
"""Last part of every message about one unreadable file."""

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # TIFF tags
_WHITE_IS_ZERO, _SIGNED = 0, (2,)


def open_image(path: Path) -> Image.Image:
    """Read an image: mode L if the file is grayscale, else RGB.

    Raises ValueError that names the file, whatever is wrong with it.
    """
    with opened(path) as image:
        return eight_bit(image)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """An image of which only the header has been read.

    Raises ValueError that names the file, whatever is wrong with it or goes wrong with the image.
    """
    try:
        with quiet(), Image.open(path) as image:
            yield image
    except Exception as error:  # decoders raise anything: SyntaxError, struct.error, OverflowError, zlib.error ...
        raise ValueError(f"{shown(path)} cannot be read ({reason(error)}); {REMEDY}") from error


def reduced(image: Image.Image, factor: float) -> Image.Image:
    """Decode an opened image as `eight_bit` does; sides of a JPEG image may be up to `factor` times shorter.

    They are divided by 1, 2, 4 or 8 and rounded up, which saves most of the inverse cosine transform.
    """
    if divisor := next((n for n in (8, 4, 2) if n <= factor), 0):
        image.draft(None, (image.width // divisor, image.height // divisor))
    return eight_bit(image)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings about damaged metadata, transparent palettes, and large images below its limit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def eight_bit(image: Image.Image) -> Image.Image:
    """Decode an opened image to mode L or RGB.

    Raises ValueError for pixels whose range is not known, and what Pillow raises for damaged files.
    """
    image.load()  # the first frame
    tags: dict[int, Any] = getattr(image, "tag_v2", {})
    if image.mode == "L" and tags.get(_SAMPLE_FORMAT) == _SIGNED:  # Pillow reads -1 as 255
        return Image.fromarray(to_bytes(np.asarray(image).view(np.int8)))
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        if image.mode == "La":  # alpha multiplied in: Pillow converts it to LA only
            image = image.convert("LA")
        return image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
    values = np.asarray(image)
    # Mode I has 16 bits in PNG and PGM (Pillow scales the latter), 32 bits of unknown range elsewhere.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        most = 2 ** tags.get(_BITS_PER_SAMPLE, (16,))[0] - 1
        values = ((values.astype(np.int32) * 255 + most // 2) // most).astype(np.uint8)
    values = to_bytes(values)
    return Image.fromarray(255 - values if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else values)


def to_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixel values as uint8: floats in [0, 1] are scaled by 255, whole numbers in [0, 255] are kept.

    Raises ValueError for all others, as their range is not known.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind not in "iuf":
        raise ValueError(f"values are of type {values.dtype}, but must be numbers")
    low, high = values.min(), values.max()
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        return np.rint(values * np.float32(255)).astype(np.uint8)
    if low >= 0 and high <= 255 and (values == np.rint(values)).all():
        return values.astype(np.uint8)
    raise ValueError(
        f"{values.dtype} values from {low:g} to {high:g} are neither whole numbers in 0 to 255 nor floats in 0 to 1"
    )


def reason(error: Exception) -> str:
    """Why a file cannot be read, in one line without its name."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return " ".join(text.split()) or type(error).__name__


def shown(name: str | os.PathLike[str]) -> str:
    """A file name that any UTF-8 terminal prints in one line: as it is, or escaped where it cannot be printed."""
    text = os.fspath(name)
    return text if text.isprintable() else ascii(text)
