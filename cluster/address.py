"""Which cluster an address means, and whether it answers: Ray itself would try for minutes, without a word."""

import os
import socket
import threading
from pathlib import Path

from cluster.ray_private import bootstrap_address, current_cluster_file

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 8.0
"""Longest wait for a connection, and then for an answer of Ray."""


def find_cluster(address: str = "") -> str | None:
    """The host:port of the cluster that an address means; None if Ray is to be started on this machine.

    `address` is host:port, `auto` (a cluster that runs here) or `local` (start one).  Empty: RAY_ADDRESS, else a
    cluster that `ray start` has started here, else None.  Raises ValueError, which names where the address comes from,
    if none answers within 15 s.
    """
    named, origin, remedy = _named(address)
    if named == "local":
        return None
    shown = named or "auto"
    try:
        if "://" in named:
            raise ValueError("a study needs the address of the cluster itself, not of Ray Client or of its dashboard")
        place = bootstrap_address(named)
        if place and named in ("", "auto") and _is_named_by(current_cluster_file(), place):
            shown, origin = place, f", which {current_cluster_file()} names"
            remedy = "if it has ended, remove that file; or give --address host:port, or local to start one here"
        if place:
            _require_answer(place)
        return place
    except (ConnectionError, ValueError, OSError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"no Ray cluster answers at {shown!r}{origin} ({reason}); {remedy}") from None


def _named(address: str) -> tuple[str, str, str]:
    """The address as given, else by the environment; where it comes from; and the remedy if it is wrong."""
    by_environment = os.environ.get("RAY_ADDRESS", "")
    if address in ("", "auto") and by_environment:
        return by_environment, ", the value of RAY_ADDRESS", "correct or unset it, or give --address"
    return address, "", "give --address host:port, or local to start one here"


def _is_named_by(file: str, place: str) -> bool:
    """Whether a file holds an address; for `auto`, Ray also takes that of any Ray that runs here."""
    try:
        text = Path(file).read_text().strip()
    except OSError:
        return False
    return text.rpartition(":")[2] == place.rpartition(":")[2]


def _require_answer(place: str) -> None:
    """Raise OSError, OverflowError or ValueError if no Ray answers at host:port."""
    host, _, port = place.rpartition(":")
    found: list[Exception] = []

    def attempt() -> None:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
        except (OSError, OverflowError, ValueError) as error:
            found.append(error)

    thread = threading.Thread(target=attempt, name="address", daemon=True)  # a name server may not answer either
    thread.start()
    thread.join(2 * CONNECT_SECONDS)
    if thread.is_alive():
        raise ValueError(f"no answer within {2 * CONNECT_SECONDS:g} s")
    if found:
        raise found[0]
    if os.environ.get("RAY_USE_TLS", "0") in ("", "0"):
        _require_grpc(place)


def _require_grpc(place: str) -> None:
    """Raise ValueError if what listens at host:port does not speak Ray's protocol."""
    import grpc

    with grpc.insecure_channel(place, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=ANSWER_SECONDS)
        except grpc.FutureTimeoutError:
            raise ValueError("what listens there is no Ray") from None
