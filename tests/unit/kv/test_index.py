"""The index: the longest match is found among many, whatever the lengths."""

import sqlite3
import tracemalloc
from contextlib import closing
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.kv import chains
from runner.kv.index import _COLUMNS, LOOK_AT, PAGES_KIB, KvIndex, _row
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


def test_what_a_new_file_makes_superfluous_is_found_without_all_rows_in_memory(
    index: KvIndex,
) -> None:
    def peak(count: int) -> int:
        with index.change() as db:
            db.execute("DELETE FROM saved")
            for number in range(count):
                row = (*_row(saved(number, 1)), b"0" * 32, number, False, 0.0, 0)
                db.execute(
                    f"INSERT INTO saved({_COLUMNS}, sha256, last, shared, worth, failures) "
                    f"VALUES({', '.join('?' * len(row))})",
                    row,
                )
        tracemalloc.start()
        try:
            assert index.covered(-1, chain([1]), KEY) == ()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # what is made once
    assert peak(2000) < peak(20) + 20_000


def test_sqlite_keeps_a_bounded_part_of_the_file_in_memory(tmp_path: Path) -> None:
    kept: list[int] = []

    class Watched(KvIndex):
        def _connect(self) -> None:
            super()._connect()
            kept.extend(self._open_db().execute("PRAGMA cache_size").fetchone())

    with closing(Watched(tmp_path / "index.sqlite")) as watched:
        watched.open()
    assert kept == [-PAGES_KIB]  # negative: in KiB
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as other:
        (usual,) = other.execute("PRAGMA cache_size").fetchone()
    assert usual != -PAGES_KIB
