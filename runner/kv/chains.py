"""Chains of hashes as the index keeps them: all of a file in one value, and some in rows. Pure.

A row for each block would be some thousand for a prompt, at as many places of the table. So a file
has rows for a few of its blocks, by which it is found, and the rest is compared in the value.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Final

HASH_BYTES: Final = 8
GAP: Final = 16  # blocks between two rows of a file, so that a long one has some hundred


def depths(blocks: int) -> list[int]:
    """Return for how many blocks a file has a row: often at first, later every `GAP` blocks."""
    return [*(each for each in (1, 2, 4, 8) if each <= blocks), *range(GAP, blocks + 1, GAP)]


def sparse(hashes: Sequence[int]) -> Iterator[int]:
    """Yield the hashes that have a row."""
    return (hashes[each - 1] for each in depths(len(hashes)))


def packed(hashes: Sequence[int]) -> bytes:
    """Return hashes as one value."""
    return struct.pack(f"<{len(hashes)}q", *hashes)


def unpacked(data: bytes) -> tuple[int, ...]:
    """Return the hashes of a value; what is left over at its end is ignored."""
    count = len(data) // HASH_BYTES
    return struct.unpack_from(f"<{count}q", data)


def same(one: bytes, other: bytes) -> int:
    """Return how many hashes of two values are the same, from the first."""
    count = 0
    for at in range(0, min(len(one), len(other)) - HASH_BYTES + 1, HASH_BYTES):
        if one[at : at + HASH_BYTES] != other[at : at + HASH_BYTES]:
            break
        count += 1
    return count
