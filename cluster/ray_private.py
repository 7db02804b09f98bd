"""The only uses of Ray's private modules, which may change in any release."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from ray._private import ray_constants, services


def starts_here(address: str) -> bool:
    """Whether `ray.init` would start Ray on this machine for this address, instead of joining a cluster."""
    return "://" not in address and services.canonicalize_bootstrap_address(address or None) is None  # type: ignore[arg-type]


@contextlib.contextmanager
def loopback_only() -> Iterator[None]:
    """Let a Ray that starts within this context listen on 127.0.0.1 only, as it does on desktop systems."""
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def validate_cluster_file(config: dict[str, Any]) -> None:
    """Validate a file for `ray up`; raises ValueError if Ray's schema refuses it."""
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    logging.getLogger("ray.autoscaler._private.util").setLevel(logging.WARNING)
    try:
        validate_config(prepare_config(config))
    except ValidationError as error:
        raise ValueError(f"Ray refuses the cluster file: {error.message}") from None
