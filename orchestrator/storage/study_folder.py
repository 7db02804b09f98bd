"""The study folder, on a local disk or on any file system that pyarrow knows: checkpoints and write access."""

import contextlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyarrow import ArrowException, fs

from analysis.storage.storage_retry import first_line
from analysis.storage.study_files import StudyFiles, checked_root, join
from analysis.store import ResultStore
from analysis.tables import TABLES
from orchestrator.config import StudyConfig
from orchestrator.options import RunOptions
from orchestrator.storage.background import BackgroundFile
from orchestrator.storage.provenance import git_revision, now
from orchestrator.study_file import study_toml
from pcdarts.training.checkpoint import CheckpointFile

LEASE_FOLDER = "study-lease"
"""Lease of the driver; it may exist before the study does."""
STUDY_FILE = "study.json"
DATA_FILE = "data.json"
"""What the images of the study are: a list of the fields of `pcdarts.data.datasets.DataDescription`."""
TOML_FILE = "study.toml"
"""The study as a file that `pcdarts run` takes, for readers; STUDY_FILE is what counts."""


def absolute(root: str) -> str:
    """The folder as an absolute path, for trials, which have another working directory; a URI unchanged."""
    return root if "://" in root else os.path.abspath(root)


class StudyCheckpoint(CheckpointFile):
    """A checkpoint in a study folder, a path or a URI, whose storage may fail for a while."""

    def __init__(self, files: StudyFiles, name: str) -> None:
        super().__init__(join(files.root, name))
        self.files, self.name = files, name

    def read_bytes(self) -> bytes | None:
        """The file's content, or None if it does not exist."""
        return self.files.read_bytes(self.name)

    def write_bytes(self, data: bytes) -> None:
        """Replace the file's content."""
        self.files.write_bytes(self.name, data)


class BackgroundCheckpoint(CheckpointFile):
    """A checkpoint that is written in the background."""

    def __init__(self, file: BackgroundFile) -> None:
        super().__init__(join(file.files.root, file.name))
        self.file = file

    def read_bytes(self) -> bytes | None:
        """The file's content, or None if it does not exist."""
        return self.file.read()

    def write_bytes(self, data: bytes) -> None:
        """Begin to replace the file's content."""
        self.file.write(data)


def checkpoint(root: str, name: str, patience: float = 0.0) -> CheckpointFile:
    """The checkpoint of a search or of a retraining job in a study folder; `patience` is in seconds."""
    return StudyCheckpoint(StudyFiles(join(root, "checkpoints"), patience), f"{name}.pt")


@contextlib.contextmanager
def background_checkpoint(root: str, name: str, patience: float = 0.0) -> Iterator[CheckpointFile]:
    """`checkpoint` for a trial, which does not wait for the storage; complete at the end of the context."""
    with BackgroundFile(StudyFiles(join(root, "checkpoints"), patience), f"{name}.pt") as file:
        yield BackgroundCheckpoint(file)


def open_study(root: str, patience: float = 0.0) -> tuple[StudyConfig, ResultStore]:
    """Open an existing study; raises ValueError if the folder holds none."""
    store = ResultStore(root, patience)
    text = store.read_text(STUDY_FILE)
    if text is None:
        raise ValueError(
            f"{root!r} holds no study ({STUDY_FILE} is missing); give the folder that `pcdarts run` printed"
        )
    try:
        return StudyConfig.from_dict(json.loads(text)["config"]), store
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{join(root, STUDY_FILE)} is broken ({error}); restore it or name another study") from None


def check_storage(root: str, patience: float = 0.0) -> StudyConfig | None:
    """Check that a study can be stored at `root`; returns the one with results that is there, if any.

    Raises ValueError for a folder that holds something else, or one that cannot be written to.
    """
    root = checked_root(root)
    is_folder = "://" not in root and os.path.isdir(root)
    if not is_folder:
        check_writable(root)  # without retries: a misspelled bucket fails at once
    store = ResultStore(root, patience)
    stored = None
    if store.read_text(STUDY_FILE) is not None:
        stored = open_study(root)[0] if any(store.parts(table) for table in TABLES) else None
    elif _holds_something(root):
        raise ValueError(
            f"{root!r} holds files that are no study; give --study another name or --storage another folder"
        )
    if is_folder:
        check_writable(root)
    return stored


