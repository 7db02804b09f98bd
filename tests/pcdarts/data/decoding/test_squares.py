"""Squares of a search: the same images kept or not, one writer on a node, and no half file that is believed."""

import fcntl
import logging
import shutil
import threading
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from pcdarts.data.datasets import DATASETS
from pcdarts.data.decoding import squares
from pcdarts.data.decoding.squares import SquareDecoder, SquareFile
from pcdarts.data.folder_batches import FolderBatches
from pcdarts.data.image_files import list_images

CPU = torch.device("cpu")
TINY = replace(DATASETS["imagenet"], classes=3, image_size=(14, 14))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/pcdarts"


@pytest.fixture
def decodes(monkeypatch):
    """Paths of the images that were decoded in this process."""
    paths, decode = [], squares._Squares.decode
    monkeypatch.setattr(squares._Squares, "decode", lambda self, path: paths.append(path) or decode(self, path))
    return paths


def images_of(tree):
    classes = list_images(tree / "train").images.values()
    return [(path, label) for label, paths in enumerate(classes) for path in paths]


def batches(tree, info=TINY, **changes):
    given = {"device": CPU, "squares": True, "fingerprint": "these"} | changes
    return FolderBatches(tree / "train", images_of(tree), info, **given)


def drawn(some):
    generator = torch.Generator().manual_seed(0)
    parts = [*some.epoch(10, generator), *some.in_order(10)]
    return tuple(torch.cat(part) for part in zip(*parts, strict=True))


def files(cache):
    return sorted(path.name.rpartition(".")[2] for path in cache.iterdir())


def test_images_are_decoded_once_and_are_the_same_kept_or_not(tree, cache, decodes):
    images, labels = drawn(batches(tree, fingerprint=""))
    assert len(decodes) == 2 * 29 and not cache.exists()
    decodes.clear()
    for _ in range(2):
        kept = drawn(batches(tree))
        assert torch.equal(images, kept[0]) and torch.equal(labels, kept[1])
    assert len(decodes) == 29 and files(cache) == ["lock", "squares"]
    decodes.clear()
    other = drawn(batches(tree, workers=2, fingerprint="those"))  # decoded in other processes
    assert torch.equal(images, other[0]) and not decodes and files(cache) == ["lock", "lock", "squares", "squares"]


def test_two_readers_share_the_file(tree, decodes):
    first, second = batches(tree), batches(tree)
    one, other = first.epoch(10, torch.Generator().manual_seed(1)), second.epoch(10, torch.Generator().manual_seed(1))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(one, other, strict=True)) and len(decodes) == 29


def test_nothing_is_decoded_before_the_first_pass(tree, cache, decodes):
    batches(tree)
    assert not cache.exists() and not decodes


def test_other_images_sizes_or_orders_are_another_file(tree, cache):
    paths = [path for path, _ in images_of(tree)]
    names = {
        SquareDecoder(tree, *given).file.path.name
        for given in (
            (paths, TINY, "a"),
            (paths, TINY, "b"),
            (paths[::-1], TINY, "a"),
            (paths[1:], TINY, "a"),
            (paths, replace(TINY, image_size=(7, 7)), "a"),
            (paths, replace(TINY, image_channels=1), "a"),
        )
    }
    assert len(names) == 6 and SquareDecoder(tree, paths, TINY).file is None


def test_who_comes_while_another_decodes_waits_and_reads(tree, cache, decodes):
    paths = [path for path, _ in images_of(tree)]
    decoder = SquareDecoder(tree / "train", paths, TINY, "these")
    cache.mkdir(parents=True)
    with decoder.file.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = threading.Thread(target=decoder.prepare, args=(paths, 0))
        waiting.start()
        decoder.file.write([decoder.squares[paths]])
        assert len(decodes) == 29
    waiting.join()
    assert len(decodes) == 29 and decoder.file is not None


def test_a_writer_that_is_cut_off_leaves_no_file(tree, cache, decodes):
    (tree / "train/n02/3.png").write_bytes(b"none")
    for workers in (0, 1):
        with pytest.raises(ValueError, match=r"^[^\n]*n02/3.png cannot be read [^\n]*; replace it or move it out"):
            drawn(batches(tree, workers=workers))
        assert files(cache) == ["lock"]
    paths = [path for path, _ in images_of(tree)]
    file = SquareDecoder(tree / "train", paths, TINY, "these").file
    file.draft.write_bytes(bytes(file.bytes + 100))  # of a process that was killed
    shutil.copy(tree / "train/n02/1.png", tree / "train/n02/3.png")
    decodes.clear()
    drawn(batches(tree))
    assert len(decodes) == 29 and file.path.stat().st_size == file.bytes and files(cache) == ["lock", "squares"]


