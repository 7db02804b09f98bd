"""Who may see the page and who may act: a token, its cookie, and checks of each request's Host and Origin.

- The address that `pcdarts watch` prints holds the token.  The first request exchanges it for a cookie, which scripts
  cannot read and which other sites cannot make a browser send.
- A Host that is not this machine's is refused: a page of another site whose name was bound to this address (DNS
  rebinding) would come with its own name.  An address of digits cannot be bound so, and is allowed.
- A request that changes something must come from this page: its Origin must be this server.  No other site may read
  answers, as no CORS header is ever sent.
"""

import contextlib
import hashlib
import hmac
import ipaddress
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

TOKEN_BYTES = 32
PAGE_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "frame-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
"""Content security policy of the page: nothing inline, nothing evaluated, nothing from elsewhere."""
REPORT_POLICY = "sandbox allow-scripts allow-popups allow-downloads; frame-ancestors 'self'"
"""Policy of the report, besides its own: its script cannot act in the page's name."""
PICTURE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
"""Policy of a drawing, which is its own document: its colors are attributes."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """What a server allows."""

    token: str
    """Secret of the address that is printed."""
    public: bool = False
    """Whether reading needs no token."""
    hosts: frozenset[str] = frozenset()
    """Names of this machine that a request may be addressed to, besides localhost and addresses of digits."""

    @property
    def cookie(self) -> str:
        """Value of the cookie that the token is exchanged for."""
        return hashlib.sha256(f"pcdarts watch {self.token}".encode()).hexdigest()

    def is_token(self, given: str) -> bool:
        """Whether this is the token."""
        return hmac.compare_digest(given.encode(), self.token.encode())

    def may_act(self, cookie: str) -> bool:
        """Whether a request with this cookie may change something."""
        return hmac.compare_digest(cookie.encode(), self.cookie.encode())

    def may_read(self, cookie: str) -> bool:
        """Whether a request with this cookie may read."""
        return self.public or self.may_act(cookie)

    def allows_host(self, host: str) -> bool:
        """Whether a request's Host header names this machine; the port may be that of a tunnel."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower().rstrip(".")
        except ValueError:
            return False
        return name == "localhost" or name in self.hosts or _is_address(name)


def allows_origin(origin: str | None, host: str) -> bool:
    """Whether a request that changes something comes from a page of this server."""
    try:
        return origin is not None and urlsplit(origin).scheme in ("http", "https") and urlsplit(origin).netloc == host
    except ValueError:
        return False


def names_of_this_machine(host: str) -> frozenset[str]:
    """The names by which others may call this machine; a server on loopback has none but localhost."""
    if is_loopback(host):
        return frozenset()
    return frozenset(name.lower() for name in (host, socket.gethostname(), socket.getfqdn()) if name)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    if host == "localhost":
        return True
    return _is_address(host) and ipaddress.ip_address(host).is_loopback


def kept_token(renew: bool = False, folder: Callable[[], Path] | None = None) -> str:
    """The user's token: the same after a restart, so that open pages reconnect; `renew` makes a new one.

    It lies in a file that only the user can read.  Without a home folder that can be written to, it is not kept.
    """
    token = secrets.token_urlsafe(TOKEN_BYTES)
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: no home folder
        path = (folder or state_folder)() / "watch-token"
        if not renew and (found := _private_text(path)) and len(found) >= TOKEN_BYTES:
            return found
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(token + "\n")
    return token


def _private_text(path: Path) -> str:
    """The text of a file that only its owner can read; empty if there is no such file."""
    try:
        return "" if path.stat().st_mode & 0o077 else path.read_text().strip()
    except OSError:
        return ""


def state_folder() -> Path:
    """Folder of what this program keeps for a user; raises RuntimeError without a home folder."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "pcdarts"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
        return True
    except ValueError:
        return False
