"""The small data sets: what is built in, readers of the official formats, and what is said when files are missing."""

import dataclasses
import gzip
import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.data import dataset_files
from pcdarts.data.batches import check_dataset, retrain_batches, search_batches
from pcdarts.data.datasets import DATASETS
from pcdarts.data.sources import load, make_synthetic, stratified_order

CPU = torch.device("cpu")
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def pixels(batches, size=1000):
    return torch.cat([images for images, _ in batches.in_order(size)])


# Built in


def test_stratified_order():
    labels = torch.tensor([0] * 40 + [1] * 10 + [2] * 50)
    order = stratified_order(labels)
    assert order.sort().values.tolist() == list(range(100))
    assert torch.equal(order, stratified_order(labels))
    for count in (10, 20, 50, 90):
        shares = labels[order[:count]].bincount(minlength=3) - count * torch.tensor([0.4, 0.1, 0.5])
        assert shares.abs().max() <= 1
    assert order[:40].tolist() != sorted(order[:40].tolist())


def test_synthetic_images_can_be_learned():
    (images, labels), test = make_synthetic(320, seed=0), make_synthetic(80, seed=1)
    assert labels.bincount().tolist() == [80] * 4

    def features(images):  # variation down and across, in a linear model
        grey = images.float().mean(dim=1) / 255
        down, across = grey.mean(dim=2).std(dim=1), grey.mean(dim=1).std(dim=1)
        return torch.stack([down, across, grey.std(dim=(1, 2))], dim=1)

    centres = torch.stack([features(images)[labels == label].mean(dim=0) for label in range(4)])
    found = torch.cdist(features(test.images), centres).argmin(dim=1)
    assert (found == test.labels).double().mean() > 0.7


# Files


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.tobytes()


def write_fashion(folder, pack=False, train=20, test=10):
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = gzip.compress(idx(array)) if pack else idx(array)
            (folder / f"{part}-{name}-ubyte{'.gz' if pack else ''}").write_bytes(content)