def validate_storage(config: StudyConfig, root: str, patience: float = 0.0) -> bool:
    """Check that a study can start or resume at `root`; True if it is stored there with this very configuration.

    Raises ValueError as `check_storage` does, and for another configuration.  A configuration may differ from the
    stored one if it only adds searches, or if there are no results yet.
    """
    stored = check_storage(root, patience)
    if ResultStore(root, patience).read_text(STUDY_FILE) is None:
        return False
    before = open_study(root)[0]
    differences = before.differences(config)
    if differences and stored is not None and not config.extends(before):
        raise ValueError(
            f"study {config.name!r} at {root} has another configuration ({'; '.join(differences)}); "
            "run it with the old values, or give --study another name"
        )
    fingerprints = [{each.data_fingerprint for each in study.images} for study in (before, config)]
    return not differences and fingerprints[0] == fingerprints[1]


def create_or_open(
    config: StudyConfig, root: str, command: list[str], *, patience: float = 0.0, retrain: bool = False
) -> ResultStore:
    """Create, resume or update the study at `root`; `retrain` goes into its TOML file.

    Raises ValueError if it cannot be stored there, as `validate_storage` does.
    """
    same = validate_storage(config, root, patience)
    store = ResultStore(root, patience)
    if not same:
        description = {
            "name": config.name,
            "config": config.to_dict(),
            "command": command,
            "created_at": now(),
            "git_revision": git_revision(),
        }
        store.write_text(STUDY_FILE, json.dumps(description, indent=2) + "\n")
    if not same or store.read_text(TOML_FILE) is None:  # an earlier run may have died between the two
        # Of the options only this one decides what the study contains; the others belong to the machine.
        store.write_text(TOML_FILE, study_toml(config, RunOptions(retrain=retrain)))
    return store


def store_descriptions(store: ResultStore, descriptions: Sequence[Mapping[str, Any]]) -> None:
    """Add descriptions of images to DATA_FILE, in place of earlier ones of the same images."""

    def name(description: Mapping[str, Any]) -> list[Any]:
        return [description[field] for field in ("dataset", "fingerprint", "height", "width")]

    stored = stored_descriptions(store)
    given = json.loads(json.dumps(descriptions))  # tuples are lists there
    kept = [each for each in stored if name(each) not in map(name, given)]
    if kept + given != stored:
        store.write_text(DATA_FILE, json.dumps(kept + given, indent=1) + "\n")


def stored_descriptions(store: ResultStore) -> list[dict[str, Any]]:
    """The descriptions of a study's images, with the fields of a DataDescription; empty if none were stored."""
    return list(json.loads(store.read_text(DATA_FILE) or "[]"))


def check_writable(root: str) -> None:
    """Write and remove a file in the folder, and the folders made for it; raises ValueError if that fails.

    Also raises it if the storage does not keep a file from being created twice, which the lease rests on.
    """
    root = checked_root(root)
    folder = Path(root, LEASE_FOLDER)
    made = [] if "://" in root else [each for each in (folder, *folder.parents) if not each.exists()]
    files, name = StudyFiles(join(root, LEASE_FOLDER)), f"writable-{uuid.uuid4().hex}"
    try:
        try:
            files.write_text(name, "1")
            is_exact = not files.create_text(name, "2")
            files.delete_text(name)
            is_exact = files.create_text(name, "3") and is_exact
        finally:
            files.delete_text(name)
    except (OSError, ArrowException) as error:
        raise ValueError(
            f"storage {root!r} cannot be written to ({first_line(error)}); give --storage a folder of yours"
        ) from None
    finally:
        with contextlib.suppress(OSError):  # another process may use them by now
            for each in made:  # a run that is refused later leaves nothing
                each.rmdir()
    if not is_exact:
        raise ValueError(
            f"storage {root!r} lets two processes create the same file, so two could drive one study; give --storage "
            "a folder, or an object store that heeds If-None-Match, as S3, Google Cloud Storage and Azure do"
        )


def _holds_something(root: str) -> bool:
    if "://" not in root:
        path = Path(root)
        return path.is_file() or (path.is_dir() and any(child.name != LEASE_FOLDER for child in path.iterdir()))
    files, path = fs.FileSystem.from_uri(root)
    found = files.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return any(info.base_name != LEASE_FOLDER for info in found)
