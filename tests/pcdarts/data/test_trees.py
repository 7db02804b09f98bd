"""ImageNet: the images of a search and of a retraining, and trees that cannot be used."""

from dataclasses import replace

import pytest
import torch

from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.data.batches import check_dataset, retrain_batches, search_batches
from pcdarts.data.imagenet_split import search_split
from pcdarts.data.sources import described

CPU = torch.device("cpu")


def test_search_batches_follow_the_built_in_split(tree):
    weights, alpha = search_batches(SearchConfig(dataset="imagenet", data_dir=str(tree)), CPU)
    assert (len(weights), len(alpha), weights.classes, weights.image_channels, weights.image_size) == (
        3,
        3,
        3,
        3,
        (224, 224),
    )
    images, labels = next(weights.epoch(8, torch.Generator().manual_seed(0)))
    assert images.shape == (3, 3, 224, 224) and sorted(labels.tolist()) == [0, 1, 2]


def test_search_batches_follow_a_split_file(tree):
    path = tree / "split.txt"
    path.write_text("alpha n02/0.JPEG\nalpha n01/0.JPEG\nweights n01/2.JPEG\n")
    config = SearchConfig(dataset="imagenet", data_dir=str(tree), split_file=str(path))
    weights, alpha = search_batches(config, CPU)
    assert (len(weights), len(alpha), weights.classes) == (1, 2, 2)
    assert next(alpha.in_order(5))[1].tolist() == [1, 0]
    path.write_text("".join(f"{part} n01/{i}{part}.png\n" for i in range(3) for part in ("weights", "alpha")))
    with pytest.raises(ValueError, match="6 images of .* n01/0alpha.png, n01/0weights.png, n01/1alpha.png, ...; corr"):
        search_batches(config, CPU)


def test_retrain_batches_hold_validation_images_that_no_search_saw(tree):
    config = RetrainConfig(dataset="imagenet", data_dir=str(tree), validation_portion=0.2)
    train, valid, test = retrain_batches(config, CPU)
    assert (len(train), len(valid), len(test), train.classes) == (29 - 6, 6, 6, 3)
    validation = {path for path, _ in valid._images}
    assert not validation & {path for path, _ in train._images}
    assert not validation & {path for _, path in search_split(tree / "train")}
    assert [label for _, label in valid._images] == [0, 0, 1, 1, 2, 2]
    train, valid, test = retrain_batches(replace(config, validation_portion=0.0), CPU)
    assert (len(train), valid, len(test)) == (29, None, 6)


def test_colors_are_jittered_only_in_a_retraining(tree):
    search = search_batches(SearchConfig(dataset="imagenet", data_dir=str(tree)), CPU)
    config = RetrainConfig(dataset="imagenet", data_dir=str(tree), validation_portion=0.2)
    for batches, jitter in zip(
        (*search, *retrain_batches(config, CPU)), (False, False, True, False, False), strict=True
    ):
        assert batches._jitter is jitter


def test_a_search_keeps_the_images_that_a_study_has_looked_at(tree, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tree / "cache"))
    bare = SearchConfig(dataset="imagenet", data_dir=str(tree))
    assert [batches._decoder.file for batches in search_batches(bare, CPU)] == [None, None]
    weights, alpha = search_batches(described(bare)[0], CPU)
    assert weights._decoder.file.path != alpha._decoder.file.path
    next(alpha.in_order(2))
    assert alpha._decoder.file.path.is_file() and not weights._decoder.file.path.exists()


def test_check_dataset(tree):
    (tree / "train/n00/readme.txt").unlink()
    expected = "imagenet: 3 classes, 3 x 224 x 224 pixels, 29 training and 6 test images, in {}; test images: val/"
    assert check_dataset(SearchConfig(dataset="imagenet", data_dir=str(tree))).summary.startswith(expected.format(tree))
    outer = tree.parent / "outer"
    outer.mkdir()
    (outer / "imagenet").symlink_to(tree)
    found = check_dataset(SearchConfig(dataset="imagenet", data_dir=str(outer))).summary
    assert found.startswith(expected.format(outer / "imagenet"))


def test_trees_that_cannot_be_used(tmp_path):
    def add(path):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()

    with pytest.raises(ValueError, match="imagenet not found: looked for train/<class>/<image> in .*\n.*image-net.org"):
        check_dataset(SearchConfig(dataset="imagenet", data_dir=str(tmp_path)))
    for steps, text in (
        ([lambda: (tmp_path / "train").mkdir()], "train holds no class folders; set data_dir"),
        (
            [lambda: add("train/b/0.png"), lambda: (tmp_path / "train/a").mkdir()],
            r"train holds 1 class \(a\) without im",
        ),
        ([lambda: add("train/a/0.png")], "val holds no class folders; set data_dir"),
        (
            [lambda: add("val/c/0.png")],
            r"train holds 2 classes \(a, b\) not found in .*val; use the same class folders",
        ),
        ([lambda: add("val/a/0.png"), lambda: add("val/b/0.png")], r"val holds 1 class \(c\) not found in .*train;"),
        ([lambda: add("train/c/0.png")], r"train holds 3 classes \(a, b, c\) with fewer than 2 images, one for each"),
        ([lambda: [add(f"train/{name}/1.png") for name in "abc"]], "9 of 9 images cannot be read: .*not an image"),
    ):
        for step in steps:
            step()
        with pytest.raises(ValueError, match=text) as caught:
            check_dataset(SearchConfig(dataset="imagenet", data_dir=str(tmp_path)))
        assert "\n" not in str(caught.value)


def test_files_that_are_left_out_are_counted(tree):
    (tree / "train/n00/readme.txt").unlink()
    for name in ("a.HEIC", "b.heic", "notes", "Thumbs.db", ".DS_Store"):
        (tree / "val/n01" / name).touch()
    (tree / "val/n01/more").mkdir()
    (tree / "val/__MACOSX").mkdir()
    summary = check_dataset(SearchConfig(dataset="imagenet", data_dir=str(tree))).summary
    assert "; test images: val/, the official validation set; " in summary
    assert summary.endswith("; 4 files left out: .heic 2, folders in class folders 1, without extension 1")


def test_names_in_composed_and_in_decomposed_form_are_one_class(tree):
    """Archives of macOS hold decomposed names: é as e and an accent."""
    (tree / "train/n01").rename(tree / "train/caf\xe9")
    (tree / "val/n01").rename(tree / "val/cafe\u0301")
    split = tree / "split.txt"
    split.write_text("weights n02/0.JPEG\nalpha cafe\u0301/0.JPEG\n")
    train, _, test = retrain_batches(RetrainConfig(dataset="imagenet", data_dir=str(tree)), CPU)
    assert {label: path.split("/")[1] for path, label in test._images} == {0: "cafe\u0301", 1: "n00", 2: "n02"}
    assert {label: path.split("/")[1] for path, label in train._images} == {0: "caf\xe9", 1: "n00", 2: "n02"}
    _, alpha = search_batches(SearchConfig(dataset="imagenet", data_dir=str(tree), split_file=str(split)), CPU)
    assert alpha._images == [("train/caf\xe9/0.JPEG", 0)] and len(next(alpha.in_order(1))[1]) == 1
    (tree / "val/n00").rename(tree / "val/caf\xe9")
    with pytest.raises(ValueError, match=r"val holds 'cafe.u0301' and 'caf.xe9', names that look the same; merge"):
        check_dataset(SearchConfig(dataset="imagenet", data_dir=str(tree)))
