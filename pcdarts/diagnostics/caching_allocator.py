"""A model of PyTorch's caching allocator for GPUs: what it reserves for a sequence of allocations.

Sizes and rules are those of PyTorch's `c10/cuda/CUDACachingAllocator.cpp` and `c10/core/AllocatorConfig.h` at default
settings, for one stream and without a limit: memory once reserved stays reserved.
"""

from bisect import bisect_left, insort

BLOCK = 512
"""Sizes are rounded up to multiples of this."""
SMALL = 2**20
"""Sizes up to this come from segments of their own."""
SMALL_SEGMENT, MIDDLE_SEGMENT = 2 * 2**20, 20 * 2**20
"""What is reserved at once for small sizes, and for those from SMALL to LARGE."""
LARGE = 10 * 2**20
"""From this size on, a segment is as large as the allocation, rounded up to a multiple of SMALL_SEGMENT."""


class CachingAllocator:
    """Bytes reserved by allocations that were made and freed in turn."""

    def __init__(self) -> None:
        self.reserved = 0
        """Bytes of all segments."""
        self._end = 0  # of the last segment
        self._pools = {True: _Pool(), False: _Pool()}  # of small sizes, and of all others
        self._blocks: dict[int, tuple[int, bool]] = {}  # size and pool of what is allocated, by address

    def allocate(self, size: int) -> int:
        """Allocate bytes; returns their address."""
        size = max(BLOCK, _round_up(size, BLOCK))
        small = size <= SMALL
        pool = self._pools[small]
        block = pool.take(size)
        if block is None:
            block = self._reserve(size)
        address, found = block
        rest = found - size
        if rest >= BLOCK if small else rest > SMALL:
            pool.give(address + size, rest)
            found = size
        self._blocks[address] = found, small
        return address

    def _reserve(self, size: int) -> tuple[int, int]:
        """Address and size of a new segment for an allocation of `size` bytes."""
        if size <= SMALL:
            segment = SMALL_SEGMENT
        else:
            segment = MIDDLE_SEGMENT if size < LARGE else _round_up(size, SMALL_SEGMENT)
        address = self._end + BLOCK  # segments do not touch, so their blocks never merge
        self._end = address + segment
        self.reserved += segment
        return address, segment

    def free(self, address: int) -> None:
        """Free an allocation; its memory stays reserved."""
        size, small = self._blocks.pop(address)
        self._pools[small].give(address, size)


class _Pool:
    """Free blocks; neighbors are merged."""

    def __init__(self) -> None:
        self._by_size: list[tuple[int, int]] = []  # (size, address), sorted
        self._sizes: dict[int, int] = {}  # by address
        self._starts: dict[int, int] = {}  # address by end

    def take(self, size: int) -> tuple[int, int] | None:
        """Remove the smallest block that holds `size` bytes; returns its address and size."""
        index = bisect_left(self._by_size, (size, -1))
        return self._remove(self._by_size[index][1]) if index < len(self._by_size) else None

    def give(self, address: int, size: int) -> None:
        """Add a block."""
        if address in self._starts:
            address, before = self._remove(self._starts[address])
            size += before
        if address + size in self._sizes:
            size += self._remove(address + size)[1]
        insort(self._by_size, (size, address))
        self._sizes[address], self._starts[address + size] = size, address

    def _remove(self, address: int) -> tuple[int, int]:
        size = self._sizes.pop(address)
        del self._starts[address + size]
        del self._by_size[bisect_left(self._by_size, (size, address))]
        return address, size


def _round_up(size: int, step: int) -> int:
    return -(-size // step) * step
