"""Connecting: what is refused at once."""

import socket

import pytest

from cluster import connect as connecting
from cluster.connect import _require_answer, connect


def test_an_address_where_nobody_listens_is_refused_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ValueError, match=f"no Ray cluster answers at '127.0.0.1:{port}'"):
        _require_answer(f"127.0.0.1:{port}")


def test_other_addresses_are_left_to_ray(monkeypatch):
    tried = []
    monkeypatch.setattr(socket, "create_connection", lambda *args, **options: tried.append(args))
    for address in ("", "auto", "local", "ray://host:1"):
        _require_answer(address)
    assert tried == []


def test_an_address_where_somebody_listens_is_accepted():
    with socket.create_server(("127.0.0.1", 0)) as server:
        _require_answer(f"127.0.0.1:{server.getsockname()[1]}")
        connection, _ = server.accept()
        with connection:
            assert connection.recv(1) == b""  # it connected, and closed the connection


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError("AF_UNIX path length cannot exceed 107 bytes: /long/ray/session/sockets/plasma_store\nmore"),
            r"cannot start .*/plasma_store\); set RAY_TMPDIR to a folder with a short path",
        ),
        (
            Exception("The current node timed out during startup. This could happen because ..."),
            r"cannot start .*timed out during startup.*; wait until the machine is less busy, and run the same command",
        ),
    ],
)
def test_a_ray_that_cannot_start_is_explained_with_the_remedy(error, message, monkeypatch):
    def fail(address):
        raise error

    monkeypatch.setattr(connecting.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(connecting, "private_token", lambda: None)
    monkeypatch.setattr(connecting, "_join_or_start", fail)
    with pytest.raises(OSError, match=message):
        connect("local")
