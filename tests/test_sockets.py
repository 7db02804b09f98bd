"""Addresses of sockets, as the kernel writes them."""

import sys

import pytest

from tests.sockets import address


def test_addresses_are_read_as_the_kernel_writes_them():
    if sys.byteorder != "little":
        pytest.skip("written out for little-endian machines")
    assert address("0100007F:1F90") == ("127.0.0.1", 8080)
    assert address("0000000000000000FFFF00000100007F:0016") == ("127.0.0.1", 22)
    assert address("00000000000000000000000000000000:0016") == ("::", 22)
