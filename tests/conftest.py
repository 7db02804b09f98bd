"""Options and settings of all tests."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# A busy machine must not fail a property test, and a failure must be reproducible.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

# Nor may it fail a test that runs Ray. Ray reads these in every process it starts: by default its workers have
# niceness 15, so that any other load starves them, and a node that answers late is declared dead.
os.environ["RAY_worker_niceness"] = "0"
os.environ["RAY_health_check_timeout_ms"] = "60000"
# Trials that a test defines: workers look neither in the working directory nor where the driver's script lies.
_SEARCHED = [str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
os.environ["PYTHONPATH"] = os.pathsep.join(_SEARCHED)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is remembered of images stays out of the user's cache."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options for the checkouts that some tests compare with."""
    parser.addoption("--official", metavar="DIR", help="checkout of the official PC-DARTS code, to compare with")
    parser.addoption("--kuberay", metavar="DIR", help="checkout of KubeRay, whose schema the Kubernetes file must keep")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a file in one process, and all files that share a Ray session in the same one."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduler(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "ray" if "ray_session" in (config.rootpath / file).read_text() else file

    return Scheduler(config, log)
