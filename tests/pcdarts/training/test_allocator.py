"""glibc's allocator."""

import ctypes

import pytest

from pcdarts.training import allocator


class FakeLibrary:
    def __init__(self):
        self.calls = []

    def mallopt(self, parameter, value):
        self.calls.append((parameter, value))
        return 1


@pytest.mark.parametrize(("name", "calls"), [("glibc", [(-3, 2**30), (-1, -1)]), ("", [])], ids=["glibc", "another"])
def test_freed_memory_is_kept_where_the_library_is_glibc(monkeypatch, name, calls):
    library = FakeLibrary()
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: (name, "2.36"))
    monkeypatch.setattr(ctypes, "CDLL", lambda path: library)
    assert allocator.keep_freed_memory() == bool(calls)
    assert library.calls == calls
