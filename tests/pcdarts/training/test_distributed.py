"""Several gloo workers train as one does: shared batches, batch norm over all of them, and going on with fewer."""

import dataclasses
import gzip
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from PIL import Image

from pcdarts.config import RetrainConfig
from pcdarts.genotype import PUBLISHED
from pcdarts.retrain import retrain
from pcdarts.training.checkpoint import CheckpointFile
from pcdarts.training.distributed import Workers

FASHION = Path("/usr/share/datasets/fashion-mnist")
CLASSES, TRAIN, VALIDATION = 3, 9, 3
TOLERANCE = 1e-7
"""Relative, of losses after six steps in double precision.  Workers add up in another order, and training multiplies
what is rounded: in single precision this network, on few and nearly black images, is some percent off by then."""


def folder_tree(root):
    """Fashion-MNIST images, or drawn ones where it is missing, as an ImageNet tree of three classes."""
    if FASHION.is_dir():
        count = 600
        with gzip.open(FASHION / "train-images-idx3-ubyte.gz") as file:
            images = np.frombuffer(file.read(16 + 784 * count), np.uint8, offset=16).reshape(-1, 28, 28)
        with gzip.open(FASHION / "train-labels-idx1-ubyte.gz") as file:
            labels = np.frombuffer(file.read(8 + count), np.uint8, offset=8)
    else:
        labels = np.arange(200, dtype=np.uint8) % 10
        images = np.random.default_rng(0).integers(0, 256, (200, 28, 28), dtype=np.uint8) // (labels[:, None, None] + 1)
    for label in range(CLASSES):
        for i, image in enumerate(images[labels == label][: TRAIN + VALIDATION]):
            folder = root / ("train" if i < TRAIN else "val") / f"n{label}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).resize((64, 64)).save(folder / f"{i}.png")


def make(root, **values):
    small = {"dataset": "imagenet", "data_dir": str(root), "stem": "imagenet", "channels": 8, "layers": 3, "epochs": 3}
    # 21 training images in batches of 10: the last image joins the second batch, whose halves differ in size.
    small |= {"batch_size": 10, "validation_portion": 0.25, "drop_path": 0.2, "cutout": 16, "device": "cpu"}
    return RetrainConfig(**(small | {"learning_rate": 0.05, "ema_decay": 0.9} | values))


@pytest.fixture(autouse=True)
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def worker(rank, count, port, config, path, output, kill_at):
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=count)

    def on_epoch(record):
        if record.epoch + 1 == kill_at and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)  # before its next epoch, which the other one may have begun

    result = retrain(PUBLISHED["PC_DARTS_image"], config, checkpoint=CheckpointFile(path), on_epoch=on_epoch)
    torch.save(dataclasses.asdict(result), f"{output}-{rank}")
    dist.destroy_process_group()


def free_port():
    store = dist.TCPStore("127.0.0.1", 0, is_master=True)
    return store.port


def train(tmp_path, name, config, count, kill_at=0):
    """Results of the workers; with `kill_at` one of them dies after so many epochs, and so do the others."""
    path, output = tmp_path / f"{name}.pt", tmp_path / f"{name}-{count}"
    if count == 1:
        result = retrain(PUBLISHED["PC_DARTS_image"], config, checkpoint=CheckpointFile(path))
        return [dataclasses.asdict(result)]
    context = mp.spawn(worker, (count, free_port(), config, path, output, kill_at), nprocs=count, join=False)
    try:
        while not context.join():
            pass
    except mp.ProcessExitedException:
        assert kill_at
        return []
    finally:
        for process in context.processes:
            process.kill()
    return [torch.load(f"{output}-{rank}") for rank in range(count)]


def assert_close(result, expected):
    for name in ("train_loss", "test_loss", "ema_test_loss"):
        assert math.isclose(result[name], expected[name], rel_tol=TOLERANCE), (name, result[name], expected[name])
    for name in ("valid_accuracy", "test_accuracy", "best_epoch", "ema_valid_accuracy", "test_images", "test_correct"):
        assert result[name] == expected[name], name


@pytest.mark.parametrize(("images", "count"), [(10, 2), (10, 3), (1, 2), (7, 7)])
def test_rows_are_disjoint_and_complete(images, count):
    rows = [i for rank in range(count) for i in range(images)[Workers(rank=rank, count=count).rows(images)]]
    assert rows == list(range(images))


@pytest.mark.parametrize(("images", "count"), [(10, 2), (7, 3), (1, 2)])
def test_rows_of_a_pass_are_those_of_its_batches(images, count):
    rows = [Workers(rank=rank, count=count).rows_of_pass(images, 4).tolist() for rank in range(count)]
    assert sorted(sum(rows, [])) == list(range(images))
    assert Workers(rank=1, count=2).rows_of_pass(10, 4).tolist() == [2, 3, 6, 7, 9]


@pytest.mark.slow
def test_two_workers_reach_the_loss_of_one(tmp_path):
    folder_tree(tmp_path)
    config = make(tmp_path, auxiliary_weight=0.4)
    (expected,) = train(tmp_path, "one", config, 1)
    first, second = train(tmp_path, "two", config, 2)
    assert_close(first, expected)
    assert {name: first[name] for name in ("train_loss", "test_loss", "ema_test_loss")} == {
        name: second[name] for name in ("train_loss", "test_loss", "ema_test_loss")
    }
    assert (first["workers"], expected["workers"]) == (2, 1)


@pytest.mark.slow
@pytest.mark.parametrize("count_after", [1, 2])
def test_a_killed_worker_costs_nothing_but_time(tmp_path, count_after):
    folder_tree(tmp_path)
    config = make(tmp_path)
    (expected,) = train(tmp_path, "whole", config, 1)
    assert train(tmp_path, "parts", config, 2, kill_at=2) == []
    saved = torch.load(tmp_path / "parts.pt")
    assert 1 <= len(saved["history"]) < config.epochs
    assert_close(train(tmp_path, "parts", config, count_after)[0], expected)
