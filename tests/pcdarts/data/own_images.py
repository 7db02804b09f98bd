"""Small trees and arrays of own images, with a square whose place tells the class."""

import numpy as np
from PIL import Image


def pixels(count, classes, height, width, channels, seed=0):
    """uint8 images (count, height, width, channels) in noise, and labels (count,), class after class."""
    random = np.random.default_rng(seed)
    labels = np.sort(np.arange(count) % classes)
    images = random.integers(0, 100, (count, height, width, channels), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[label % height, label % width] = 255
    return images, labels


def write_tree(root, classes=3, size=(8, 8), channels=3, **parts):
    """PNG files `<part>/<class>/<image>`; parts are numbers of images in all."""
    for seed, (part, count) in enumerate(parts.items()):
        for i, (image, label) in enumerate(zip(*pixels(count, classes, *size, channels, seed), strict=True)):
            folder = root / part / f"class{label}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0] if channels == 1 else image).save(folder / f"{i}.png")
    return root


def write_arrays(path, classes=3, size=(8, 8), channels=3, **parts):
    """An .npz file of images in sorted order; parts are numbers of images in all."""
    arrays = {}
    for seed, (part, count) in enumerate(parts.items()):
        arrays[f"{part}_images"], arrays[f"{part}_labels"] = pixels(count, classes, *size, channels, seed)
    np.savez(path, **arrays)
    return path
