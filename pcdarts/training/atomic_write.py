"""Local files that are written whole or not at all.  Needs the standard library alone.

The content goes into a hidden draft, which is synced to disk and then takes the file's name.
"""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def replace_file(path: str | Path, data: bytes, drafts: str | Path | None = None) -> None:
    """Write a file; a reader sees the old or the new content, even after a crash.

    `drafts` is a folder for the draft, if readers of the file's folder skip nothing; not used if it is on another disk.
    """
    try:
        with _draft(Path(path), data, drafts) as draft:
            os.replace(draft, path)
    except OSError as error:
        if drafts is None or error.errno != errno.EXDEV:
            raise
        replace_file(path, data)


def create_file(path: str | Path, data: bytes) -> None:
    """Write a file that must not exist: of several writers, one succeeds.

    Raises FileExistsError for the others, and OSError on a disk without hard links.
    """
    with _draft(Path(path), data) as draft:
        os.link(draft, path)


@contextmanager
def _draft(path: Path, data: bytes, folder: str | Path | None = None) -> Iterator[Path]:
    """A synced file with the content, removed at the end unless it was renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(folder or path.parent, f".{path.name}.{uuid.uuid4().hex}")  # two writers must not share a draft
    try:
        with _opened(draft) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _opened(draft: Path) -> BinaryIO:
    """A new file, and its folder, which another process may remove while it is empty."""
    for _ in range(100):
        with suppress(FileNotFoundError):
            draft.parent.mkdir(parents=True, exist_ok=True)
            return draft.open("wb")
    raise FileNotFoundError(errno.ENOENT, "the folder vanishes whenever it is made", str(draft.parent))
