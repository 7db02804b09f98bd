"""Local files that are written whole or not at all.  Needs the standard library alone.

The content goes into a hidden draft in the same folder, which is synced to disk and then takes the file's name.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def replace_file(path: str | Path, data: bytes) -> None:
    """Write a file; a reader sees the old or the new content, even after a crash."""
    with _draft(Path(path), data) as draft:
        os.replace(draft, path)


def create_file(path: str | Path, data: bytes) -> None:
    """Write a file that must not exist: of several writers, one succeeds.

    Raises FileExistsError for the others, and OSError on a disk without hard links.
    """
    with _draft(Path(path), data) as draft:
        os.link(draft, path)


@contextmanager
def _draft(path: Path, data: bytes) -> Iterator[Path]:
    """A synced file with the content, removed at the end unless it was renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")  # two writers must not share a draft
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)
