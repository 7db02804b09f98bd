"""The model of PyTorch's caching allocator, against sizes by hand."""

import random

import pytest

from pcdarts.diagnostics.caching_allocator import CachingAllocator

KIB, MIB = 2**10, 2**20


@pytest.mark.parametrize(
    ("size", "reserved"),
    [
        (1, 2 * MIB),
        (MIB, 2 * MIB),
        (MIB + 1, 20 * MIB),
        (10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB),
        (10 * MIB + 1, 12 * MIB),
    ],
)
def test_what_a_first_allocation_reserves(size, reserved):
    allocator = CachingAllocator()
    allocator.allocate(size)
    assert allocator.reserved == reserved


def test_small_sizes_fill_a_segment_in_blocks_of_512_bytes():
    allocator = CachingAllocator()
    for _ in range(2 * MIB // 512):
        allocator.allocate(1)
    assert allocator.reserved == 2 * MIB
    allocator.allocate(1)
    assert allocator.reserved == 4 * MIB


def test_a_remainder_of_at_most_1_mib_is_not_split_off():
    allocator = CachingAllocator()
    for _ in range(2):
        allocator.allocate(9 * MIB + 512 * KIB)  # the second one takes the last 10.5 MiB whole
    assert allocator.reserved == 20 * MIB
    allocator.allocate(MIB + 512)
    assert allocator.reserved == 40 * MIB


def test_freed_neighbors_are_merged_in_any_order():
    for order in ((0, 1, 2), (2, 1, 0), (0, 2, 1), (1, 0, 2)):
        allocator = CachingAllocator()
        addresses = [allocator.allocate(6 * MIB) for _ in range(3)]
        for index in order:
            allocator.free(addresses[index])
        allocator.allocate(18 * MIB)
        assert allocator.reserved == 20 * MIB


def test_neighbors_of_different_segments_are_not_merged():
    allocator = CachingAllocator()
    for address in [allocator.allocate(10 * MIB) for _ in range(2)]:
        allocator.free(address)
    allocator.allocate(20 * MIB)
    assert allocator.reserved == 40 * MIB


def test_the_smallest_block_that_is_large_enough_is_taken():
    allocator = CachingAllocator()
    large, small = allocator.allocate(40 * MIB), allocator.allocate(12 * MIB)
    allocator.free(large)
    allocator.free(small)
    assert allocator.allocate(11 * MIB + 512 * KIB) == small
    assert allocator.allocate(38 * MIB) == large
    assert allocator.reserved == 52 * MIB


def test_allocations_never_overlap():
    allocator, rng, held, live = CachingAllocator(), random.Random(0), dict[int, int](), 0
    for _ in range(300):
        if held and rng.random() < 0.5:
            address = rng.choice(sorted(held))
            allocator.free(address)
            live -= held.pop(address)
        size = rng.choice((rng.randrange(1, MIB), rng.randrange(MIB, 30 * MIB)))
        held[allocator.allocate(size)] = size
        live += size
        ordered = sorted(held.items())
        assert all(start + size <= after for (start, size), (after, _) in zip(ordered, ordered[1:], strict=False))
        assert allocator.reserved >= live
