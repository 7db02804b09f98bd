"""One Ray session for all tests of the orchestrator."""

import os

import pytest


@pytest.fixture(scope="session")
def ray_session():
    os.environ["RAY_ADDRESS"] = "local"
    import ray

    from cluster.connect import connect

    connect("local")
    yield
    ray.shutdown()
