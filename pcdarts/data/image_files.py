"""The image files of a folder tree `<class>/<image>`: list them, and find out whether all of them can be read.

What was found in a file is remembered by its path, size and time of change in `$XDG_CACHE_HOME/pcdarts`, so that a file
is decoded again only after a change.
"""

import hashlib
import os
import signal
import sqlite3
import unicodedata
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from functools import partial
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from pcdarts.data.pixels import REMEDY, SUFFIXES, eight_bit, quiet, reason, shown

_NOT_DATA = {"__macosx", "thumbs.db", "desktop.ini"}
"""Names that file managers leave behind, in lower case."""


class Tree(NamedTuple):
    """The images of a folder."""

    folder: Path
    images: dict[str, list[str]]
    """Paths below the folder, `<class folder>/<image>`, by class, both sorted; see `class_of`."""
    left_out: Counter[str]
    """Number of entries that are no images, by extension."""


class ImageFile(NamedTuple):
    """What one look at an image file has found."""

    path: str
    """Below the folder that was looked at."""
    bytes: int
    """Size of the file."""
    digest: str
    """BLAKE2b of the file's content, 32 hexadecimal digits."""
    width: int
    """Stored width, pixels."""
    height: int
    """Stored height, pixels."""
    gray: bool
    """Whether the channels are equal in every pixel, whatever the mode."""


def list_images(folder: Path) -> Tree:
    """List the images of a folder by class.  Hidden files and those of file managers are ignored.

    Raises ValueError without class folders, for classes without images, and for two folders of one class.
    """
    tree = Tree(folder, {}, Counter())
    folders: dict[str, str] = {}
    for entry in _entries(folder):
        if not entry.is_dir():
            tree.left_out["outside class folders"] += 1
            continue
        name = class_of(entry.name)
        if name in folders:
            raise ValueError(
                f"{shown(folder)} holds {ascii(folders[name])} and {ascii(entry.name)}, names that look the same; "
                "merge the two folders"
            )
        folders[name] = entry.name
        tree.images[name] = _images(Path(entry.path), tree.left_out)
    if not folders:
        raise ValueError(f"{shown(folder)} holds no class folders; set data_dir so that <class>/<image> exist in it")
    if empty := sorted(name for name, paths in tree.images.items() if not paths):
        raise ValueError(
            f"{shown(folder)} holds {_few(empty)} without images ({', '.join(sorted(SUFFIXES))}); "
            "add images, or move the folders out of the tree"
        )
    return tree._replace(images=dict(sorted(tree.images.items())))


def class_of(path: str) -> str:
    """The class of an image: its folder's name in composed form, as file systems store one name in several forms."""
    return normal(path.split("/")[0])


def normal(name: str) -> str:
    """A name in composed form (NFC)."""
    return unicodedata.normalize("NFC", name)


def require_same_classes(train: Tree, test: Tree) -> None:
    """Raise ValueError for classes that are in only one of the trees."""
    for one, other in ((train, test), (test, train)):
        if different := [name for name in one.images if name not in other.images]:
            raise ValueError(
                f"{shown(one.folder)} holds {_few(different)} not found in {shown(other.folder)}; "
                "use the same class folders in both"
            )


def require_images(tree: Tree, least: int) -> None:
    """Raise ValueError for classes that have fewer images than a split needs."""
    if small := [name for name, paths in tree.images.items() if len(paths) < least]:
        raise ValueError(
            f"{shown(tree.folder)} holds {_few(small)} with fewer than {least} images, one for each part of a split; "
            "add images, or move the folders out of the tree"
        )


