"""Options and settings of all tests."""

import pytest
from hypothesis import settings

# A busy machine must not fail a property test, and a failure must come again.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The checkout that some tests compare with."""
    parser.addoption("--official", metavar="DIR", help="checkout of the official PC-DARTS code, to compare with")
    parser.addoption("--kuberay", metavar="DIR", help="checkout of KubeRay, whose schema the Kubernetes file must keep")
