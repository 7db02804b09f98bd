"""The wheel and the source distribution: every file of the packages and no other, and a wheel that works on its own.

Nothing is downloaded: what builds them is that of this environment, and so are the dependencies of the installed wheel.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("analysis", "cluster", "orchestrator", "pcdarts")
pytestmark = pytest.mark.slow


def run(*command, cwd=None):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(part) for part in command]
    result = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return result.stdout


def tracked():
    """The files of the checkout that git does not ignore."""
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("needs git and a checkout, to know which files belong to the project")
    names = run("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT).splitlines()
    return [name for name in names if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder of the wheel and the source distribution, built from a copy of the checkout."""
    missing = [name for name in ("build", "setuptools", "twine") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: pip install -e '.[dev]'")
    copy, folder = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist")
    for name in tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy / name)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, copy)
    return folder


def test_the_wheel_holds_the_files_of_the_packages_and_no_others(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == {name for name in tracked() if name.startswith(tuple(f"{each}/" for each in PACKAGES))}


def test_the_source_distribution_holds_what_reading_and_testing_needs(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {name for name in tracked() if name.startswith((*(f"{each}/" for each in PACKAGES), "docs/", "tests/"))}
    assert wanted <= found and {"README.md", "CHANGELOG.md", "constraints.txt", "Makefile"} <= found


def test_the_metadata_are_valid(built):
    assert "FAILED" not in run(sys.executable, "-m", "twine", "check", "--strict", *built.iterdir())


def test_the_installed_wheel_works(built, tmp_path):
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")  # behind the wheel's own modules

    def pcdarts(*arguments):
        return run(tmp_path / "venv" / "bin" / "pcdarts", *arguments, cwd=tmp_path)

    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert pcdarts("--version").split() == ["pcdarts", version]
    assert "cifar10" in pcdarts("presets")
    shutil.copytree(ROOT / "docs" / "results" / "fashion-14", tmp_path / "study")
    (tmp_path / "study" / "report.html").unlink()
    pcdarts("report", "study")
    assert "</html>" in (tmp_path / "study" / "report.html").read_text()
    where = run(python, "-c", "import orchestrator; print(orchestrator.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(site)
    pcdarts("cluster", "init", "slurm", "--partition", "cpu")
    assert (tmp_path / "slurm.sh").exists()