def test_a_disk_without_room_is_named_once_and_changes_no_image(tree, cache, monkeypatch, caplog):
    images, _ = drawn(batches(tree))
    shutil.rmtree(cache)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**30))
    caplog.set_level(logging.WARNING)
    caplog.clear()
    assert torch.equal(drawn(batches(tree))[0], images) and files(cache) == ["lock"]
    (line,) = caplog.messages
    assert "squares cannot be kept (1.1 GB are free): images are decoded in every epoch" in line
    assert line.endswith("free 1.1 GB there, or set XDG_CACHE_HOME to another folder")


@pytest.mark.parametrize("home", ["/proc/nowhere", None])
def test_without_a_cache_folder_images_are_decoded_in_every_pass(tree, home, monkeypatch):
    images, _ = drawn(batches(tree))
    if home:
        monkeypatch.setenv("XDG_CACHE_HOME", home)
    else:
        monkeypatch.setattr(squares, "cache_folder", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert torch.equal(drawn(batches(tree))[0], images)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_is_removed_later_changes_no_image(tree, cache, workers, decodes):
    some = batches(tree, workers=workers)
    images, _ = drawn(some)
    shutil.rmtree(cache)
    decodes.clear()
    assert torch.equal(drawn(some)[0], images) and not decodes and not cache.exists()


@pytest.mark.parametrize("workers", [1, 3])
def test_threads_change_no_image_whether_passes_overlap_or_are_abandoned(tree, workers):
    images, labels = drawn(batches(tree))
    some = batches(tree, workers=workers)
    streams = [some.stream(10, torch.Generator().manual_seed(1)) for _ in range(2)]
    for (one, _), (other, _) in islice(zip(*streams, strict=True), 5):
        assert torch.equal(one, other)
    again = drawn(some)
    assert torch.equal(images, again[0]) and torch.equal(labels, again[1])
    streams[0].close()
    assert torch.equal(
        next(streams[1])[0], next(islice(batches(tree).stream(10, torch.Generator().manual_seed(1)), 5, 6))[0]
    )


def test_a_square_is_the_whole_image_and_its_center_that_of_the_image(tmp_path):
    ramp = torch.arange(64, dtype=torch.uint8)[:, None, None].expand(64, 128, 3) * 2
    Image.fromarray(ramp.numpy()).save(tmp_path / "0.png")
    info = replace(TINY, image_size=(28, 28))
    size, square = SquareDecoder(tmp_path, ["0.png"], info).squares.decode("0.png")
    assert size == (64, 128) and square.shape == (3, 44, 44)
    rows = square[0, :, 0]
    torch.testing.assert_close(rows.float(), torch.arange(44) * 128 / 44, rtol=0, atol=2)
    assert torch.equal(square, rows[None, :, None].expand(3, 44, 44))
    batches = [
        FolderBatches(tmp_path, [("0.png", 0)], info, device=CPU, squares=squares).in_order(1)
        for squares in (True, False)
    ]
    ((found, _),), ((expected, _),) = batches
    torch.testing.assert_close(found, expected, rtol=0, atol=2 / 255 / min(TINY.std))


def test_a_file_is_read_as_it_was_written(tmp_path):
    file = SquareFile(tmp_path / "a", (3, 2, 2, 1))
    values = torch.arange(12, dtype=torch.uint8).reshape(3, 2, 2, 1)
    sizes = torch.tensor([[5, 6], [7, 8], [9, 10]], dtype=torch.int32)
    file.write([(sizes[:2], values[:2]), (sizes[2:], values[2:])])
    file.map()
    (size, square), (other, _) = file.read([2, 0])
    assert (size, other, square.tolist()) == ((9, 10), (5, 6), [[[8, 9], [10, 11]]])
    with pytest.raises(OSError):
        SquareFile(tmp_path / "b", (3, 2, 2, 1)).map()

    def cut_off():
        yield sizes[:2], values[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SquareFile(tmp_path / "b", (3, 2, 2, 1)).write(cut_off())
    assert [path.name for path in tmp_path.glob("b*")] == []
