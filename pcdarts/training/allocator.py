"""glibc keeps freed memory: large tensors reuse pages instead of asking the kernel for zeroed ones in every step."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of malloc.h."""
NEVER = -1
LARGEST = 2**30
"""Blocks up to this many bytes come from the heap; glibc's own limit is 32 MiB."""


def keep_freed_memory() -> bool:
    """Keep freed memory in this process until it ends, if its C library is glibc; returns whether it is.

    Numbers stay the same, and the resident memory stays at its peak.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST) and mallopt(M_TRIM_THRESHOLD, NEVER))
