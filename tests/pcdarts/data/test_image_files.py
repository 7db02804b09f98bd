"""Lists of the images of a tree, and looks at all of them, which are remembered."""

import hashlib
import multiprocessing
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from pcdarts.data import image_files
from pcdarts.data.image_files import ImageFile, list_images, look_at

NOT_UTF8 = os.fsdecode(b"caf\xe9")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/pcdarts/images-1.sqlite"


@pytest.fixture
def decoded(monkeypatch):
    """Paths that were decoded, in this process."""
    paths, look = [], image_files._look
    monkeypatch.setattr(image_files, "_look", lambda folder, path: (paths.append(path), look(folder, path))[1])
    return paths


def paths_of(folder):
    return [path for paths in list_images(folder).images.values() for path in paths]


def fill(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_every_extension_of_an_image_counts_in_any_case(tmp_path):
    names = [f"a/{i}.{kind}" for i, kind in enumerate("jpg jpeg png ppm bmp pgm tif tiff webp gif JPG TiFf".split())]
    fill(tmp_path / "tree", *names, "a/x.heic", "a/y.HEIC", "a/z.tar.gz", "a/z", "b/0.png", "readme.txt")
    fill(
        tmp_path / "tree",
        "a/.hidden.png",
        "a/Thumbs.db",
        "a/.DS_Store",
        "a/desktop.ini",
        ".git/0.png",
        "__MACOSX/x.png",
    )
    fill(tmp_path / "tree", "a/more/0.png")
    tree = list_images(tmp_path / "tree")
    assert tree.images == {"a": sorted(names), "b": ["b/0.png"]}
    assert tree.left_out == {
        ".heic": 2,
        ".gz": 1,
        "without extension": 1,
        "folders in class folders": 1,
        "outside class folders": 1,
    }


def test_names_that_are_not_utf8(tmp_path):
    fill(tmp_path / "tree", f"{NOT_UTF8}/{NOT_UTF8}.png", "z/0.png")
    fill(tmp_path / "test", "z/0.png")
    train, test = list_images(tmp_path / "tree"), list_images(tmp_path / "test")
    assert train.images == {"z": ["z/0.png"], NOT_UTF8: [f"{NOT_UTF8}/{NOT_UTF8}.png"]}
    with pytest.raises(ValueError, match=r"tree holds 1 class \('caf\\udce9'\) not found in .*test;"):
        image_files.require_same_classes(train, test)
    with pytest.raises(ValueError, match=r"2 classes \('caf\\udce9', z\) with fewer than 2 images, one for each part"):
        image_files.require_images(train, 2)
    image_files.require_images(train, 1)


def test_a_look_tells_size_digest_and_whether_colors_occur(tree, tmp_path):
    Image.new("RGB", (3, 2), (5, 5, 5)).save(tmp_path / "gray.png")
    Image.new("RGB", (3, 2), (5, 5, 6)).save(tmp_path / "color.png")
    Image.fromarray(np.zeros((2, 3), np.uint16)).save(tmp_path / "deep.png")
    Image.new("RGB", (300, 200), (90, 90, 90)).save(tmp_path / "gray.jpg")
    Image.new("RGB", (300, 200), (90, 90, 99)).save(tmp_path / "color.jpg")
    names = ["gray.png", "color.png", "deep.png", "gray.jpg", "color.jpg"]
    looks = look_at(tmp_path, names)
    assert [look.path for look in looks] == names
    assert [(look.width, look.height) for look in looks] == [(3, 2)] * 3 + [(300, 200)] * 2
    assert [look.gray for look in looks] == [True, False, True, True, False]
    content = (tmp_path / "gray.png").read_bytes()
    assert looks[0] == ImageFile(
        "gray.png", len(content), hashlib.blake2b(content, digest_size=16).hexdigest(), 3, 2, True
    )
    tree_paths = paths_of(tree / "train")
    assert look_at(tree / "train", tree_paths, processes=2) == look_at(tree / "train", tree_paths)


@pytest.mark.parametrize("processes", [0, 2])
def test_progress_reaches_the_number_of_images(tree, processes):
    paths, progress = paths_of(tree / "train"), []
    look_at(tree / "train", paths, processes=processes, on_progress=lambda *state: progress.append(state))
    assert progress == [(done, 29) for done in range(30)]
    progress.clear()
    look_at(tree / "train", paths, processes=processes, on_progress=lambda *state: progress.append(state))
    assert progress == [(29, 29)]  # all remembered


def test_only_what_changed_is_decoded_again(tree, decoded, cache):
    folder, paths = tree / "train", paths_of(tree / "train")
    first = look_at(folder, paths)
    assert decoded == paths and cache.is_file()
    decoded.clear()
    assert look_at(folder, paths) == first and not decoded
    Image.new("L", (5, 4)).save(folder / paths[3])
    os.utime(folder / paths[7], ns=(0, 1))  # another time, the same content
    again = look_at(folder, paths)
    assert decoded == [paths[3], paths[7]]
    assert again[3] != first[3] and again[3].gray and [*again[:3], *again[4:]] == [*first[:3], *first[4:]]
    decoded.clear()
    time, content = os.stat(folder / paths[5]).st_mtime_ns, bytearray((folder / paths[5]).read_bytes())
    content[-1] ^= 1  # in the checksum of the last chunk, which Pillow does not read
    (folder / paths[5]).write_bytes(content)
    os.utime(folder / paths[5], ns=(time, time))
    changed = look_at(folder, paths)
    assert decoded == [paths[5]] and changed[5].digest != again[5].digest
    again = changed
    shutil.copytree(folder, tree / "copy")
    decoded.clear()
    assert look_at(tree / "copy", paths) == again and decoded == paths  # another folder


def test_names_that_are_not_utf8_are_remembered(tmp_path, decoded):
    (tmp_path / NOT_UTF8).mkdir()
    Image.new("L", (1, 1)).save(tmp_path / NOT_UTF8 / "0.png")
    first = look_at(tmp_path / NOT_UTF8, ["0.png"])
    second = look_at(tmp_path, [f"{NOT_UTF8}/0.png"])
    assert first[0][1:] == second[0][1:] and len(decoded) == 2
    assert look_at(tmp_path, [f"{NOT_UTF8}/0.png"]) == second and len(decoded) == 2


@pytest.mark.parametrize("processes", [0, 2])
def test_unreadable_files_are_named_and_looked_at_again(tree, processes):
    folder, paths = tree / "train", paths_of(tree / "train")
    good = look_at(folder, paths)
    content = [(folder / path).read_bytes() for path in paths[:4]]
    (folder / paths[0]).write_bytes(b"")
    with pytest.raises(ValueError, match=f"{paths[0]} cannot be read .not an image of a known format.; replace"):
        look_at(folder, paths, processes=processes)
    (folder / paths[1]).unlink()
    for path in paths[2:4]:
        (folder / path).write_bytes((folder / path).read_bytes()[:60])
    with pytest.raises(ValueError) as caught:
        look_at(folder, paths, processes=processes)
    message = str(caught.value)
    assert message.startswith(f"4 of 29 images cannot be read: {folder}/{paths[0]} (not an image of a known")
    assert f"{paths[1]} (No such file or directory), " in message and paths[2] in message
    assert paths[3] not in message and message.endswith(", ...; replace them or move them out of the tree")
    for path, whole in zip(paths, content, strict=False):
        (folder / path).write_bytes(whole)
    assert look_at(folder, paths, processes=processes) == good


def test_every_truncation_of_a_jpeg_is_seen(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for progressive in (False, True):
        Image.fromarray(pixels).save(tmp_path / "x.jpg", progressive=progressive)
        content = (tmp_path / "x.jpg").read_bytes()
        for end in [*range(0, len(content), 97), len(content) - 1]:
            (tmp_path / "x.jpg").write_bytes(content[:end])
            assert isinstance(image_files._look(tmp_path, "x.jpg"), image_files._Fault)


@pytest.mark.parametrize("kind", ["no folder", "damaged", "no home"])
def test_a_cache_that_cannot_be_used_is_done_without(tree, tmp_path, monkeypatch, kind, cache):
    if kind == "damaged":
        cache.parent.mkdir(parents=True)
        cache.write_bytes(b"no database" * 1000)
    elif kind == "no folder":
        monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(image_files.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    paths = paths_of(tree / "train")
    assert look_at(tree / "train", paths) == look_at(tree / "train", paths)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (7, 40)])
def test_jpeg_files_of_a_few_pixels(tmp_path, size):
    Image.new("RGB", size, (200, 0, 0)).save(tmp_path / "x.jpg")
    (look,) = look_at(tmp_path, ["x.jpg"])
    assert (look.width, look.height, look.gray) == (*size, False)


def test_no_process_outlives_an_interrupted_look(tree):
    def interrupt(done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        look_at(tree / "train", paths_of(tree / "train"), processes=2, on_progress=interrupt)
    assert caught.traceback and not multiprocessing.active_children()


def test_what_an_interrupted_look_has_seen_is_remembered(tree, decoded):
    paths = paths_of(tree / "train")

    def interrupt(done, total):
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        look_at(tree / "train", paths, on_progress=interrupt)
    assert decoded == paths[:10]
    look_at(tree / "train", paths)
    assert decoded == paths


def test_a_process_that_was_killed_is_told_from_a_damaged_file(tree, monkeypatch):
    monkeypatch.setattr(image_files, "_look", lambda folder, path: os._exit(9))
    monkeypatch.setattr(image_files, "partial", lambda function, folder: _exit)
    with pytest.raises(ValueError, match="a process was killed while it decoded .*n00/0.JPEG or a later image"):
        look_at(tree / "train", paths_of(tree / "train"), processes=1)


def _exit(path):
    os._exit(9)