def look_at(
    folder: Path,
    paths: Sequence[str],
    *,
    processes: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[ImageFile]:
    """Read and decode every image once, in this many processes (0: in this one), and remember what was found.

    `on_progress` is called with the number of images done and of all images.

    Raises ValueError that names the first unreadable files and their number.
    """
    cache = _Cache(folder)
    found = cache.unchanged(paths)
    new = [path for path in paths if path not in found]
    faults: list[_Fault] = []
    if on_progress:
        on_progress(len(found), len(paths))
    with closing(cache), closing(_looks(folder, new, processes)) as looks:
        for seen in looks:
            if isinstance(seen, _Fault):
                faults.append(seen)
            else:
                found[seen.file.path] = seen.file
                cache.add(seen)
            if on_progress:
                on_progress(len(found) + len(faults), len(paths))
    if len(faults) == 1:
        raise ValueError(f"{faults[0].file} cannot be read ({faults[0].reason}); {REMEDY}")
    if faults:
        named = ", ".join(f"{fault.file} ({fault.reason})" for fault in faults[:3])
        raise ValueError(
            f"{len(faults)} of {len(paths)} images cannot be read: {named}{', ...' * (len(faults) > 3)}; "
            "replace them or move them out of the tree"
        )
    return [found[path] for path in paths]


class _Seen(NamedTuple):
    """A file, and when it was changed for the last time: st_ctime, as rsync and cp -p set back st_mtime."""

    file: ImageFile
    changed: int


class _Fault(NamedTuple):
    """A file that cannot be read, as it is printed, and why."""

    file: str
    reason: str


def _looks(folder: Path, paths: Sequence[str], processes: int) -> Generator[_Seen | _Fault]:
    """What was seen of each image, in the order of the paths."""
    look = partial(_look, folder)
    if processes < 1 or len(paths) < 2:
        yield from map(look, paths)
        return
    # Forked, as a script that starts a study need not guard its main part.
    pool = ProcessPoolExecutor(processes, get_context("fork"), _leave_signals_to_the_parent)
    done = 0
    try:
        for seen in pool.map(look, paths, chunksize=32):
            yield seen
            done += 1
    except BrokenProcessPool as error:
        near = shown(folder / paths[done])
        raise ValueError(f"a process was killed while it decoded {near} or a later image; free memory") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_signals_to_the_parent() -> None:
    """Ignore Ctrl-C, and end at other signals without the parent's handlers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _look(folder: Path, path: str) -> _Seen | _Fault:
    file = folder / path
    try:
        changed, content = file.stat().st_ctime_ns, file.read_bytes()  # see `_Seen`
        with quiet(), Image.open(BytesIO(content)) as image:
            width, height = image.size
            image.draft(None, (max(1, width // 8), max(1, height // 8)))  # JPEG: all data are read, in half the time
            gray = _is_gray(eight_bit(image))
    except Exception as error:  # see `open_image`
        return _Fault(shown(file), reason(error))
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    return _Seen(ImageFile(path, len(content), digest, width, height, gray), changed)


def _is_gray(image: Image.Image) -> bool:
    if image.mode == "L":
        return True
    values = np.asarray(image)
    return all(np.array_equal(values[..., 0], values[..., channel]) for channel in (1, 2))


def cache_folder() -> Path:
    """The folder of what is remembered of images.

    Raises RuntimeError without a home folder.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "pcdarts")


class _Cache:
    """What was found in the files of a folder, in an SQLite database; if it cannot be used, nothing is remembered."""

    NAME = "images-1.sqlite"
    """The number changes with what can be read, and with what is stored."""
    TABLE = """CREATE TABLE IF NOT EXISTS files (folder BLOB, path BLOB, changed INTEGER, bytes INTEGER, digest TEXT,
        width INTEGER, height INTEGER, gray INTEGER, PRIMARY KEY (folder, path)) WITHOUT ROWID"""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = os.fsencode(folder.resolve())  # bytes, as names need not be UTF-8
        self._new: list[_Seen] = []
        self._database: sqlite3.Connection | None = None
        try:
            caches = cache_folder()
            caches.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(caches / self.NAME)
            self._database.execute(self.TABLE)
        except (OSError, RuntimeError, sqlite3.Error):  # RuntimeError: no home folder
            self._database = None

    def unchanged(self, paths: Sequence[str]) -> dict[str, ImageFile]:
        """What is known of those of the files that have not changed, by path."""
        rows = "SELECT path, changed, bytes, digest, width, height, gray FROM files WHERE folder = ?"
        try:
            found = self._database.execute(rows, (self._key,)).fetchall() if self._database else []
        except sqlite3.Error:
            found = []
        known = {os.fsdecode(path): (changed, values) for path, changed, *values in found}
        unchanged = {}
        for path in paths:
            if path in known:
                changed, (size, digest, width, height, gray) = known[path]
                try:
                    status = os.stat(self._folder / path)
                except OSError:
                    continue
                if (status.st_ctime_ns, status.st_size) == (changed, size):
                    unchanged[path] = ImageFile(path, size, digest, width, height, bool(gray))
        return unchanged

    def add(self, seen: _Seen) -> None:
        """Remember a file; stored now and then, so that an interrupted look is not lost."""
        self._new.append(seen)
        if len(self._new) == 1000:
            self._store()

    def close(self) -> None:
        """Store what was added."""
        self._store()
        if self._database:
            self._database.close()

    def _store(self) -> None:
        rows = [(self._key, os.fsencode(file.path), changed, *file[1:]) for file, changed in self._new]
        self._new.clear()
        if self._database:
            try:
                with self._database:
                    self._database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            except sqlite3.Error:  # full, or locked
                self._database = None


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder by name, without hidden files and those of file managers."""
    try:
        with os.scandir(folder) as entries:
            named = [e for e in entries if not e.name.startswith(".") and e.name.lower() not in _NOT_DATA]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ValueError(
            f"{shown(folder)} cannot be read ({reason(error)}); correct data_dir or its permissions"
        ) from error
    return sorted(named, key=lambda entry: entry.name)


def _images(folder: Path, left_out: Counter[str]) -> list[str]:
    """Paths `<folder>/<image>` of the images in a class folder; counts what else it holds."""
    paths = []
    for entry in _entries(folder):
        suffix = os.path.splitext(entry.name)[1].lower()
        if entry.is_dir():
            left_out["folders in class folders"] += 1
        elif suffix in SUFFIXES:
            paths.append(f"{folder.name}/{entry.name}")
        else:
            left_out[shown(suffix) or "without extension"] += 1
    return paths


def _few(classes: Sequence[str]) -> str:
    """The number of classes, and the names of the first three."""
    names = ", ".join(shown(name) for name in classes[:3])
    return f"{len(classes)} class{'es' * (len(classes) > 1)} ({names}{', ...' * (len(classes) > 3)})"
