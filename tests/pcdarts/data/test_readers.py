"""Readers of the official formats, and damaged or dangerous files."""

import gzip
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.data.batches import check_dataset, retrain_batches, search_batches
from pcdarts.data.datasets import DATASETS
from pcdarts.data.readers import read_images
from pcdarts.data.sources import load
from tests.pcdarts.data.official_files import idx, write_cifar, write_fashion, write_svhn

CPU = torch.device("cpu")
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
DATASET_FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}


def pixels(batches, size=1000):
    return torch.cat([images for images, _ in batches.in_order(size)])


@pytest.mark.parametrize("folder", ["FashionMNIST/raw", "fashion-mnist", "."])
@pytest.mark.parametrize("pack", [False, True])
def test_fashion_mnist_from_idx_files(tmp_path, folder, pack):
    root = tmp_path / "data"
    write_fashion(root / folder, pack)
    weights, alpha = search_batches(SearchConfig(dataset="fashion-mnist", data_dir=str(root)), CPU)
    assert (len(weights), len(alpha)) == (10, 10)
    first = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    shown = pixels(weights)[:, 0] * 0.3530 + 0.2860
    torch.testing.assert_close(shown, torch.from_numpy(first[:10]) / 255)
    assert (
        "10 classes, 1 x 28 x 28 pixels, 20 training and 10 test images"
        in check_dataset(SearchConfig(dataset="fashion-mnist", data_dir=str(root))).summary
    )


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_cifar_from_pickled_batches(tmp_path, name, classes):
    folder = tmp_path / DATASET_FOLDERS[name]
    names = write_cifar(folder, classes)
    images = torch.cat([torch.tensor(pickle.loads((folder / n).read_bytes())["data"]) for n in names[:-1]])
    weights, alpha = search_batches(SearchConfig(dataset=name, data_dir=str(tmp_path)), CPU)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (DATASETS[name].mean, DATASETS[name].std))
    shown = torch.cat([pixels(weights), pixels(alpha)]) * std + mean  # stored order: first half, second half
    torch.testing.assert_close(shown, images.reshape(-1, 3, 32, 32) / 255)
    counts = f"{classes} classes, 3 x 32 x 32 pixels, {len(images)} training and {classes} test images"
    assert counts in check_dataset(SearchConfig(dataset=name, data_dir=str(tmp_path))).summary
    _, _, test = retrain_batches(RetrainConfig(dataset=name, data_dir=str(tmp_path)), CPU)
    assert len(test) == classes


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST/raw"), ("kmnist", "kmnist")])
def test_sets_of_the_mnist_family_are_told_apart_by_their_folders(tmp_path, name, folder):
    write_fashion(tmp_path / folder)
    data = load(SearchConfig(dataset=name, data_dir=str(tmp_path)), download=False)
    assert data.info == DATASETS[name] and data.train.images.shape == (20, 1, 28, 28) and not data.info.flip
    with pytest.raises(ValueError, match="fashion-mnist not found"):
        load(SearchConfig(dataset="fashion-mnist", data_dir=str(tmp_path)), download=False)


@pytest.mark.parametrize("folder", ["SVHN", "."])
def test_svhn_from_matlab_files(tmp_path, folder):
    stored = write_svhn(tmp_path / folder)
    train, test = load(SearchConfig(dataset="svhn", data_dir=str(tmp_path)), download=False)[1:]
    assert train.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2] and len(test.labels) == 12  # 10 means 0
    assert torch.equal(train.images[5], torch.tensor(stored[..., 5]).permute(2, 0, 1))
    (tmp_path / folder / "test_32x32.mat").write_bytes(b"MATLAB")
    with pytest.raises(ValueError, match="test_32x32.mat is not an SVHN file"):
        load(SearchConfig(dataset="svhn", data_dir=str(tmp_path)), download=False)


