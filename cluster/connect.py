"""Connect to a running Ray cluster, or start Ray on this machine."""

import contextlib
import logging
import os
import socket
import warnings
from pathlib import Path

import ray

from cluster.authentication import private_token
from cluster.ray_private import loopback_only, starts_here


def connect(address: str = "") -> None:
    """Connect this process to Ray, once.

    `address` is host:port, `auto` (a cluster that runs here) or `local` (start one for this process alone).  Empty: the
    environment's RAY_ADDRESS, else a cluster that runs here, else a local one.  Raises ValueError if none answers, and
    OSError if Ray cannot start on this machine.
    """
    if ray.is_initialized():
        return
    # Ray's own tables and warnings would drown the progress display; errors of trials reach the tables instead.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # of trials that fail while the driver stops
    os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1e9")  # no snapshots of Tune's state: nothing restores them
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl-C ends the study, not only its first half
    os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "200")  # actors that start at once
    os.environ.setdefault("RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE", "1")  # else Tune itself retries preempted trials
    os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # a relative --data-dir means the same to trials
    warnings.filterwarnings("ignore", module=r"ray\..*")
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    _require_answer(address)
    private_token()
    try:
        _join_or_start(address)
    except (ConnectionError, ValueError) as error:
        raise ValueError(
            f"no Ray cluster answers at {address or os.environ.get('RAY_ADDRESS', 'this machine')!r} "
            f"({str(error).splitlines()[0]}); give --address host:port, or --address local to start one here"
        ) from None
    except OSError as error:  # its folder is read-only or full, or its path too long for a socket
        raise OSError(
            f"Ray cannot start on this machine ({str(error).splitlines()[0]}); "
            "set RAY_TMPDIR to a folder with a short path, free space and write permission"
        ) from None
    except Exception as error:  # Ray raises nothing more specific on a machine that is too busy
        if "timed out" not in str(error):
            raise
        raise OSError(
            f"Ray cannot start on this machine ({str(error).splitlines()[0]}); wait until the machine is less busy, "
            "and run the same command again"
        ) from None


def _join_or_start(address: str) -> None:
    alone = starts_here(address)
    with loopback_only() if alone else contextlib.nullcontext():
        ray.init(
            address=address or None,
            include_dashboard=False if alone else None,  # takes seconds to start; no study needs it
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env=None if alone else {"py_modules": _checkout_packages()},
        )


def _checkout_packages() -> list[str]:
    """The checkout's packages, which Ray sends to the nodes so that all run the driver's code; none if installed."""
    checkout = Path(__file__).resolve().parent.parent
    if not (checkout / "pyproject.toml").is_file():
        return []
    return [str(path.parent) for path in sorted(checkout.glob("*/__init__.py")) if path.parent.name != "tests"]


def _require_answer(address: str) -> None:
    """Raise ValueError if nobody listens at host:port; Ray itself would try for two minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "://" in address:
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"no Ray cluster answers at {address!r} ({error}); give --address host:port, or local to start one here"
        ) from None
