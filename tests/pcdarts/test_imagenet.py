"""ImageNet: the split and its file, batches from image files, and trees that cannot be used."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.data import check_dataset, retrain_batches, search_batches
from pcdarts.imagenet import FolderBatches, image_names, read_split, search_split, write_split
from pcdarts.sources import DATASETS

CPU = torch.device("cpu")
TINY = replace(DATASETS["imagenet"], classes=2, image_size=8)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def touch_tree(folder, sizes):
    """Empty files: enough for what reads names alone."""
    for name, count in sizes.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            (folder / name / f"{name}_{i}.JPEG").touch()


@pytest.fixture
def tree(tmp_path):
    """Three classes of 8, 9 and 10 training and 2 validation images, in one colour each, in several formats."""
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


# The split


def test_the_split_holds_exact_shares_of_every_class(tmp_path):
    touch_tree(tmp_path, {"a": 200, "b": 120, "c": 3})
    split = search_split(tmp_path)
    images = [image for _, image in split]
    assert len(set(images)) == len(images)  # disjoint
    for name, weights, alpha in (("a", 20, 5), ("b", 12, 3), ("c", 1, 1)):
        parts = [part for part, image in split if image.startswith(f"{name}/")]
        assert (parts.count("weights"), parts.count("alpha")) == (weights, alpha)
    assert split == sorted(split) == search_split(tmp_path)
    assert search_split(tmp_path, 0.5, 0.1) != split


def test_the_split_of_a_class_depends_on_no_other_class(tmp_path):
    touch_tree(tmp_path / "one", {"b": 40})
    touch_tree(tmp_path / "two", {"a": 30, "b": 40})
    assert search_split(tmp_path / "one") == [
        (part, image) for part, image in search_split(tmp_path / "two") if image.startswith("b/")
    ]


def test_a_split_of_fixed_names_never_changes(tmp_path):
    # Written out, so that a change that would make old searches irreproducible does not go unseen.
    touch_tree(tmp_path, {"n1": 20})
    assert search_split(tmp_path, 0.1, 0.1) == [
        ("alpha", "n1/n1_1.JPEG"),
        ("alpha", "n1/n1_13.JPEG"),
        ("weights", "n1/n1_16.JPEG"),
        ("weights", "n1/n1_18.JPEG"),
    ]


@pytest.mark.parametrize("shares", [(0.9, 0.2), (0.0, 0.1), (0.1, -0.1), (float("nan"), 0.1)])
def test_impossible_shares(tmp_path, shares):
    with pytest.raises(ValueError, match="shares are .* but must be above 0 and sum to at most 1"):
        search_split(tmp_path, *shares)


def test_a_class_that_is_too_small(tmp_path):
    touch_tree(tmp_path, {"a": 40, "b": 1})
    with pytest.raises(ValueError, match="class b has 1 images, but needs 2"):
        search_split(tmp_path)


def test_a_split_file_reads_as_it_was_written(tmp_path):
    split = [("alpha", "n1/b c.JPEG"), ("weights", "n1/a.JPEG"), ("weights", "n2/ü.JPEG")]
    write_split(tmp_path / "split.txt", split)
    lines = (tmp_path / "split.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("#") and lines[1:] == [f"{part} {image}" for part, image in split] == sorted(lines[1:])
    assert read_split(tmp_path / "split.txt") == split


@pytest.mark.parametrize(
    "line", ["train n1/x.png", "weights", "weights x.png", "weights n1/", "alpha ../x.png", "alpha n1/x/y.png"]
)
def test_malformed_lines_are_named_by_number(tmp_path, line):
    (tmp_path / "split.txt").write_text(f"# comment\n\nweights n1/a.png\n{line}\n")
    with pytest.raises(ValueError, match="split.txt, line 4: .* is not 'weights <class>/<image>'"):
        read_split(tmp_path / "split.txt")


def test_split_files_that_cannot_be_used(tmp_path):
    path = tmp_path / "split.txt"
    with pytest.raises(ValueError, match="split file .*split.txt cannot be read.*; set split_file"):
        read_split(path)
    path.write_text("weights n1/a.png\nalpha n1/a.png\n")
    with pytest.raises(ValueError, match="line 2: n1/a.png is listed twice"):
        read_split(path)
    path.write_text("weights n1/a.png\n")
    with pytest.raises(ValueError, match="must list images for both weights and alpha"):
        read_split(path)


# Batches


def folder_batches(tree, **changes):
    images = [(f"{name}/{image}", i) for i, (name, images) in enumerate(image_names(tree / "train").items())
              for image in images]  # fmt: skip
    return FolderBatches(tree / "train", images, TINY, device=CPU, **changes)


def drawn(batches, method="epoch", seed=0, count=6):
    result = list(islice(getattr(batches, method)(10, generator(seed)), count))
    return tuple(torch.cat(part) for part in zip(*result, strict=True))


def test_an_epoch_shows_every_image_once(tree):
    batches = folder_batches(tree)
    sizes = [(images.shape, len(labels)) for images, labels in batches.epoch(10, generator())]
    assert sizes == [((10, 3, 8, 8), 10), ((10, 3, 8, 8), 10), ((9, 3, 8, 8), 9)] and len(batches) == 29
    images, labels = drawn(batches)
    assert images.dtype == torch.float32 and labels.dtype == torch.int64
    assert labels.bincount().tolist() == [10, 9, 10]


def test_in_order_shows_the_centre_normalized(tree):
    (images, labels), *_ = folder_batches(tree).in_order(29)
    assert labels.tolist() == [0] * 10 + [1] * 9 + [2] * 10
    grey = {i: 20 * i + 1 for i in range(1, 9, 2)}  # the PNG files of the second class, which lose nothing
    names = image_names(tree / "train")["n01"]
    for i, value in grey.items():
        expected = (value / 255 - torch.tensor(TINY.mean)) / torch.tensor(TINY.std)
        torch.testing.assert_close(images[10 + names.index(f"{i}.png")].mean(dim=(1, 2)), expected)


@pytest.mark.parametrize("method", ["epoch", "stream"])
def test_batches_depend_on_the_generator_alone(tree, method):
    state = torch.get_rng_state()
    images, labels = drawn(folder_batches(tree, cutout=4), method)
    for workers in (0, 2):
        again = drawn(folder_batches(tree, cutout=4, workers=workers), method)
        assert torch.equal(images, again[0]) and torch.equal(labels, again[1])
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(images, drawn(folder_batches(tree, cutout=4), method, seed=1)[0])


def test_a_stream_goes_on_in_a_new_order(tree):
    batches = folder_batches(tree, workers=2)
    images, labels = drawn(batches, "stream")
    assert labels[:29].bincount().tolist() == labels[29:].bincount().tolist() == [10, 9, 10]
    assert labels[:29].tolist() != labels[29:].tolist()


def test_what_a_stream_leaves_in_the_generator_does_not_depend_on_workers(tree):
    states = []
    for workers in (0, 2):
        numbers = generator()
        list(islice(folder_batches(tree, workers=workers).stream(10, numbers), 2))
        states.append(numbers.get_state())
    assert torch.equal(*states)


def test_processes_stay_from_pass_to_pass_and_pinned_memory_is_for_gpus(tree):
    batches = folder_batches(tree, workers=2)

    def processes():
        return [worker.pid for worker in batches._loader[1]._iterator._workers]

    list(batches.in_order(10))
    first = processes()
    list(batches.epoch(10, generator()))
    assert len(first) == 2 and processes() == first
    loader = batches._loader[1]
    assert loader.persistent_workers and not loader.pin_memory
    gpu = FolderBatches(tree / "train", [], TINY, device=torch.device("cuda"))  # nothing is moved there
    assert gpu._make_loader(None, persistent=False).pin_memory
    alone = folder_batches(tree)
    list(alone.in_order(10))
    assert not alone._loader[1].persistent_workers


def test_passes_that_overlap_do_not_disturb_each_other(tree):
    batches = folder_batches(tree, workers=1)
    stream = batches.stream(10, generator())
    first = [next(stream)]
    assert len(list(batches.in_order(10))) == 3
    first += islice(stream, 5)
    assert torch.equal(torch.cat([images for images, _ in first]), drawn(batches, "stream")[0])


def test_an_image_that_cannot_be_read_is_named(tree):
    (tree / "train/n01/3.png").write_bytes(b"none")
    with pytest.raises(ValueError, match="n01/3.png cannot be read"):
        list(folder_batches(tree).in_order(10))


# Configurations


def test_search_batches_follow_the_built_in_split(tree):
    weights, alpha = search_batches(SearchConfig(dataset="imagenet", data_dir=str(tree)), CPU)
    assert (len(weights), len(alpha), weights.classes, weights.image_channels, weights.image_size) == (3, 3, 3, 3, 224)
    images, labels = next(weights.epoch(8, generator()))
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


def test_check_dataset(tree):
    expected = f"imagenet: 3 classes, 3 x 224 x 224 pixels, in {tree}"
    assert check_dataset("imagenet", str(tree)) == expected
    (tree.parent / "outer").mkdir()
    (tree.parent / "outer/imagenet").symlink_to(tree)
    assert check_dataset("imagenet", str(tree.parent / "outer")) == f"{expected[: -len(str(tree))]}" + str(
        tree.parent / "outer/imagenet"
    )


def test_trees_that_cannot_be_used(tmp_path):
    with pytest.raises(ValueError, match="imagenet not found: looked for train/<class>/<image> in .*\n.*image-net.org"):
        check_dataset("imagenet", str(tmp_path))
    (tmp_path / "train/a").mkdir(parents=True)
    with pytest.raises(ValueError, match="val holds no class folders"):
        check_dataset("imagenet", str(tmp_path))
    (tmp_path / "val/b").mkdir(parents=True)
    with pytest.raises(ValueError, match="must hold the same class folders, but a, b .2 in all"):
        check_dataset("imagenet", str(tmp_path))
    (tmp_path / "val/b").rename(tmp_path / "val/a")
    with pytest.raises(ValueError, match="train/a holds no images"):
        check_dataset("imagenet", str(tmp_path))
    (tmp_path / "train/a/x.png").touch()
    with pytest.raises(ValueError, match="x.png cannot be read"):
        check_dataset("imagenet", str(tmp_path))
