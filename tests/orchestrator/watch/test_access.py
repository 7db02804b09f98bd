"""Who may see the page and who may act; see the requests in test_server."""

import stat
from pathlib import Path

import pytest

from orchestrator.watch.access import (
    PAGE_POLICY,
    Access,
    allows_origin,
    is_loopback,
    kept_token,
    names_of_this_machine,
)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost:8270", True),
        ("LOCALHOST", True),
        ("127.0.0.1:9000", True),
        ("[::1]:8270", True),
        ("192.168.1.7:8270", True),  # an address of digits cannot be bound to another's name
        ("head.cluster:8270", True),
        ("evil.example:8270", False),
        ("localhost.evil.example", False),
        ("", False),
        ("[", False),
    ],
)
def test_only_names_of_this_machine_are_answered(host, allowed):
    assert Access(token="t", hosts=frozenset({"head.cluster"})).allows_host(host) is allowed


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:8270", True),
        (None, False),
        ("null", False),
        ("http://localhost:9999", False),
        ("http://evil.example", False),
        ("http://localhost:8270.evil.example", False),
    ],
)
def test_only_this_page_may_act(origin, allowed):
    assert allows_origin(origin, "localhost:8270") is allowed


def test_the_token_and_its_cookie_are_different_secrets():
    access = Access(token="secret")
    assert access.is_token("secret") and not access.is_token("") and not access.is_token("secretx")
    assert "secret" not in access.cookie
    assert access.may_act(access.cookie) and not access.may_act("secret") and not access.may_act("")
    assert not access.may_read("") and Access(token="secret", public=True).may_read("")
    assert not Access(token="secret", public=True).may_act("")


def test_the_token_is_kept_in_a_file_of_the_user_alone(tmp_path):
    token = kept_token(folder=lambda: tmp_path / "state")
    path = tmp_path / "state" / "watch-token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and len(token) > 40
    assert kept_token(folder=lambda: tmp_path / "state") == token
    assert kept_token(renew=True, folder=lambda: tmp_path / "state") != token
    path.chmod(0o644)
    assert kept_token(folder=lambda: tmp_path / "state") != path.read_text() or not path.stat().st_mode & 0o077


def test_a_short_or_empty_token_is_replaced(tmp_path):
    (tmp_path / "watch-token").write_text("x\n")
    (tmp_path / "watch-token").chmod(0o600)
    assert len(kept_token(folder=lambda: tmp_path)) > 40


def test_without_a_home_folder_every_server_has_a_token_of_its_own():
    tokens = {kept_token(folder=lambda: Path("/proc/nowhere")) for _ in range(2)}
    assert len(tokens) == 2 and all(len(token) > 40 for token in tokens)


def test_loopback_has_no_other_names():
    assert is_loopback("127.0.0.1") and is_loopback("::1") and is_loopback("localhost")
    assert not is_loopback("0.0.0.0") and not is_loopback("head.cluster")
    assert names_of_this_machine("127.0.0.1") == frozenset()
    assert "head.cluster" in names_of_this_machine("Head.cluster")


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere():
    assert "unsafe" not in PAGE_POLICY and "http" not in PAGE_POLICY and "default-src 'none'" in PAGE_POLICY
