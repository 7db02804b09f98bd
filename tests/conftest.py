"""Options and settings of all tests."""

import os

import pytest
from hypothesis import settings

# A busy machine must not fail a property test, and a failure must be reproducible.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

# Nor may it fail a test that runs Ray. Ray reads these in every process it starts: by default its workers have
# niceness 15, so that any other load starves them, and a node that answers late is declared dead.
os.environ["RAY_worker_niceness"] = "0"
os.environ["RAY_health_check_timeout_ms"] = "60000"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options for the checkouts that some tests compare with."""
    parser.addoption("--official", metavar="DIR", help="checkout of the official PC-DARTS code, to compare with")
    parser.addoption("--kuberay", metavar="DIR", help="checkout of KubeRay, whose schema the Kubernetes file must keep")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group tests for `--dist loadgroup`: one process per file, and one for all files that share a Ray session."""
    with_ray = {item.path for item in items if "ray_session" in getattr(item, "fixturenames", ())}
    for item in items:
        item.add_marker(pytest.mark.xdist_group("ray" if item.path in with_ray else str(item.path)))
