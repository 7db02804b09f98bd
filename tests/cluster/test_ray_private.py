"""What is used of Ray's private modules is there, and used in one module alone."""

import importlib
import inspect
import re
import signal
from pathlib import Path

import pytest
import ray
from ray._private import ray_constants, utils
from ray.job_config import JobConfig

from cluster import ray_private

ROOT = Path(__file__).parents[2]
USED = {
    "ray._common.utils": ["get_default_system_temp_dir", "get_ray_address_file"],
    "ray._private.ray_constants": [
        "ENABLE_RAY_CLUSTER",
        "RAY_DISABLE_FAILURE_SIGNAL_HANDLER",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV",
    ],
    "ray._private.services": ["canonicalize_bootstrap_address"],
    "ray._private.utils": ["set_sigterm_handler"],
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


def test_ray_asks_a_job_for_its_working_directory_before_it_adds_that_of_the_driver():
    assert "_runtime_env_has_working_dir" in vars(JobConfig) and ray_private.OwnCode()._runtime_env_has_working_dir()
    assert "_runtime_env_has_working_dir()" in inspect.getsource(ray._private.worker.connect)


def test_no_other_module_uses_private_modules_of_ray():
    sources = [path for room in ("cluster", "orchestrator") for path in (ROOT / room).rglob("*.py")]
    private = [path for path in sources if re.search(r"(from|import) ray\.[\w.]*\b_", path.read_text())]
    assert [path.name for path in private] == ["ray_private.py"]


def test_an_address_tells_whether_ray_starts_here():
    assert ray_private.bootstrap_address("local") is None
    assert ray_private.bootstrap_address("10.0.0.1:6379") == "10.0.0.1:6379"


def test_while_ray_starts_its_switches_are_turned_and_then_turned_back():
    switches = "ENABLE_RAY_CLUSTER", "RAY_ENABLE_UV_RUN_RUNTIME_ENV", "RAY_DISABLE_FAILURE_SIGNAL_HANDLER"

    def found():
        return [getattr(ray_constants, name) for name in switches], utils.set_sigterm_handler

    before = found()
    with ray_private.starting(loopback=True):
        assert found()[0] == [False, False, True]
        signal_before = signal.getsignal(signal.SIGTERM)
        utils.set_sigterm_handler(signal.SIG_IGN)
        assert signal.getsignal(signal.SIGTERM) is signal_before
    assert found() == before
