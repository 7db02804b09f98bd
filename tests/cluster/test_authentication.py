"""Ray's token where it cannot be written."""

import pytest

from cluster.authentication import private_token


def test_a_home_that_cannot_be_written_to_is_named_with_the_remedy(monkeypatch):
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/proc/nowhere")
    with pytest.raises(OSError, match=r"cannot be written to /proc/nowhere/.ray/auth_token .*; set HOME") as raised:
        private_token()
    assert raised.value.errno is None
