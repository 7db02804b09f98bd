"""Where results come from: code revision, versions and times."""

import datetime
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

from analysis.records import Provenance


def now() -> str:
    """The current time, ISO 8601 in UTC, whole seconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@cache
def git_revision() -> str | None:
    """Revision of the checkout that this code runs from, with `+` if it has changes, as it was at the first call.

    None outside a checkout, also if the environment lies in a checkout of something else.
    """
    here = Path(__file__).resolve().parents[2]
    try:
        _git(here, "ls-files", "--error-unmatch", "orchestrator/storage/provenance.py")
        revision = _git(here, "rev-parse", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return revision + ("+" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def provenance(started_at: str, finished_at: str) -> Provenance:
    """Provenance of a row that this process writes."""
    return Provenance(
        git_revision=git_revision(),
        python_version=platform.python_version(),
        torch_version=metadata.version("torch"),
        ray_version=metadata.version("ray"),
        started_at=started_at,
        finished_at=finished_at,
    )
