"""Our packages: where a process imports them from, and whether two processes import the same."""

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGES = ("analysis", "cluster", "orchestrator", "pcdarts")


class OtherCodeError(RuntimeError):
    """A trial would run other code than its driver."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """The code that a process imports."""

    folder: str
    """Where its package `pcdarts` lies."""
    digest: str
    """Digest of all modules of our packages, 16 hex digits."""

    def require(self, other: "Code") -> None:
        """Raise OtherCodeError if `other`, that of a trial, differs from this code of the driver."""
        if other.digest != self.digest:
            raise OtherCodeError(
                f"a trial would run the code in {other.folder}, but its driver runs that in {self.folder}; install the "
                "same on all nodes, take other copies off PYTHONPATH, and run the same command again"
            )


@cache
def imported_code() -> Code:
    """The code that this process imports, as its files were at the first call."""
    found = hashlib.sha256()
    folders = package_folders()
    for name, folder in folders.items():
        for path in sorted(folder.rglob("*.py")):
            if path.is_file():  # not the dangling link by which an editor locks a file
                content = path.read_bytes()
                found.update(f"{name}/{path.relative_to(folder).as_posix()} {len(content)}\n".encode() + content)
    return Code(folder=str(folders["pcdarts"]), digest=found.hexdigest()[:16])


def package_folders() -> dict[str, Path]:
    """The folders that this process imports our packages from, by name.

    Raises OtherCodeError if one cannot be found.
    """
    folders = {}
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise OtherCodeError(f"package {name!r} cannot be found; install this program again")
        folders[name] = Path(spec.submodule_search_locations[0]).resolve()
    return folders
