"""What is used of Ray's private modules is there, and used in one module alone."""

import importlib
import re
from pathlib import Path

import pytest
import ray

from cluster import ray_private

ROOT = Path(__file__).parents[2]
USED = {
    "ray._private.ray_constants": ["ENABLE_RAY_CLUSTER"],
    "ray._private.services": ["canonicalize_bootstrap_address"],
    "ray.autoscaler._private.util": ["prepare_config", "validate_config"],
}


@pytest.mark.parametrize("module", USED)
def test_ray_has_what_is_used_of_its_private_modules(module):
    advice = f"Ray {ray.__version__} has moved it: adapt cluster/ray_private.py, or pin an older Ray"
    try:
        found = vars(importlib.import_module(module))
    except ImportError:
        pytest.fail(f"{module} is gone; {advice}")
    missing = [name for name in USED[module] if name not in found]
    assert not missing, f"{module} has no {missing}; {advice}"


def test_no_other_module_uses_private_modules_of_ray():
    sources = [path for room in ("cluster", "orchestrator") for path in (ROOT / room).rglob("*.py")]
    private = [path for path in sources if re.search(r"(from|import) ray\.[\w.]*\b_", path.read_text())]
    assert [path.name for path in private] == ["ray_private.py"]


def test_an_address_tells_whether_ray_starts_here():
    assert ray_private.starts_here("local")
    assert not ray_private.starts_here("127.0.0.1:6379") and not ray_private.starts_here("ray://127.0.0.1:10001")
