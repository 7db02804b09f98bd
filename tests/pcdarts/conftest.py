"""What the tests share: few threads, and a tree of images."""

import numpy as np
import pytest
import torch
from PIL import Image

torch.set_num_threads(1)  # the shapes are tiny, and threads that wait for each other cost more than they bring


@pytest.fixture
def tree(tmp_path):
    """Three classes of 8, 9 and 10 training and 2 validation images, in one color each, in several formats."""
    for part, counts in (("train", (8, 9, 10)), ("val", (2, 2, 2))):
        for label, count in enumerate(counts):
            folder = tmp_path / part / f"n0{label}"
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = np.full((12 + i, 20, 3), 20 * i + label, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.{'png' if i % 2 else 'JPEG'}")
    Image.new("L", (20, 20)).save(tmp_path / "train/n00/grey.png")
    Image.new("CMYK", (20, 20)).save(tmp_path / "train/n00/cmyk.jpg")
    (tmp_path / "train/n00/.hidden.png").touch()
    (tmp_path / "train/n00/readme.txt").touch()
    (tmp_path / "train/.hidden").mkdir()
    return tmp_path
