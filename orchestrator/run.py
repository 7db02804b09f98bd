"""What `ray submit cluster.yaml orchestrator/run.py PRESET ...` runs: the same as `pcdarts run PRESET ...`.

`ray submit` copies this one file to the cluster's head and runs it there alone, so it has to find the rest: the
checkout that it lies in, the installed package, or a checkout that `file_mounts` put into the home directory.
"""

import importlib.util
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
MOUNT = Path.home() / "pcdarts-orchestrator"


def _find_package() -> None:
    """Make the package importable, for this process and for Ray's workers; exit with the remedy where it is missing."""
    # Python puts a script's own folder first: modules beside run.py must not be found under their bare names.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]
    if (HERE / "cli.py").is_file():
        _use(HERE.parent)
    elif importlib.util.find_spec("orchestrator") is None and (MOUNT / "orchestrator" / "cli.py").is_file():
        _use(MOUNT)
    missing = [name for name in ("orchestrator", "ray", "torch") if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(
            f"run.py: {', '.join(missing)} cannot be imported by {sys.executable}. cluster.yaml needs two lines:\n"
            f"  file_mounts: {{{MOUNT}: .}}   setup_commands: [pip install -e {MOUNT}]"
        )


def _use(checkout: Path) -> None:
    sys.path.insert(0, str(checkout))
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(checkout), *([inherited] if inherited else [])])


if __name__ == "__main__":
    _find_package()
    from orchestrator.cli import run_main

    sys.exit(run_main())
