"""The revision of the code that ran."""

import re
import subprocess
from pathlib import Path

import pytest

from orchestrator.storage import provenance


@pytest.fixture
def revision():
    """The revision, not remembered from other tests, nor for them."""
    provenance.git_revision.cache_clear()
    yield provenance.git_revision
    provenance.git_revision.cache_clear()


def test_the_revision_is_that_of_the_checkout(revision):
    if not (Path(__file__).parents[3] / ".git").exists():
        pytest.skip("the tests do not run in a git checkout")
    assert re.fullmatch(r"[0-9a-f]{40}\+?", revision())


def test_an_environment_in_a_checkout_of_something_else_has_none(revision, tmp_path, monkeypatch):
    def git(*arguments):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    git("init")
    identity = ("-c", "user.name=A", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    git(*identity, "commit", "--allow-empty", "-m", "Something else")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "orchestrator" / "storage" / "provenance.py"))
    assert revision() is None
