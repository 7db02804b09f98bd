"""Which code a process imports, and that a trial refuses other code than its driver's."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.code import PACKAGES, Code, OtherCodeError, imported_code, package_folders

ROOT = Path(__file__).parents[2]


def of_checkout(checkout):
    """The code that a process in this checkout imports."""
    script = "from cluster.code import imported_code; code = imported_code(); print(code.digest, code.folder)"
    done = subprocess.run([sys.executable, "-c", script], cwd=checkout, capture_output=True, text=True, check=True)
    digest, _, folder = done.stdout.strip().partition(" ")
    return Code(folder=folder, digest=digest)


def test_the_packages_are_those_of_this_checkout():
    assert package_folders() == {name: ROOT / name for name in PACKAGES}
    assert imported_code().folder == str(ROOT / "pcdarts") and len(imported_code().digest) == 16


def test_equal_copies_have_one_digest_and_a_changed_line_has_another(tmp_path):
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    copy = of_checkout(tmp_path)
    assert copy == Code(folder=str(tmp_path / "pcdarts"), digest=imported_code().digest)
    imported_code().require(copy)
    with (tmp_path / "pcdarts" / "search.py").open("a") as file:
        file.write("# changed\n")
    other = of_checkout(tmp_path)
    with pytest.raises(OtherCodeError) as raised:
        imported_code().require(other)
    assert f"the code in {tmp_path / 'pcdarts'}, but its driver runs that in {ROOT / 'pcdarts'};" in str(raised.value)
