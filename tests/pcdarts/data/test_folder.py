"""Own images in folder trees: values, order, the test part, and trees that are refused in one line."""

import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.data import datasets, folder, sources
from pcdarts.data.batches import check_dataset, retrain_batches, search_batches
from pcdarts.data.datasets import DATASETS, fits_memory
from pcdarts.data.sources import described, load
from pcdarts.search import search
from pcdarts.training.checkpoint import CheckpointFile
from tests.pcdarts.data.own_images import pixels, write_tree

CPU = torch.device("cpu")


def config(tree, of=SearchConfig, **changes):
    return described(of(dataset="folder", data_dir=str(tree), **changes))[0]


def test_images_keep_their_values_and_labels_in_a_balanced_order(tmp_path):
    data = load(config(write_tree(tmp_path, classes=7, train=70, val=14)))
    images, labels = pixels(70, 7, 8, 8, 3)
    stored = {image.transpose(2, 0, 1).tobytes(): label for image, label in zip(images, labels, strict=True)}
    assert {image.numpy().tobytes(): label for image, label in zip(*data.train, strict=True)} == stored
    for count in (7, 35, 63):
        assert data.train.labels[:count].bincount().tolist() == [count // 7] * 7
    np.testing.assert_allclose(data.info.mean, images.mean(axis=(0, 1, 2)) / 255, rtol=1e-12)
    np.testing.assert_allclose(data.info.std, images.std(axis=(0, 1, 2)) / 255, rtol=1e-12)
    assert data.info.class_names == tuple(f"class{i}" for i in range(7)) and len(data.test.labels) == 14


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_gray_images_have_one_channel_whatever_their_mode(tmp_path, mode):
    write_tree(tmp_path, size=(28, 20), channels=1, train=30, test=6)
    for path in tmp_path.rglob("*.png"):
        Image.open(path).convert(mode).save(path)
    found, description = described(RetrainConfig(dataset="folder", data_dir=str(tmp_path)))
    assert (found.classes, found.image_channels, found.image_height, found.image_width) == (3, 1, 28, 20)
    images = pixels(30, 3, 28, 20, 1)[0]
    assert {i.numpy().tobytes() for i in load(found).train.images} == {image.tobytes() for image in images}
    assert description.fingerprint.startswith("30+6 images, 1x28x20, ")


def test_one_image_in_color_makes_all_of_them_color(tmp_path):
    write_tree(tmp_path, channels=1, train=30, test=6)
    Image.new("RGB", (8, 8), (9, 8, 7)).save(tmp_path / "test/class0/0.png")
    data = load(config(tmp_path))
    assert data.test.images.shape == (6, 3, 8, 8)
    assert torch.equal(data.train.images[:, 0], data.train.images[:, 2])


def test_images_of_several_sizes_need_a_size(tmp_path):
    write_tree(tmp_path, size=(12, 9), train=30, test=6)
    Image.new("RGB", (40, 30), "white").save(tmp_path / "test/class1/large.png")
    Image.new("RGB", (5, 4)).save(tmp_path / "train/class1/small.png")
    with pytest.raises(ValueError) as caught:
        config(tmp_path)
    assert str(caught.value) == (
        f"the images in {tmp_path} have 3 sizes, from 5 x 4 pixels (train/class1/small.png) to 40 x 30 "
        "(test/class1/large.png); set image_size, such as 64, to resize all of them"
    )
    data = load(config(tmp_path, image_size=6))
    assert data.train.images.shape == (31, 3, 6, 6)
    assert data.test.images.flatten(1).min(dim=1).values.max() == 255  # the white image has no border
    assert "31+7 images, 3 channels of several sizes" in config(tmp_path, image_size=6).data_fingerprint


def test_test_images_are_in_test_else_in_val_else_a_fifth(tmp_path):
    write_tree(tmp_path, train=31, val=6, test=9)

    def description():
        return described(SearchConfig(dataset="folder", data_dir=str(tmp_path)))[1]

    assert (description().test_images, description().test_part) == ((3, 3, 3), "test/ (val/ is not used)")
    assert "test images: test/ (val/ is not used)" in check_dataset(config(tmp_path)).summary
    shutil.rmtree(tmp_path / "test")
    assert (description().test_images, description().test_part) == ((2, 2, 2), "val/")
    shutil.rmtree(tmp_path / "val")
    found = description()
    assert (found.train_images, found.test_images) == ((9, 8, 8), (2, 2, 2))
    assert found.split_off == (
        "class0/8.png",
        "class0/4.png",
        "class1/15.png",
        "class1/14.png",
        "class2/22.png",
        "class2/23.png",
    )
    assert "a fifth of every class in train/" in found.test_part


def test_files_that_are_no_images_are_counted(tmp_path):
    write_tree(tmp_path, train=30, test=6)
    for name in ("a.heic", "b.HEIC", "c.txt"):
        (tmp_path / "train/class0" / name).touch()
    assert check_dataset(SearchConfig(dataset="folder", data_dir=str(tmp_path))).summary == (
        f"folder: 3 classes, 3 x 8 x 8 pixels, 30 training and 6 test images, in {tmp_path}; test images: test/; "
        "3 files left out: .heic 2, .txt 1"
    )


def test_test_images_that_are_training_images_are_named(tmp_path):
    write_tree(tmp_path, train=30, test=6)
    assert "copies" not in check_dataset(config(tmp_path)).summary
    shutil.copy(tmp_path / "train/class2/25.png", tmp_path / "test/class1/new.png")
    found, description = described(SearchConfig(dataset="folder", data_dir=str(tmp_path)))
    assert description.in_both == ("test/class1/new.png",)
    assert "test/; 1 of them is a copy of a training image (test/class1/new.png): keep" in check_dataset(found).summary
    shutil.rmtree(tmp_path / "test")
    for i in range(10):
        shutil.copy(tmp_path / f"train/class0/{i}.png", tmp_path / f"train/class0/copy{i}.png")
    found, description = described(SearchConfig(dataset="folder", data_dir=str(tmp_path)))
    off = {path for path in description.split_off if path.startswith("class0")}
    twins = {path: path.replace("copy", "") if "copy" in path else path.replace("/", "/copy") for path in off}
    assert set(description.in_both) == {f"train/{path}" for path, twin in twins.items() if twin not in off} != set()
    assert (
        f"{len(description.in_both)} of them are copies of training images (train/class0"
        in check_dataset(found).summary
    )


def test_trees_that_cannot_be_used_are_refused_in_one_line(tmp_path):
    def refusal(**changes):
        with pytest.raises(ValueError) as caught:
            check_dataset(SearchConfig(dataset="folder", data_dir=str(tmp_path), **changes))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert refusal().endswith(f"sort the images into {tmp_path}/train/<class>/<image>, or set data_dir")
    write_tree(tmp_path, train=30, test=6)
    assert "no images for alpha" in refusal(train_portion=0.95) and "no images for the weights" in refusal(max_images=4)
    (tmp_path / "test/class2").rename(tmp_path / "test/other")
    assert "class2" in refusal()
    (tmp_path / "test/other").rename(tmp_path / "test/class2")
    (tmp_path / "train/class1/11.png").write_bytes(b"none")
    assert "class1/11.png cannot be read" in refusal()
    (tmp_path / "train/class1/11.png").unlink()
    (tmp_path / "train/empty").mkdir()
    assert "1 class (empty) without images" in refusal()


def test_folders_that_are_no_trees_are_refused(tmp_path):
    write_tree(tmp_path, train=30)
    for place, text in {
        tmp_path / "trian": "trian does not exist; set data_dir to the folder that holds train/<class>/<image>",
        tmp_path / "train/class0/0.png": "0.png is a file; use --dataset arrays, or set data_dir to a folder",
        tmp_path / "train": f"data_dir is {tmp_path}/train, but must hold train; set it to {tmp_path}",
        tmp_path / "train/class0": f"class0 holds no folder train; sort the images into {tmp_path}/train/class0/train/",
    }.items():
        with pytest.raises(ValueError, match=re.escape(text)):
            check_dataset(SearchConfig(dataset="folder", data_dir=str(place)))


def test_the_fingerprint_is_that_of_contents_and_classes_not_of_names(tmp_path):
    first = write_tree(tmp_path / "a", train=30, test=6)
    shutil.copytree(first, tmp_path / "b")
    found = config(first)
    assert (
        config(tmp_path / "b").data_fingerprint
        == found.data_fingerprint
        == config(first, image_size=4).data_fingerprint
    )
    for label in range(3):
        (tmp_path / f"b/train/class{label}").rename(tmp_path / f"b/train/other{label}")
        (tmp_path / f"b/test/class{label}").rename(tmp_path / f"b/test/other{label}")
    Image.new("RGB", (8, 8)).save(first / "train/class1/11.png")
    with pytest.raises(ValueError, match="folder in .*a holds 30.6 images, 3x8x8, .* but the study began with 30.6"):
        load(found)


def test_any_number_of_processes_decodes_the_same(tmp_path):
    tree = write_tree(tmp_path, size=(3, 2), train=520, test=6)
    one, three = (load(config(tree, threads=threads, image_size=4)) for threads in (1, 3))
    assert one.info == three.info and all(map(torch.equal, one.train, three.train))


class Interrupted(Exception):
    pass


def assert_resumes(found, path):
    """A search that is interrupted after its first epoch ends like one that is not."""
    whole = search(found)

    def interrupt(record):
        raise Interrupted

    file = CheckpointFile(path)
    with pytest.raises(Interrupted):
        search(found, checkpoint=file, on_epoch=interrupt)
    resumed = search(found, checkpoint=file)
    assert resumed.genotype == whole.genotype and resumed.valid_loss == whole.valid_loss


SMALL = {"channels": 2, "layers": 3, "k": 1, "epochs": 2, "warmup_epochs": 0, "batch_size": 9, "eigenvalue_every": 0}


def test_a_search_resumes_to_equal_results(tmp_path):
    assert_resumes(
        config(write_tree(tmp_path / "tree", size=(4, 4), train=18, test=3), **SMALL), tmp_path / "search.pt"
    )


# Trees that do not fit into memory


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A tree that is larger than the limit, which is lowered."""
    for module in (datasets, folder, sources):
        monkeypatch.setattr(module, "MEMORY_LIMIT", 1000)
    return write_tree(tmp_path, channels=1, train=60, test=6)


def test_larger_trees_are_read_in_batches(large):
    found, description = described(SearchConfig(dataset="folder", data_dir=str(large), train_portion=0.7))
    assert not fits_memory(found) and not description.in_memory and found.image_channels == 3
    assert (description.crop_padding, description.flip) == (0, True)
    assert description.mean == DATASETS["imagenet"].mean and description.train_images == (20, 20, 20)
    with pytest.raises(ValueError, match="take more than 1000 bytes"):
        load(found)
    weights, alpha = search_batches(found, CPU)
    assert [labels.bincount().tolist() for part in (weights, alpha) for _, labels in part.in_order(99)] == [
        [14, 14, 14],
        [6, 6, 6],
    ]
    assert next(weights.epoch(4, torch.Generator()))[0].shape == (4, 3, 8, 8)
    assert not {path for path, _ in weights._images} & {path for path, _ in alpha._images}
    assert check_dataset(found).summary.startswith("folder: 3 classes, 3 x 8 x 8 pixels, 60 training and 6 test images")


def test_every_split_of_larger_trees_is_checked(large):
    search, recipe = (kind(dataset="folder", data_dir=str(large)) for kind in (SearchConfig, RetrainConfig))
    assert check_dataset(search, recipe).train_images == (20, 20, 20)
    with pytest.raises(ValueError, match="validation_portion is 0.99, but must leave images of every class"):
        check_dataset(search, recipe, replace(recipe, validation_portion=0.99))


def test_larger_trees_are_limited_and_validated_class_by_class(large):
    found = config(large, RetrainConfig, max_images=30, validation_portion=0.2, flip="off")
    train, valid, test = retrain_batches(found, CPU)
    assert [len(part) for part in (train, valid, test)] == [24, 6, 6]
    assert [label for _, label in valid._images] == [0, 0, 1, 1, 2, 2]
    assert not train._decoder.flip
    everything, _, _ = retrain_batches(replace(found, max_images=0, validation_portion=0.0), CPU)
    assert {path for path, _ in train._images} < {path for path, _ in everything._images} and len(everything) == 60
    with pytest.raises(ValueError, match="train_portion is 0.01, but must leave images of every class on both sides"):
        search_batches(config(large, train_portion=0.01), CPU)


def test_a_search_in_a_larger_tree_resumes_to_equal_results(large, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert_resumes(config(large, **SMALL), tmp_path / "search.pt")
    assert len(list((tmp_path / "cache/pcdarts").glob("*.squares"))) == 2


def test_names_count_where_images_are_chosen_by_them(large):
    before = config(large).data_fingerprint
    (large / "train/class0/0.png").rename(large / "train/class0/renamed.png")
    assert config(large).data_fingerprint != before


def test_names_that_are_not_utf8_are_read_and_can_be_printed(tmp_path):
    write_tree(tmp_path, train=30, test=6)
    name = os.fsdecode(b"caf\xe9")
    for part in ("train", "test"):
        (tmp_path / part / "class1").rename(tmp_path / part / name)
    found, description = described(RetrainConfig(dataset="folder", data_dir=str(tmp_path)))
    assert description.classes == (name, "class0", "class2") and len(load(found).train.labels) == 30
    description.summary.encode()
    Image.new("RGB", (40, 30)).save(tmp_path / "train" / name / "large.png")
    with pytest.raises(ValueError, match=r"to 40 x 30 \('train/caf\\udce9/large.png'\); set image_size") as caught:
        described(RetrainConfig(dataset="folder", data_dir=str(tmp_path)))
    str(caught.value).encode()
