"""Which package may import which: what a module loads when it is imported alone, and what its source names."""

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIGHT = (
    "pcdarts.genotype",
    "pcdarts.config",
    "pcdarts.config.fields",
    "pcdarts.results",
    "pcdarts.spaces",
    "pcdarts.diagnostics.early_stop",
)
ALLOWED = {
    "pcdarts": ("pcdarts",),
    "analysis": ("analysis", *LIGHT),
    "cluster": ("cluster",),
    "orchestrator": ("orchestrator", "cluster", "analysis", "pcdarts"),
}


def modules(package):
    names = [name for _, name, _ in pkgutil.walk_packages([str(ROOT / package)], f"{package}.")]
    return [package, *(name for name in names if not name.endswith("__main__"))]


def loaded_by(names):
    script = f"import sys\nfor name in {list(names)!r}: __import__(name)\nprint('\\n'.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(result.stdout.split())


@pytest.mark.parametrize(
    ("names", "forbidden"),
    [
        (modules("analysis"), {"torch", "ray"}),
        (modules("pcdarts"), {"ray", "pandas", "analysis", "orchestrator", "cluster"}),
        (LIGHT, {"torch", "ray", "pandas", "numpy", "pyarrow"}),
        (modules("cluster"), {"torch", "pcdarts", "analysis", "orchestrator"}),
    ],
    ids=["analysis", "pcdarts", "light modules", "cluster"],
)
def test_importing_loads_nothing_forbidden(names, forbidden):
    assert not loaded_by(names) & forbidden


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_import_only_what_lies_below_them(package):
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
            ours = [name for name in names if name.split(".")[0] in ALLOWED]
            if package == "analysis":  # from pcdarts it may take the light modules alone
                ours = [name for name in ours if name != "pcdarts"]
            allowed = ALLOWED[package]
            bad = [n for n in ours if not any(n == a or n.startswith(a + ".") for a in allowed)]
            assert not bad, f"{path.relative_to(ROOT)} imports {bad}"
