"""The files of a study's folder, on a local disk or any pyarrow file system; a write is complete or has no effect."""

import errno
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
from pyarrow import fs

from analysis.storage.storage_retry import StorageError, patiently
from pcdarts.training.atomic_write import create_file, replace_file

T = TypeVar("T")


class StudyFiles:
    """The files of one folder.

    `root` is a local folder, or a URI that pyarrow.fs understands, such as s3://bucket/studies/demo; of a file:// URI
    it is the path.  What the storage refuses is retried for `patience` seconds.  Raises ValueError for a URI of an
    unknown kind, and for one that holds credentials.
    """

    def __init__(self, root: str, patience: float = 0.0) -> None:
        self.root, self.patience = checked_root(str(root)), patience
        self.troubles: list[str] = []
        """Storage errors that a retry survived; `FailureLog.flush` records and clears them."""
        try:
            self._files, path = (
                self._patiently(lambda: fs.FileSystem.from_uri(self.root))
                if "://" in self.root
                else (fs.LocalFileSystem(), os.path.abspath(self.root))
            )
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, StorageError) and patience:
                raise
            raise ValueError(
                f"study folder {self.root!r} is neither a path nor a URI that can be opened: {error}"
            ) from None
        self._path = str(path).rstrip("/")
        self._is_local = isinstance(self._files, fs.LocalFileSystem)

    def below(self, name: str) -> "StudyFiles":
        """The files of a subfolder.  Shares this object's `troubles`."""
        files = StudyFiles(join(self.root, name), self.patience)
        files.troubles = self.troubles
        return files

    def read_text(self, name: str) -> str | None:
        """The text of a file, UTF-8; None if it does not exist."""
        data = self.read_bytes(name)
        return None if data is None else data.decode(errors="replace")

    def read_bytes(self, name: str) -> bytes | None:
        """The content of a file; None if it does not exist."""
        try:
            return self._read(f"{self._path}/{checked(name)}")
        except FileNotFoundError:
            return None

    def write_text(self, name: str, text: str) -> None:
        """Write a text file, UTF-8."""
        self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write a file."""
        self._write(f"{self._path}/{checked(name)}", data)

    def create_text(self, name: str, text: str) -> bool | None:
        """Create a text file: True if it is new, False if it exists already, None if that is unknown.

        Of several writers at once, one gets True.  None, and nothing is written, on object stores and on disks without
        hard links.
        """
        path = Path(self._path, checked(name))
        return self._patiently(lambda: _create(path, text.encode())) if self._is_local else None

    def names(self) -> list[str]:
        """Sorted names of the files, without hidden ones."""
        return sorted(self._listed(self._path))

    def delete_text(self, name: str) -> None:
        """Remove a file, if it exists."""
        self._remove(f"{self._path}/{checked(name)}")

    def write_texts(self, folder: str, texts: Mapping[str, str]) -> None:
        """Write text files, by name, into a subfolder, and remove all others there."""
        path = f"{self._path}/{checked(folder)}"
        for name, text in texts.items():
            self._write(f"{path}/{checked(name)}", text.encode())
        for name in self._listed(path) - texts.keys():
            self._remove(f"{path}/{name}")

    def _listed(self, path: str) -> set[str]:
        """Names of the files in a folder, without those that pd.read_parquet skips."""
        folder = fs.FileSelector(path, allow_not_found=True)
        found = self._patiently(lambda: self._files.get_file_info(folder))
        return {i.base_name for i in found if i.type == fs.FileType.File and i.base_name[0] not in "._"}

    def _remove(self, path: str) -> None:
        try:
            self._patiently(lambda: self._files.delete_file(path))
        except FileNotFoundError:
            pass

    def _patiently(self, action: Callable[[], T]) -> T:
        return patiently(action, self.patience, on_recovery=self.troubles.append)

    def _read(self, path: str) -> bytes:
        def read() -> bytes:
            with self._files.open_input_file(path) as file:
                return bytes(file.read())

        return self._patiently(read)

    def _write(self, path: str, data: bytes) -> None:
        self._patiently(lambda: self._write_once(path, data))

    def _write_once(self, path: str, data: bytes) -> None:
        if self._is_local:
            replace_file(path, data)
            return
        self._files.create_dir(path.rpartition("/")[0], recursive=True)
        with self._files.open_output_stream(path) as stream:  # object stores show an object only once it is complete
            stream.write(data)


def _create(path: Path, data: bytes) -> bool | None:
    try:
        create_file(path, data)
        return True
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):  # no hard links
            return None
        raise


def join(root: str, *parts: str) -> str:
    """Append parts to a path or URI; the query of a URI stays at its end."""
    path, mark, query = root.partition("?") if "://" in root else (root, "", "")
    return "/".join([path.rstrip("/"), *parts]) + mark + query


def checked_root(root: str) -> str:
    """A study folder as given, but the path of a file:// URI, to be treated like any other folder.

    Raises ValueError for a file:// URI that names no path, and for a URI that holds credentials.
    """
    _refuse_credentials(root)
    if not root.startswith("file://"):
        return root
    try:
        return str(fs.FileSystem.from_uri(root)[1])
    except pa.ArrowException as error:
        raise ValueError(
            f"study folder {root!r} names no path ({error}); give a path, or file:///absolute/path"
        ) from None


def _refuse_credentials(uri: str) -> None:
    """Raise ValueError for a URI with a password, key or token, as commands and reports show the study's folder."""
    if "://" not in uri:
        return
    parts = urlsplit(uri)
    secrets = [name for name, _ in parse_qsl(parts.query) if re.search("secret|token|password|key|sig", name.lower())]
    if parts.password is not None or secrets:
        raise ValueError(
            f"the URI of a study folder ({parts.scheme}://...) holds credentials, which commands and reports would "
            "show; leave them out and set them in the environment, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )


def checked(name: str) -> str:
    """A valid name of a file or folder; raises ValueError if readers would skip it, or if it leads elsewhere."""
    if not re.fullmatch(r"[A-Za-z0-9-][A-Za-z0-9._-]{0,199}", name):
        raise ValueError(
            f"name is {name!r}, but must be 1 to 200 of the characters A-Z a-z 0-9 . _ - and start with no . or _, "
            "which readers skip"
        )
    return name
