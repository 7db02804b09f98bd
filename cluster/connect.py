"""Connect to a running Ray cluster, or start Ray on this machine."""

import logging
import os
import tempfile
import warnings

import ray

from cluster.address import find_cluster
from cluster.authentication import private_token
from cluster.code import package_folders
from cluster.ray_private import OwnCode, session_parent, starting

SOCKET_BYTES = 107
"""Longest path of a socket on Linux."""


def connect(address: str = "") -> None:
    """Connect this process to Ray, once.

    `address` is host:port, `auto` (a cluster that runs here) or `local` (start one for this process alone).  Empty: the
    environment's RAY_ADDRESS, else a cluster that runs here, else a local one.  Raises ValueError if none answers or an
    environment variable prevents it, and OSError if Ray cannot start on this machine.
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
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    warnings.filterwarnings("ignore", module=r"ray\..*")
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    alone = require_connectable(address)
    try:
        _join_or_start(address, alone)
    except (ConnectionError, ValueError) as error:
        raise ValueError(
            f"no Ray cluster answers at {address or os.environ.get('RAY_ADDRESS', 'this machine')!r} "
            f"({str(error).splitlines()[0]}); give --address host:port, or --address local to start one here"
        ) from None
    except OSError as error:  # its folder is full
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


def require_connectable(address: str = "") -> bool:
    """Raise ValueError if the address, the temporary folder or the home folder is of no use.

    Returns whether `connect` starts Ray on this machine, instead of joining a cluster.
    """
    alone = find_cluster(address) is None
    if alone:
        require_session_folder()
    private_token(alone=alone)
    return alone


def require_session_folder() -> None:
    """Raise ValueError if Ray could not keep the files of a session, which `RAY_TMPDIR` or `TMPDIR` places."""
    parent = session_parent()
    variable = next((name for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)), "RAY_TMPDIR")
    remedy = "set RAY_TMPDIR to a folder with a short path, free space and write permission"
    longest = SOCKET_BYTES - len(f"/ray/session_2000-01-01_00-00-00_000000_{os.getpid()}/sockets/plasma_store")
    if len(os.fsencode(parent)) > longest:
        raise ValueError(
            f"{variable} is {parent!r}, but must be at most {longest} bytes long, as Ray's sockets lie below it; "
            f"{remedy}"
        )
    folder = os.path.join(parent, "ray")
    try:
        if not os.path.isdir(folder):
            os.makedirs(folder, exist_ok=True)
            os.chmod(folder, 0o777)  # as Ray does: other users of this machine keep theirs there, too
        os.rmdir(tempfile.mkdtemp(dir=folder))
    except OSError as error:
        raise ValueError(f"{variable} is {parent!r}, but Ray cannot write there ({error.strerror}); {remedy}") from None


def _join_or_start(address: str, alone: bool) -> None:
    with starting(loopback=alone):
        ray.init(
            address=address or None,
            include_dashboard=False if alone else None,  # takes seconds to start; no study needs it
            log_to_driver=False,
            logging_level=logging.ERROR,
            job_config=OwnCode(),
            # Ray sends them to the nodes: trials run the driver's code, even if its files are edited meanwhile.
            runtime_env={"py_modules": list(map(str, package_folders().values()))},
        )
