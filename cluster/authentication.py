"""Ray's token, without which a cluster answers nobody."""

import os
import secrets
from pathlib import Path


def private_token(*, alone: bool = False) -> Path | None:
    """Create Ray's token unless it exists, readable by its owner only; its path, or None if the environment has it.

    Ray itself would make it readable by all.  If it cannot be written, a Ray that is `alone`, started by this process
    and for it, gets a token in the environment; otherwise this raises ValueError.
    """
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return None
    try:
        return _token_file(Path.home() / ".ray" / "auth_token")
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder
        if alone:
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
            return None
        home, reason = os.environ.get("HOME", ""), getattr(error, "strerror", None) or error
        raise ValueError(
            f"HOME is {home!r}, but Ray's token cannot be kept there ({reason}); set HOME to a folder that you can "
            "write to, or RAY_AUTH_TOKEN_PATH to a token that exists"
        ) from None


def _token_file(path: Path) -> Path:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    return path