def write_cifar(folder, classes):
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    names = ["train", "test"] if classes == 100 else [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for name in names:
        content = {
            "data": random.integers(0, 256, (classes, 3072), dtype=np.uint8),
            "fine_labels" if classes == 100 else "labels": list(range(classes)),
            "filenames": ["a.png"] * classes,
        }
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    return names


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No test may use the network, nor files that are installed on the machine."""

    def refuse(loader, root):
        raise OSError("no network")

    monkeypatch.setattr(dataset_files, "_download", refuse)
    files = dataset_files.FILES["fashion-mnist"]
    local = dataclasses.replace(files, folders=files.folders[:-1])
    monkeypatch.setitem(dataset_files.FILES, "fashion-mnist", local)


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
    assert "10 classes, 1 x 28 x 28 pixels, 10 test images" in check_dataset("fashion-mnist", str(root))


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_cifar_from_pickled_batches(tmp_path, name, classes):
    folder = tmp_path / DATASET_FOLDERS[name]
    names = write_cifar(folder, classes)
    images = torch.cat([torch.tensor(pickle.loads((folder / n).read_bytes())["data"]) for n in names[:-1]])
    weights, alpha = search_batches(SearchConfig(dataset=name, data_dir=str(tmp_path)), CPU)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (DATASETS[name].mean, DATASETS[name].std))
    shown = torch.cat([pixels(weights), pixels(alpha)]) * std + mean  # stored order: first half, second half
    torch.testing.assert_close(shown, images.reshape(-1, 3, 32, 32) / 255)
    assert f"{classes} classes, 3 x 32 x 32 pixels, {classes} test images" in check_dataset(name, str(tmp_path))
    _, _, test = retrain_batches(RetrainConfig(dataset=name, data_dir=str(tmp_path)), CPU)
    assert len(test) == classes


DATASET_FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}


class Malicious:
    def __reduce__(self):
        return os.system, ("touch harmed",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_run_code_is_refused(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    write_cifar(tmp_path / "cifar-10-batches-py", 10)
    path = tmp_path / "cifar-10-batches-py/data_batch_3"
    path.write_bytes(pickle.dumps({"data": Malicious()}, protocol=protocol))
    with pytest.raises(ValueError, match=r"data_batch_3 is not a CIFAR file \(it asks for (posix|nt)\.system\)"):
        search_batches(SearchConfig(data_dir=str(tmp_path)), CPU)
    assert not (tmp_path / "harmed").exists()


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
        check_dataset("cifar10", str(tmp_path))


@pytest.mark.parametrize(
    "content", [b"", b"\0\0\x08\x03", idx(np.zeros(3, np.uint8))[:-1], gzip.compress(b"abc", mtime=0)[:-9]]
)
def test_damaged_idx_files_are_named(tmp_path, content):
    write_fashion(tmp_path / "fashion-mnist", pack=content[:2] == b"\x1f\x8b")
    (path,) = (tmp_path / "fashion-mnist").glob("t10k-images*")
    path.write_bytes(content)
    with pytest.raises(ValueError, match="t10k-images-idx3-ubyte.* delete it and download it again"):
        check_dataset("fashion-mnist", str(tmp_path))


def test_idx_files_that_do_not_belong_together_are_refused(tmp_path):
    write_fashion(tmp_path / "fashion-mnist")
    (tmp_path / "fashion-mnist/train-labels-idx1-ubyte").write_bytes(idx(np.zeros(19, np.uint8)))
    with pytest.raises(ValueError, match="train-images-idx3-ubyte does not hold fashion-mnist"):
        search_batches(SearchConfig(dataset="fashion-mnist", data_dir=str(tmp_path)), CPU)


# Missing data


@pytest.mark.parametrize(
    ("name", "file", "folder", "page"),
    [
        ("cifar10", "data_batch_1", "cifar-10-batches-py", "https://www.cs.toronto.edu"),
        ("cifar100", "train", "cifar-100-python", "https://www.cs.toronto.edu"),
        ("fashion-mnist", "t10k-labels-idx1-ubyte", "FashionMNIST/raw", "https://github.com/zalando"),
    ],
)
def test_missing_files_are_named_with_what_to_do(tmp_path, name, file, folder, page):
    with pytest.raises(ValueError) as caught:
        check_dataset(name, str(tmp_path))
    message = str(caught.value)
    assert all(part in message for part in (file, str(tmp_path / folder), page)) and message.count("\n") == 1
    assert "download failed" not in message and not any(tmp_path.iterdir())
    for batches, config in ((search_batches, SearchConfig), (retrain_batches, RetrainConfig)):
        with pytest.raises(ValueError, match="the download failed: no network"):
            batches(config(dataset=name, data_dir=str(tmp_path)), CPU)
    assert [path.name for path in tmp_path.iterdir()] == [".download.lock"]


def test_a_folder_that_cannot_be_made_is_reported_too(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="download failed.*file"):
        search_batches(SearchConfig(data_dir=str(tmp_path / "file/data")), CPU)


def test_download_is_not_tried_when_it_is_not_allowed(tmp_path):
    with pytest.raises(ValueError, match=r"cifar10 not found.*[^;]*\n"):
        search_batches(SearchConfig(data_dir=str(tmp_path)), CPU, data=load("cifar10", str(tmp_path), download=False))
    assert not any(tmp_path.iterdir())


def _download_beside_others(data_dir, log):
    def download(loader, root):
        with open(log, "a") as file:
            file.write(f"{loader}\n")
        write_cifar(root / "cifar-10-batches-py", 10)

    dataset_files._download = download
    search_batches(SearchConfig(data_dir=data_dir), CPU)


def test_searches_that_start_at_once_download_once(tmp_path):
    context = multiprocessing.get_context("fork")
    arguments = (str(tmp_path / "data"), str(tmp_path / "log"))
    processes = [context.Process(target=_download_beside_others, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "log").read_text() == "CIFAR10\n"
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [".download.lock", "cifar-10-batches-py"]


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
    assert "10000 test images" in check_dataset("fashion-mnist", str(write))
