"""Ray's token, without which a cluster answers nobody."""

import os
import secrets
from pathlib import Path


def private_token() -> Path | None:
    """Create Ray's token unless it exists, readable by its owner only; its path, or None if the environment has it.

    Ray itself would make it readable by all.  Raises OSError if it cannot be written.
    """
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return None
    path = Path.home() / ".ray" / "auth_token"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(32))
        except FileExistsError:
            path.chmod(0o600)
    except OSError as error:
        raise OSError(
            f"Ray's token cannot be written to {path} ({error.strerror}); set HOME to a folder that you can write to, "
            "or RAY_AUTH_TOKEN_PATH to a token that exists"
        ) from None
    return path
