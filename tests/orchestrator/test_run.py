"""run.py where `ray submit` puts it: alone in a folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import orchestrator

SCRIPT = Path(orchestrator.__file__).parent / "run.py"


def submit(home, *argv, flags=()):
    shutil.copy(SCRIPT, home / "run.py")
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": ""}
    command = [sys.executable, *flags, "run.py", *argv]
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=100)


def test_alone_it_finds_the_installed_package(tmp_path):
    done = submit(tmp_path, "nothing")
    assert done.returncode == 2 and "preset is 'nothing'" in done.stderr


def test_alone_without_the_package_it_says_which_lines_are_missing(tmp_path):
    done = submit(tmp_path, "smoke", flags=("-I", "-S"))  # no site-packages
    assert done.returncode == 1
    assert "orchestrator, ray, torch cannot be imported" in done.stderr
    assert "file_mounts" in done.stderr and "setup_commands" in done.stderr


def test_it_finds_a_mounted_checkout_and_keeps_spaces_in_arguments(tmp_path):
    (tmp_path / "pcdarts-orchestrator").symlink_to(SCRIPT.parent.parent)
    done = submit(tmp_path, "not a preset")
    assert done.returncode == 2 and "preset is 'not a preset'" in done.stderr
