"""The only uses of Ray's private modules, which may change in any release."""

import contextlib
import logging
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from ray._common import utils as common_utils
from ray._private import ray_constants, services, utils
from ray.job_config import JobConfig


def bootstrap_address(address: str) -> str | None:
    """The host:port that `ray.init` would join for this address; None if it would start Ray on this machine.

    Raises ConnectionError if the address is `auto` and no cluster runs here, and ValueError for what is no address.
    """
    return services.canonicalize_bootstrap_address(address or None)  # type: ignore[arg-type]


def current_cluster_file() -> str:
    """The file in which `ray start` names the cluster of this machine."""
    return common_utils.get_ray_address_file(None)


def session_parent() -> str:
    """The folder in which Ray makes the folder of a session, `ray/session_...`."""
    return common_utils.get_default_system_temp_dir()


class OwnCode(JobConfig):
    """A job whose workers look for modules where the driver's environment does.

    Otherwise Ray puts the driver's working directory and the folder of its script first, so that workers import what
    lies there under the names of our packages.
    """

    def _runtime_env_has_working_dir(self) -> bool:
        return True  # Ray asks before it adds the two


@contextlib.contextmanager
def starting(*, loopback: bool) -> Iterator[None]:
    """What holds while `ray.init` runs.

    The handlers of signals stay as they are; Ray would replace that of SIGTERM, in Python and again in C++.  `uv run`
    among the parents is ignored: Ray would start workers by that command, in a copy of the working directory.  With
    `loopback`, a Ray that starts listens on 127.0.0.1 only, as it does on desktop systems.
    """
    on_several_hosts = ray_constants.ENABLE_RAY_CLUSTER and not loopback
    with (
        _replaced(ray_constants, "ENABLE_RAY_CLUSTER", on_several_hosts),
        _replaced(ray_constants, "RAY_ENABLE_UV_RUN_RUNTIME_ENV", False),
        _replaced(ray_constants, "RAY_DISABLE_FAILURE_SIGNAL_HANDLER", True),  # in C++: it prints a stack and aborts
        _replaced(utils, "set_sigterm_handler", lambda handler: None),
    ):
        yield


@contextlib.contextmanager
def _replaced(module: ModuleType, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def validate_cluster_file(config: dict[str, Any]) -> None:
    """Validate a file for `ray up`; raises ValueError if Ray's schema refuses it."""
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    logging.getLogger("ray.autoscaler._private.util").setLevel(logging.WARNING)
    try:
        validate_config(prepare_config(config))
    except ValidationError as error:
        raise ValueError(f"Ray refuses the cluster file: {error.message}") from None
