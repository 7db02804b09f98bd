"""Which room may import which: what a module loads when it is imported alone, and what its source names."""

import ast
import pkgutil
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIGHT = (
    "pcdarts.genotype",
    "pcdarts.config",
    "pcdarts.presets",
    "pcdarts.results",
    "pcdarts.spaces",
    "pcdarts.diagnostics.collapse",
    "pcdarts.diagnostics.early_stop",
    "pcdarts.training.atomic_write",
)
"""Modules of pcdarts that need the standard library alone; `pcdarts.config` stands for all modules of that room."""
ALLOWED = {
    "pcdarts": ("pcdarts",),
    "analysis": ("analysis", *LIGHT),
    "cluster": ("cluster",),
    "orchestrator": ("orchestrator", "cluster", "analysis", "pcdarts"),
}
MODULES_IN_A_ROOM = 14


def modules(package):
    """Names of a package and of all modules below it."""
    found = pkgutil.walk_packages([str(ROOT / package.replace(".", "/"))], f"{package}.")
    return [package, *(name for _, name, _ in found)]


def all_modules():
    return [name for package in ALLOWED for name in modules(package)]


@cache
def imports(name):
    """Our modules that a module imports anywhere in its source, functions included."""
    path = ROOT / name.replace(".", "/")
    tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())
    named = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            named += [f"{node.module}.{alias.name}" for alias in node.names]
    return {module(target) for target in named if target.split(".")[0] in ALLOWED}


@cache
def module(name):
    """The module that holds a name."""
    path = ROOT / name.replace(".", "/")
    return name if path.is_dir() or path.with_suffix(".py").is_file() else module(name.rpartition(".")[0])


def room(name):
    """A sub-package such as pcdarts.fast; a module directly below a top-level package is a room of its own."""
    return ".".join(name.split(".")[:2])


def loaded_by(names):
    script = f"import sys\nfor name in {list(names)!r}: __import__(name)\nprint('\\n'.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(result.stdout.split())


@pytest.mark.parametrize(
    ("names", "forbidden"),
    [
        (modules("analysis"), {"torch", "ray"}),
        (modules("pcdarts"), {"ray", "pandas", "analysis", "orchestrator", "cluster"}),
        (
            (*LIGHT, *modules("pcdarts.config")),
            {"torch", "ray", "pandas", "numpy", "pyarrow"},
        ),
        (modules("cluster"), {"torch", "pcdarts", "analysis", "orchestrator"}),
    ],
    ids=["analysis", "pcdarts", "light modules", "cluster"],
)
def test_importing_loads_nothing_forbidden(names, forbidden):
    assert not loaded_by(name for name in names if not name.endswith("__main__")) & forbidden


@pytest.mark.parametrize("name", all_modules())
def test_modules_import_only_what_lies_below_them(name):
    allowed = ALLOWED[name.split(".")[0]]
    assert not [n for n in imports(name) if not any(n == a or n.startswith(f"{a}.") for a in allowed)]


@pytest.mark.parametrize("unit", [room, str], ids=["rooms", "modules"])
def test_nothing_imports_in_a_circle(unit):
    graph = {}
    for name in all_modules():
        graph.setdefault(unit(name), set()).update(unit(n) for n in imports(name) if unit(n) != unit(name))
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_a_room_can_be_taken_in_at_a_glance():
    folders = [path.parent for package in ALLOWED for path in (ROOT / package).rglob("__init__.py")]
    counts = {str(folder.relative_to(ROOT)): len(list(folder.glob("[!_]*.py"))) for folder in folders}
    assert {folder: count for folder, count in counts.items() if count > MODULES_IN_A_ROOM} == {}


def test_no_module_of_a_package_escapes_these_tests():
    named = {f"{ROOT / name.replace('.', '/')}" for name in all_modules()}
    for package in ALLOWED:
        files = {str(path.with_suffix("")).removesuffix("/__init__") for path in (ROOT / package).rglob("*.py")}
        assert files <= named
