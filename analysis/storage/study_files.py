"""The files of a study's folder, on a local disk or any pyarrow file system; a write is complete or has no effect."""

import errno
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
from pyarrow import fs

from analysis.storage.object_creation import Create, object_creator
from analysis.storage.storage_retry import StorageError, patiently
from pcdarts.training.atomic_write import create_file, replace_file

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """By which a reader sees that a file has changed."""

    size: int
    """Bytes."""
    written_at: float
    """When it was written, seconds since 1970."""


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
        self._guards: list[Callable[[], None]] = []
        self._create_object: Create | None = None
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
        self._made: set[str] = set()
        """Folders that exist: in an object store each look takes as long as a write."""
        self._is_local = isinstance(self._files, fs.LocalFileSystem)

    def below(self, name: str) -> "StudyFiles":
        """The files of a subfolder.  Shares this object's `troubles` and guards."""
        files = StudyFiles(join(self.root, name), self.patience)
        files.troubles, files._guards = self.troubles, self._guards
        return files

    @contextmanager
    def guarded(self, guard: Callable[[], None]) -> Iterator[None]:
        """Call `guard` before every change of a file, each try included; it prevents the change by raising an error."""
        self._guards.append(guard)
        try:
            yield
        finally:
            self._guards.remove(guard)

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

    def create_text(self, name: str, text: str) -> bool:
        """Create a text file: True if it is new, False if there is one with another text.

        Of several writers at once, with different texts, one gets True.  Raises ValueError on a storage that cannot
        create files conditionally.
        """
        path, data = f"{self._path}/{checked(name)}", text.encode()
        return self._change(lambda: self._create(path, data))

    def names(self) -> list[str]:
        """Sorted names of the files, without hidden ones."""
        return sorted(self._listed(self._path))

    def folders(self) -> list[str]:
        """Sorted names of the folders, without hidden ones."""
        return sorted(info.base_name for info in self._infos(self._path) if info.type == fs.FileType.Directory)

    def stamp(self, name: str) -> Stamp | None:
        """Size and time of a file; None if it does not exist."""
        (info,) = self._patiently(lambda: self._files.get_file_info([f"{self._path}/{checked(name)}"]))
        return _stamp(info) if info.type == fs.FileType.File else None

    def file_stamps(self, folder: str = "") -> dict[str, Stamp]:
        """Size and time of the files, or of those in a subfolder, by name, without hidden ones."""
        path = f"{self._path}/{checked(folder)}" if folder else self._path
        return {info.base_name: _stamp(info) for info in self._infos(path) if info.type == fs.FileType.File}

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
        return {info.base_name for info in self._infos(path) if info.type == fs.FileType.File}

    def _infos(self, path: str) -> list[fs.FileInfo]:
        """Files and folders in a folder, without those that pd.read_parquet skips."""
        return [info for info in self._all_infos(path) if info.base_name[0] not in "._"]

    def _all_infos(self, path: str) -> list[fs.FileInfo]:
        """Files and folders in a folder; none if it does not exist."""
        folder = fs.FileSelector(path, allow_not_found=True)

        def look() -> list[fs.FileInfo]:
            try:
                return list(self._files.get_file_info(folder))
            except FileNotFoundError:  # Arrow raises it for a folder that is created at this moment
                return list(self._files.get_file_info(folder))

        return self._patiently(look)

    def _remove(self, path: str) -> None:
        try:
            self._change(lambda: self._files.delete_file(path))
        except FileNotFoundError:
            pass

    def _patiently(self, action: Callable[[], T]) -> T:
        return patiently(action, self.patience, on_recovery=self.troubles.append)

    def _change(self, action: Callable[[], T]) -> T:
        """Do what changes a file, patiently, unless a guard objects."""

        def guarded() -> T:
            for guard in self._guards:
                guard()
            return action()

        return self._patiently(guarded)

    def _read(self, path: str) -> bytes:
        def read() -> bytes:
            with self._files.open_input_file(path) as file:
                return bytes(file.read())

        return self._patiently(read)

    def _write(self, path: str, data: bytes) -> None:
        self._change(lambda: self._write_once(path, data))

    def _write_once(self, path: str, data: bytes) -> None:
        if self._is_local:
            replace_file(path, data, drafts=self._path)  # polars reads all that is in the folder of a table
            return
        folder = path.rpartition("/")[0]
        if folder not in self._made:
            self._files.create_dir(folder, recursive=True)
            self._made.add(folder)
        with self._files.open_output_stream(path) as stream:  # object stores show an object only once it is complete
            stream.write(data)

    def _create(self, path: str, data: bytes) -> bool:
        try:
            if self._is_local:
                create_file(path, data)
            else:
                if self._create_object is None:
                    self._create_object = object_creator(self.root, self._files, self._path.partition("/")[0])
                self._create_object(path, data)
            return True
        except FileExistsError:
            try:
                return self._read(path) == data  # then an earlier try created it, and its answer was lost
            except FileNotFoundError:
                return False
        except OSError as error:
            if not self._is_local or error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
                raise
            raise ValueError(
                f"storage {self.root!r} has no hard links ({error.strerror}), by which one process at a time gets a "
                "study; give --storage a folder on another disk, or the URI of an object store"
            ) from None


def _stamp(info: fs.FileInfo) -> Stamp:
    return Stamp(size=info.size, written_at=info.mtime_ns / 1e9)


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
