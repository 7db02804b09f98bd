"""Connecting: what is refused before Ray starts."""

import os
import tempfile

import pytest

from cluster import connect as connecting
from cluster.connect import connect, require_session_folder


def test_a_session_folder_whose_sockets_would_have_too_long_a_path_is_refused(monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", f"/tmp/{'x' * 90}")
    with pytest.raises(ValueError, match=r"^TMPDIR is '/tmp/x+', but must be at most \d+ bytes long.*; set RAY_TMPDIR"):
        require_session_folder()
    assert not os.path.exists(os.environ["TMPDIR"])
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setenv("RAY_TMPDIR", short)
        require_session_folder()
        assert os.listdir(short) == ["ray"] and os.listdir(f"{short}/ray") == []


def test_a_session_folder_that_cannot_be_written_to_is_refused(monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/proc/nowhere")
    with pytest.raises(
        ValueError, match=r"^RAY_TMPDIR is '/proc/nowhere', but Ray cannot write there .*; set RAY_TMPDIR"
    ):
        require_session_folder()


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
    def fail(address, alone):
        raise error

    monkeypatch.setattr(connecting.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(connecting, "require_connectable", lambda address: True)
    monkeypatch.setattr(connecting, "_join_or_start", fail)
    with pytest.raises(OSError, match=message):
        connect("local")
