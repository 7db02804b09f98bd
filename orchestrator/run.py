"""What `ray submit cluster.yaml orchestrator/run.py PRESET ...` runs: the same as `pcdarts run PRESET ...`.

`ray submit` copies this one file to the cluster's head and runs it there alone, so it has to find the rest: the
installed package, or the checkout that it lies in, or a checkout that `file_mounts` put into the home directory.
"""

import importlib.util
import os
import sys
from pathlib import Path

CHECKOUTS = (Path(__file__).resolve().parent.parent, Path.home() / "pcdarts-orchestrator")


def _find_package() -> None:
    """Make the package importable, for this process and for Ray's workers; exit with the remedy where it is missing."""
    # A script's own folder stands first on the path: a module run.py beside it would hide nothing, but confuse.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
    if importlib.util.find_spec("orchestrator") is None:
        for checkout in CHECKOUTS:
            if (checkout / "orchestrator" / "cli.py").is_file():
                sys.path.insert(0, str(checkout))
                inherited = os.environ.get("PYTHONPATH")
                os.environ["PYTHONPATH"] = os.pathsep.join([str(checkout), *([inherited] if inherited else [])])
                break
    missing = [name for name in ("orchestrator", "ray", "torch") if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(
            f"run.py: {', '.join(missing)} cannot be imported by {sys.executable}. cluster.yaml needs two lines:\n"
            f"  file_mounts: {{{CHECKOUTS[1]}: .}}   setup_commands: [pip install -e {CHECKOUTS[1]}]"
        )


if __name__ == "__main__":
    _find_package()
    from orchestrator.cli import run_main

    sys.exit(run_main())
