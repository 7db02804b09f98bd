"""Ray's token where it cannot be written."""

import os

import pytest

from cluster.authentication import private_token


@pytest.fixture(autouse=True)
def no_token(monkeypatch):
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that it is restored


def test_a_home_that_cannot_be_written_to_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setenv("HOME", "/proc/nowhere")
    with pytest.raises(ValueError, match=r"HOME is '/proc/nowhere', but Ray's token cannot be kept there .*; set HOME"):
        private_token()


def test_a_ray_of_this_process_alone_needs_no_home(monkeypatch):
    monkeypatch.setenv("HOME", "/proc/nowhere")
    assert private_token(alone=True) is None and len(os.environ["RAY_AUTH_TOKEN"]) == 64
    before = os.environ["RAY_AUTH_TOKEN"]
    assert private_token(alone=True) is None and os.environ["RAY_AUTH_TOKEN"] == before


def test_the_token_is_made_once_and_private(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = private_token()
    token = path.read_text()
    assert path == tmp_path / ".ray" / "auth_token" and len(token) == 64
    path.chmod(0o644)  # as Ray makes it
    assert private_token(alone=True) == path and path.read_text() == token
    assert path.stat().st_mode & 0o777 == 0o600 and not os.environ["RAY_AUTH_TOKEN"]
