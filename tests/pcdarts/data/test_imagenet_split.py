"""The split of ImageNet and its file."""

import os

import pytest

from pcdarts.data.imagenet_split import read_split, search_split, write_split


def touch_tree(folder, sizes):
    """Empty files: enough for what reads names alone."""
    for name, count in sizes.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            (folder / name / f"{name}_{i}.JPEG").touch()


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
    with pytest.raises(ValueError, match=r"holds 1 class \(b\) with fewer than 2 images, one for each part"):
        search_split(tmp_path)


def test_a_split_file_reads_as_it_was_written(tmp_path):
    split = [("alpha", "n1/b c.JPEG"), ("weights", "n1/a.JPEG"), ("weights", "n2/ü.JPEG")]
    write_split(tmp_path / "split.txt", split)
    lines = (tmp_path / "split.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("#") and lines[1:] == [f"{part} {image}" for part, image in split] == sorted(lines[1:])
    assert read_split(tmp_path / "split.txt") == split


def test_names_in_composed_and_in_decomposed_form_are_split_alike(tmp_path):
    touch_tree(tmp_path / "one", {"caf\xe9": 40})
    touch_tree(tmp_path / "two", {"cafe\u0301": 40})
    one, two = search_split(tmp_path / "one"), search_split(tmp_path / "two")
    assert {(part, image.replace("\xe9", "e\u0301")) for part, image in one} == set(two) and len(two) == 5


def test_a_split_file_holds_names_that_are_not_utf8_and_names_of_several_words(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    touch_tree(tmp_path / "tree", {name: 8, "b c\u2028d": 8})
    split = search_split(tmp_path / "tree")
    write_split(tmp_path / "split.txt", split)
    assert read_split(tmp_path / "split.txt") == split and ("weights", split[-1][1]) in split
    assert b"caf\xe9/caf\xe9_" in (tmp_path / "split.txt").read_bytes()


def test_a_split_file_of_an_editor_that_writes_a_byte_order_mark(tmp_path):
    text = "\ufeff# comment\r\nweights n1/a.png\r\nalpha n1/b.png\r\n"
    (tmp_path / "split.txt").write_bytes(text.encode())
    assert read_split(tmp_path / "split.txt") == [("weights", "n1/a.png"), ("alpha", "n1/b.png")]


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
