"""The index: the longest match is found among many, whatever the lengths."""

from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.kv import chains
from runner.kv.index import LOOK_AT, KvIndex
from runner.kv.saved import Saved

KEY = "0" * 32
# Chains of a small alphabet share beginnings; numbers stand for blocks.
WORDS = st.lists(st.integers(0, 1), min_size=1, max_size=70)


def chain(blocks: list[int]) -> tuple[int, ...]:
    """Return a hash of each beginning, as a prompt's chain has it."""
    beginnings = (repr(blocks[: end + 1]).encode() for end in range(len(blocks)))
    digests = (blake2b(each, digest_size=8).digest() for each in beginnings)
    return tuple(int.from_bytes(each, "big", signed=True) for each in digests)


def saved(number: int, blocks: int) -> Saved:
    return Saved(
        f"{number:016x}", 1, 1, 100 - number % 50, 1.0, 1.0, 1.0, 0, 0.0, "", blocks, KEY, ""
    )


@pytest.fixture
def index(tmp_path: Path) -> KvIndex:
    index = KvIndex(tmp_path / "index.sqlite")
    index.open()
    return index


def insert(index: KvIndex, number: int, hashes: tuple[int, ...]) -> int:
    with index.change():
        return index.insert(saved(number, len(hashes)), b"0" * 32, hashes, shared=False, worth=0.0)


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.lists(WORDS, max_size=12), WORDS)
def test_the_longest_matches_are_those_of_a_comparison(
    index: KvIndex, files: list[list[int]], asked: list[int]
) -> None:
    with index.change() as db:
        for table in ("saved", "chains", "blocks"):
            db.execute(f"DELETE FROM {table}")  # noqa: S608
    for number, each in enumerate(files):
        insert(index, number, chain(each))
    mine = chain(asked)

    def common(each: list[int]) -> int:
        return sum(one == other for one, other in zip(mine, chain(each), strict=False))

    expected = sorted((depth for each in files if (depth := common(each))), reverse=True)
    found = index.longest(mine, 4, KEY)
    assert [depth for _, depth in found] == expected[:4]
    assert all(common(files[int(each.id, 16)]) == depth for each, depth in found)


def test_among_many_with_the_same_beginning_the_one_that_goes_on_is_found(index: KvIndex) -> None:
    system = list(range(1000, 1100))
    for number in range(3 * LOOK_AT):
        insert(index, number, chain([*system, *([number] * 40)]))
    mine = chain([*system, *([7] * 60)])
    (first, *others) = index.longest(mine, 4, KEY)
    assert (int(first[0].id, 16), first[1]) == (7, 140)
    assert [depth for _, depth in others] == [100, 100, 100]


def test_what_is_forgotten_leaves_no_row(index: KvIndex) -> None:
    for number in range(3):
        insert(index, number, chain([1] * 50 + [number]))
    with index.change() as db:
        index.forget([saved(number, 1).id for number in range(3)])
        for table in ("saved", "chains", "blocks"):
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)  # noqa: S608


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1)))
def test_a_chain_is_packed_and_unpacked(hashes: list[int]) -> None:
    assert chains.unpacked(chains.packed(hashes)) == tuple(hashes)
    assert chains.same(chains.packed(hashes), chains.packed([*hashes, 1])) == len(hashes)
