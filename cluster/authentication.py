"""Ray's token: without it a cluster answers nobody."""

import os
import secrets
from pathlib import Path


def private_token() -> Path | None:
    """Make Ray's token if there is none, readable by its owner alone; its path, or None where the environment has it.

    Ray itself would make it readable by all.
    """
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return None
    path = Path.home() / ".ray" / "auth_token"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    except FileExistsError:
        path.chmod(0o600)
    return path