class Malicious:
    def __reduce__(self):
        return os.system, ("touch harmed",)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_would_run_code_is_refused(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    write_cifar(tmp_path / "cifar-10-batches-py", 10)
    path = tmp_path / "cifar-10-batches-py/data_batch_3"
    path.write_bytes(pickle.dumps({"data": Malicious()}, protocol=protocol))
    with pytest.raises(ValueError, match=r"data_batch_3 is not a CIFAR file \(it asks for (posix|nt)\.system\)"):
        search_batches(SearchConfig(data_dir=str(tmp_path)), CPU)
    assert not (tmp_path / "harmed").exists()


IMAGES = np.random.default_rng(1).integers(0, 256, (10, 3072), dtype=np.uint8)
FLOATS = (IMAGES / 255).astype(np.float32)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_pickles_of_every_protocol_and_of_both_names_of_numpy(tmp_path, protocol, core):
    content = pickle.dumps({"data": IMAGES, "labels": list(map(np.int64, range(10)))}, protocol=protocol)
    here = b"numpy._core" if b"numpy._core" in content else b"numpy.core"
    if protocol < 4:  # names are lines of text; later protocols count their characters
        content = content.replace(here, core)
    assert stored(tmp_path, content) == (IMAGES.tolist(), list(range(10)))


@pytest.mark.parametrize(
    "content",
    [
        {"data": IMAGES, "labels": np.arange(10)},
        {"data": IMAGES, "labels": np.arange(10, dtype=np.uint8)},
        {"data": IMAGES, "labels": list(range(10)), "batch_label": "one", "filenames": ["a"] * 10},
        {b"data": IMAGES, b"labels": list(range(10))},
        {"data": IMAGES.reshape(10, 3, 32, 32), "labels": list(range(10))},
        {"data": np.asfortranarray(IMAGES), "labels": list(range(10))},
        {"data": IMAGES.astype(np.int64), "labels": list(range(10))},
        {"data": IMAGES.astype(np.float64), "labels": list(range(10))},
        {"data": FLOATS, "labels": list(range(10))},
    ],
)
def test_images_and_labels_in_any_type_that_holds_them(tmp_path, content):
    assert stored(tmp_path, pickle.dumps(content, protocol=5)) == (IMAGES.tolist(), list(range(10)))


def stored(folder, content):
    """Pixels and labels of a CIFAR-10 file."""
    (folder / "data_batch_1").write_bytes(content)
    images, labels = read_images([folder / "data_batch_1"], DATASETS["cifar10"])
    assert images.dtype == torch.uint8 and labels.dtype == torch.int64
    return images.reshape(-1, 3072).tolist(), labels.tolist()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"data": FLOATS - 0.5, "labels": [0]}, r"is not a CIFAR file \(float32 values from -0.5 to 0.5 are neither"),
        (
            {"data": IMAGES + np.uint16(9), "labels": [0]},
            r"is not a CIFAR file \(uint16 values from 9 to 264 are neith",
        ),
        ({"data": IMAGES}, r"is not a CIFAR file \(it has no 'fine_labels'\)"),
        ({"labels": [0]}, r"is not a CIFAR file \(it has no 'data'\)"),
        (
            {"data": IMAGES, "labels": [0.5] * 10},
            r"is not .* \(labels are of float64 and shape \(10,\), but must be a l",
        ),
        (
            {"data": IMAGES, "labels": [[0]] * 10},
            r"is not .* \(labels are of int64 and shape \(10, 1\), but must be a l",
        ),
        ({"data": IMAGES, "labels": [0] * 9}, "does not hold cifar10: it has 10 images and 9 labels"),
        (
            {"data": IMAGES, "labels": [0] * 9 + [10]},
            "does not hold .*: its labels run from 0 to 10, but must be in 0 to 9",
        ),
        (
            {"data": IMAGES, "labels": [0] * 9 + [-1]},
            "does not hold cifar10: its labels run from -1 to 0, but must be in",
        ),
        (
            {"data": IMAGES.reshape(10, 32, 32, 3), "labels": [0] * 10},
            r"does not hold cifar10: its images are of \(32, 32, 3\), but must be of \(3, 32, 32\)",
        ),
        ({"data": IMAGES[:, :75], "labels": [0] * 10}, "is not a CIFAR file .cannot reshape"),
    ],
)
def test_files_that_hold_something_else_are_named_with_what_they_hold(tmp_path, content, text):
    with pytest.raises(ValueError, match=f"data_batch_1 {text}") as caught:
        stored(tmp_path, pickle.dumps(content))
    assert str(caught.value).endswith("; move it away and download it again")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        pickle.dumps([]),
        pickle.dumps({"data": np.zeros((2, 3072), np.uint8)}),
        pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 10]}),
        pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}),
        pickle.dumps({"data": np.zeros((2, 5), np.uint8), "labels": [0, 1]}),
    ],
)
def test_damaged_cifar_files_are_named(tmp_path, content):
    write_cifar(tmp_path / "cifar-10-batches-py", 10)
    (tmp_path / "cifar-10-batches-py/test_batch").write_bytes(content)
    with pytest.raises(ValueError, match="test_batch .*download it again"):
        check_dataset(SearchConfig(dataset="cifar10", data_dir=str(tmp_path)))


@pytest.mark.parametrize(
    "content", [b"", b"\0\0\x08\x03", idx(np.zeros(3, np.uint8))[:-1], gzip.compress(b"abc", mtime=0)[:-9]]
)
def test_damaged_idx_files_are_named(tmp_path, content):
    write_fashion(tmp_path / "fashion-mnist", pack=content[:2] == b"\x1f\x8b")
    (path,) = (tmp_path / "fashion-mnist").glob("t10k-images*")
    path.write_bytes(content)
    with pytest.raises(ValueError, match="t10k-images-idx3-ubyte.*; move it away and download it again"):
        check_dataset(SearchConfig(dataset="fashion-mnist", data_dir=str(tmp_path)))


def test_idx_files_that_do_not_belong_together_are_refused(tmp_path):
    write_fashion(tmp_path / "fashion-mnist")
    (tmp_path / "fashion-mnist/train-labels-idx1-ubyte").write_bytes(idx(np.zeros(19, np.uint8)))
    with pytest.raises(ValueError, match="train-images-idx3-ubyte does not hold fashion-mnist"):
        search_batches(SearchConfig(dataset="fashion-mnist", data_dir=str(tmp_path)), CPU)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason=f"{DEBIAN} (Debian package dataset-fashion-mnist) is not installed")
def test_real_fashion_mnist(tmp_path, monkeypatch):
    write = tmp_path / "data"
    write.mkdir()
    (write / "fashion-mnist").symlink_to(DEBIAN)
    weights, alpha = search_batches(SearchConfig(dataset="fashion-mnist", data_dir=str(write)), CPU)
    assert (len(weights), len(alpha)) == (30000, 30000)
    images, labels = next(weights.in_order(30000))
    assert abs(float(images.mean())) < 0.01 and abs(float(images.std()) - 1) < 0.01
    assert labels[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    counts = "60000 training and 10000 test images"
    assert counts in check_dataset(SearchConfig(dataset="fashion-mnist", data_dir=str(write))).summary
