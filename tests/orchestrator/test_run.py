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
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True)


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


def test_a_python_without_ray_hands_over_to_that_of_the_environment(tmp_path):
    python = tmp_path / "pcdarts-env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    done = submit(tmp_path, "smoke", "two  words", flags=("-I", "-S"))
    assert done.stdout == "run.py\nsmoke\ntwo  words\n" and done.returncode == 0


def test_an_environment_that_lacks_ray_too_is_not_asked_for_ever(tmp_path):
    python = tmp_path / "pcdarts-env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(Path(sys.executable).resolve())  # outside of its environment: without packages
    done = submit(tmp_path, "smoke", flags=("-I", "-S"))
    assert done.returncode == 1 and f"cannot be imported by {python}" in done.stderr
