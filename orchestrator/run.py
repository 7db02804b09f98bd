"""What `ray submit cluster.yaml orchestrator/run.py PRESET ...` runs: the same as `pcdarts run PRESET ...`.

`ray submit` copies only this file to the home directory of the cluster's head and runs it there with the Python of the
login shell.  The file therefore looks for the package, in this order: the checkout that contains it, the checkout that
`file_mounts` keeps current in the home directory, the installed package.  If the shell's Python lacks Ray, it switches
to that of the environment made by `setup_commands`.
"""

import importlib.util
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOME = Path(os.path.expanduser("~"))  # not Path.home(), which raises where a container's user has none
MOUNT = HOME / "pcdarts-orchestrator"
PYTHON = HOME / "pcdarts-env" / "bin" / "python"
NEEDED = ("orchestrator", "ray", "torch")


def _find_package() -> None:
    """Make the package importable; else restart in the environment's Python, or exit with the remedy."""
    # Python puts the script's folder first: modules next to run.py must not be importable by their bare names.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]
    for checkout in (HERE.parent, MOUNT):
        if (checkout / "orchestrator" / "cli.py").is_file():
            _use(checkout)
            break
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing and PYTHON.is_file() and sys.executable != str(PYTHON):
        os.execv(PYTHON, [str(PYTHON), *sys.argv])
    if missing:
        sys.exit(
            f"run.py: {', '.join(missing)} cannot be imported by {sys.executable}. cluster.yaml needs two lines:\n"
            f"  file_mounts: {{{MOUNT}: .}}\n"
            f"  setup_commands: [python3 -m venv {PYTHON.parents[1]}, {PYTHON} -m pip install -e {MOUNT}]"
        )


def _use(checkout: Path) -> None:
    """Import from a checkout, here and in child processes."""
    sys.path.insert(0, str(checkout))
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(checkout), *([inherited] if inherited else [])])


if __name__ == "__main__":
    _find_package()
    from orchestrator.cli import run_main

    run_main()
