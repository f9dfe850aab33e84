"""Blocks of 8 MiB, and what is known of a file: no constant is replaced here."""

import hashlib
import os
from dataclasses import replace

import pytest

from runner.base.units import MIB
from runner.catalog.model import ModelFile
from runner.weights import block_checksums, cache_layout, pull, verified, verify
from runner.weights.verified import Verdict
from tests.fakes.hub import COMMIT, FakeHub


@pytest.mark.parametrize(
    ("size", "count"),
    [(1, 1), (8 * MIB, 1), (8 * MIB + 1, 2), (46_483_327_296, 5_542)],
)
def test_a_file_has_a_checksum_for_each_8_mib(size, count):
    assert block_checksums.count(size) == count
    start, end = block_checksums.span(count - 1, size)
    assert (start, end) == ((count - 1) * 8 * MIB, size)


def test_a_flipped_byte_costs_one_block_of_8_mib(monkeypatch):
    data = b"".join(bytes([n]) * MIB for n in range(1, 21))
    file = ModelFile(
        "weights", "hf", "o/r", COMMIT, "m.gguf", len(data), hashlib.sha256(data).hexdigest()
    )
    path = cache_layout.expected_path(file, "m")
    with FakeHub({"m.gguf": data}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        pull.pull([file], "m", lambda _: None)
        assert len(block_checksums.known(str(file.sha256), len(data))) == 3
        with path.open("r+b") as stream:
            stream.seek(9 * MIB)
            stream.write(b"\xff")
        before = hub.body_bytes
        (check,) = verify.verify_files([(file, path)], lambda _: None, pull.block_download())
        assert (check.intact, check.wrong, check.downloaded) == (True, (8 * MIB,), 8 * MIB)
        assert hub.body_bytes - before == 8 * MIB
    assert path.read_bytes() == data


def test_an_error_of_one_file_does_not_stop_the_others(tmp_path):
    good, gone = (ModelFile("weights", "hf", "o/r", COMMIT, name, 4, "") for name in "ab")
    good = replace(good, sha256=hashlib.sha256(b"good").hexdigest())
    (tmp_path / "a").write_bytes(b"good")
    found = [(gone, tmp_path / "b"), (good, tmp_path / "a")]
    missing, intact = verify.verify_files(found, lambda _: None, keep_errors=True)
    assert isinstance(missing.error, FileNotFoundError)
    assert (intact.intact, intact.error) == (True, None)
    with pytest.raises(FileNotFoundError):
        verify.verify_files(found, lambda _: None)


def test_a_verdict_is_void_once_the_time_of_change_differs(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    verified.remember(path, Verdict("0" * 64, intact=False))
    assert verified.recall(path) == Verdict("0" * 64, intact=False)
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))
    assert verified.recall(path) is None


def test_verdicts_of_an_earlier_steprun_are_understood(home, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    stat = path.stat()
    entry = f'"size": {stat.st_size}, "mtime_ns": {stat.st_mtime_ns}, "sha256": "ab"'
    (home / "state").mkdir(parents=True)
    (home / "state/verdicts.json").write_text(f'{{"{path}": {{{entry}, "sound": false}}}}')
    assert verified.recall(path) == Verdict("ab", intact=False)


@pytest.mark.parametrize("text", ["[]", '{"a": 1}', '{"a": {"q": ' + "[" * 200_000], ids=range(3))
def test_damaged_verdicts_count_as_none(home, text):
    (home / "state").mkdir(parents=True)
    (home / "state/verdicts.json").write_text(text)
    assert verified.recall_all() == {}
