"""Pulls from a fake hub with bad manners: what comes is whole, proven and never fetched twice."""

import errno
import hashlib
import itertools
import shutil
import sys
import threading
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.base import paths
from runner.base.errors import BadFile, Exit, Refused, SteprunError
from runner.base.progress import Phase, Progress
from runner.catalog.model import ModelFile
from runner.hub import rate
from runner.net.retry import Patience, Transient
from runner.net.stream import HttpStream
from runner.net.transfer import advice, download_range
from runner.weights import block_checksums, cache_layout, inventory, links, pull, verified, verify
from tests.fakes.hub import COMMIT, FakeHub, Manner

PIECE = 1 << 16
QUICK = Patience(tries=3, pause_s=0.01)  # with time enough for a machine whose cores are busy
IMPATIENT = replace(QUICK, head_s=0.6, stall_s=0.6, slow_s=0.4, slow_bytes=1000)  # gives up soon
GOOD = Manner()
NAMES = [f"Q/m-{n:05d}-of-00003.gguf" for n in (1, 2, 3)]
DATA = {name: bytes(range(1, 251)) * (4_000 + 700 * n) for n, name in enumerate(NAMES)}
SIZE = sum(map(len, DATA.values()))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    for module in (block_checksums, verify):
        monkeypatch.setattr(module, "BLOCK_BYTES", PIECE)


@pytest.fixture
def hub(monkeypatch):
    with FakeHub(dict(DATA)) as fake:
        monkeypatch.setenv("HF_ENDPOINT", fake.url)
        yield fake


def file_of(name: str, data: bytes, **changed: Any) -> ModelFile:
    made = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), **changed}
    return ModelFile("weights", "hf", "o/r", COMMIT, name, **made)


FILES = [file_of(name, data) for name, data in DATA.items()]


def get(files=FILES, report=lambda *_: None, patience=QUICK) -> pull.Pulled:
    return pull.pull(files, "m", report, patience)


def whole(files=FILES) -> bool:
    return all(
        cache_layout.expected_path(file, "m").read_bytes() == DATA[file.path]
        and verified.recall(cache_layout.expected_path(file, "m"))
        == verified.Verdict(str(file.sha256))
        for file in files
    )


def left() -> list[str]:
    """Names of all that lies beside the blobs, and has no right to at the end."""
    folder = cache_layout.repo_folder("o/r")
    return [p.name for p in folder.rglob("*") if "incomplete" in p.name or p.name.startswith(".")]


def test_all_shards_come_and_are_proven(hub):
    told: list[Progress] = []
    done = get(report=told.append)
    assert whole()
    assert (done.files, done.bytes, done.resumed) == (3, SIZE, 0)
    assert hub.body_bytes == SIZE
    assert (told[-1].done, told[-1].total) == (SIZE, SIZE)
    assert left() == []
    assert get() == pull.Pulled(0, 0, 0.0, 0)
    for file in FILES:
        known = block_checksums.known(str(file.sha256), file.bytes)
        assert len(known) == block_checksums.count(file.bytes)
        assert not block_checksums.journal(str(file.sha256)).exists()


def test_the_hubs_own_tools_find_it(hub):
    from huggingface_hub import hf_hub_download, scan_cache_dir

    get()
    before = len(hub.asked)
    cache = str(cache_layout.hub_cache())
    found = hf_hub_download("o/r", NAMES[0], revision=COMMIT, cache_dir=cache)
    assert Path(found) == cache_layout.expected_path(FILES[0], "m")
    assert len(hub.asked) == before
    (repo,) = scan_cache_dir(cache).repos
    assert repo.size_on_disk == SIZE


def test_a_broken_connection_is_gone_on_with(hub):
    hub.turns[NAMES[0]] = [Manner(cut=400_000, only="GET")] * 2 + [GOOD]
    get()
    assert whole()
    assert hub.body_bytes == SIZE


def test_a_later_pull_goes_on(hub):
    hub.manners[NAMES[1]] = Manner(cut=300_000, only="GET")
    hub.turns[NAMES[1]] = [Manner(cut=300_000, only="GET"), Manner(status=503)]
    with pytest.raises(SteprunError, match="was not downloaded") as caught:
        get()
    assert "resumes where it stopped" in caught.value.next
    assert not cache_layout.expected_path(FILES[1], "m").exists()
    hub.manners.clear()
    done = get()
    assert whole()
    assert hub.body_bytes == SIZE
    assert done.resumed >= 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_trouble_that_passes(hub, status):
    hub.turns[NAMES[2]] = [Manner(status=status), Manner(status=status), GOOD]
    get()
    assert whole()


def test_a_server_that_ignores_ranges_loses_nothing(hub):
    hub.turns[NAMES[0]] = [Manner(cut=400_000, only="GET"), Manner(ranges=False)]
    get()
    assert whole()


def test_no_head_no_etag_no_matter(hub):
    hub.manner = Manner(head=False, etag=False)
    get()
    assert whole()


@pytest.mark.parametrize(
    ("manner", "why"),
    [
        (Manner(etag='"' + "0" * 64 + '"'), "another file"),
        (Manner(size_lie=5), "should have"),
        (Manner(length_lie=9, only="GET"), "should have"),
        (Manner(page=True, only="GET"), "web page"),
        (Manner(encoding="gzip", only="GET"), "compressed"),
        (Manner(flip=1000, only="GET"), "sha256"),
    ],
)
def test_what_is_not_it_is_never_ready(hub, manner, why):
    hub.manners[NAMES[1]] = manner
    with pytest.raises(BadFile, match="not what was published") as caught:
        get()
    assert why in caught.value.why
    assert caught.value.exit_code == Exit.BAD_FILE
    assert cache_layout.locate(FILES[1], "m") is None
    del hub.manners[NAMES[1]]
    get()
    assert whole()


def test_a_wrong_head_costs_nothing(hub):
    hub.manner = Manner(etag='"' + "0" * 64 + '"')
    with pytest.raises(BadFile):
        get()
    assert hub.body_bytes == 0


def test_good_shards_survive_a_bad_one(hub):
    hub.manners[NAMES[1]] = Manner(flip=1000, only="GET")
    with pytest.raises(BadFile):
        get([FILES[1]])
    get([FILES[0], FILES[2]])
    before = hub.body_bytes
    del hub.manners[NAMES[1]]
    get()
    assert whole()
    assert hub.body_bytes - before == len(DATA[NAMES[1]])


@pytest.mark.parametrize(
    "manner",
    [
        Manner(silent=True),
        Manner(drip_s=0.01, only="GET"),
        Manner(drip_headers_s=0.05, only="GET"),
        Manner(cut=0, only="GET"),
        Manner(status=503),
    ],
)
def test_a_server_in_trouble_is_given_up(hub, manner):
    hub.manners[NAMES[0]] = manner
    with pytest.raises(SteprunError, match="was not downloaded"):
        get(patience=IMPATIENT)
    assert cache_layout.locate(FILES[0], "m") is None


@pytest.mark.parametrize(
    ("status", "exit_code", "says"),
    [(401, Exit.REFUSED, "hf auth login"), (403, Exit.REFUSED, "terms"), (404, 1, "models check")],
)
def test_a_refusal_says_what_to_do(hub, status, exit_code, says):
    hub.manners[NAMES[0]] = Manner(status=status)
    with pytest.raises(SteprunError, match="was not downloaded") as caught:
        get()
    assert caught.value.exit_code == exit_code
    assert says in caught.value.next


def test_nothing_goes_from_https_to_http_nor_elsewhere(hub):
    hub.manners[NAMES[0]] = Manner(redirect="ftp://127.0.0.1/a", only="GET")
    with pytest.raises(Refused, match="was not downloaded") as caught:
        get()
    assert "not a web address" in caught.value.why


def test_the_token_goes_to_the_hub_alone(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with FakeHub() as cdn, FakeHub(dict(DATA), cdn=cdn) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.manner = Manner(token="hf_secret")
        get()
        assert whole()
        assert cdn.body_bytes == SIZE
        assert {asked.token for asked in cdn.asked} == {""}


def test_offline_mode_is_honoured(hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Refused, match="Nothing can be downloaded"):
        get()
    assert hub.asked == []


def test_the_disk_is_asked_first(hub, monkeypatch):
    usage = namedtuple("usage", "total used free")  # noqa: PYI024
    free = SIZE + (32 << 20)  # less than the margin of 64 MiB
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 0, free))
    with pytest.raises(Refused, match="too full"):
        get()
    assert hub.asked == []


def test_a_disk_that_fails_is_said_so(hub, monkeypatch):
    def fails(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("runner.net.transfer.check_room", fails)  # the first to ask the disk
    with pytest.raises(Refused, match="cannot be read or written any more") as caught:
        get([FILES[0]])
    assert "same command again" in caught.value.next
    assert cache_layout.locate(FILES[0], "m") is None


def test_two_pulls_at_once_fetch_once(hub):
    hub.manner = Manner(rate=4e6)
    errors: list[Exception] = []

    def run() -> None:
        try:
            get()
        except Exception as error:  # noqa: BLE001 - the test says which
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert whole()
    assert hub.body_bytes == SIZE


def test_another_revision_with_the_same_bytes_is_linked(hub):
    get()
    before = hub.body_bytes
    newer = [ModelFile("weights", "hf", "o/r", "f" * 40, f.path, f.bytes, f.sha256) for f in FILES]
    get(newer)
    assert cache_layout.locate(newer[0], "m") is not None
    assert hub.body_bytes == before


def test_two_names_for_the_same_bytes_are_fetched_once(hub):
    hub.files["Q/twin.gguf"] = DATA[NAMES[0]]
    twin = file_of("Q/twin.gguf", DATA[NAMES[0]])
    get([FILES[0], twin])
    assert cache_layout.expected_path(twin, "m").read_bytes() == DATA[NAMES[0]]
    assert hub.body_bytes == len(DATA[NAMES[0]])


def test_bytes_that_are_known_to_be_damaged_are_not_linked(hub):
    get([FILES[0]])
    damage(FILES[0], 9)
    verify.verify_files(found()[:1], lambda *_: None)
    newer = ModelFile("weights", "hf", "o/r", "f" * 40, NAMES[0], FILES[0].bytes, FILES[0].sha256)
    get([newer])
    assert cache_layout.expected_path(newer, "m").read_bytes() == DATA[NAMES[0]]


def test_a_part_that_a_power_cut_has_damaged_is_found(hub, monkeypatch):
    hub.turns[NAMES[0]] = [Manner(cut=600_000, only="GET"), Manner(status=404)]
    with pytest.raises(SteprunError):
        get([FILES[0]])
    part = cache_layout.part_path(FILES[0])
    data = bytearray(part.read_bytes())
    assert len(data) == 600_000
    data[5 * PIECE + 9] ^= 1
    part.write_bytes(data)
    hub.manners.clear()
    before = hub.body_bytes
    get([FILES[0]])
    assert whole([FILES[0]])
    assert hub.body_bytes - before == len(DATA[NAMES[0]]) - 5 * PIECE


def test_a_tail_that_a_disk_has_lost_costs_the_tail_alone(hub):
    """As a disk that was pulled out and put back, the machine running on."""
    hub.turns[NAMES[0]] = [Manner(cut=600_000, only="GET"), Manner(status=404)]
    with pytest.raises(SteprunError):
        get([FILES[0]])
    part = cache_layout.part_path(FILES[0])
    part.write_bytes(part.read_bytes()[:-100] + bytes(100))
    hub.manners.clear()
    with pytest.raises(BadFile, match="not what was published"):
        get([FILES[0]])
    kept = 600_000 // PIECE * PIECE
    assert part.stat().st_size == kept
    before = hub.body_bytes
    get([FILES[0]])
    assert whole([FILES[0]])
    assert hub.body_bytes - before == len(DATA[NAMES[0]]) - kept


def test_what_is_sound_is_proven_without_a_network_or_leave_to_write(hub, monkeypatch):
    get()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    opened: list[str] = []
    real = Path.open

    def spy(path: Path, mode: str = "r", *args: Any, **named: Any) -> Any:
        opened.append(mode) if path == found()[0][1] else None
        return real(path, mode, *args, **named)

    monkeypatch.setattr(Path, "open", spy)
    (check,) = verify.verify_files(found()[:1], lambda *_: None, pull.block_download(QUICK))
    assert check.intact
    assert opened == ["rb"]


def test_after_a_reboot_the_loose_end_is_fetched_again(hub, monkeypatch):
    hub.turns[NAMES[0]] = [Manner(cut=600_000, only="GET"), Manner(status=404)]
    with pytest.raises(SteprunError):
        get([FILES[0]])
    part = cache_layout.part_path(FILES[0])
    part.write_bytes(part.read_bytes()[:-100] + bytes(100))
    monkeypatch.setattr("psutil.boot_time", lambda: part.stat().st_mtime + 10)
    hub.manners.clear()
    before = hub.body_bytes
    get([FILES[0]])
    assert whole([FILES[0]])
    kept = 600_000 // PIECE * PIECE
    assert hub.body_bytes - before == len(DATA[NAMES[0]]) - kept


def test_zeros_take_no_room_and_are_proven(hub):
    data = bytes(4 << 20) + b"end"
    hub.files["zeros.gguf"] = data
    file = file_of("zeros.gguf", data)
    get([file])
    path = cache_layout.expected_path(file, "m")
    assert path.read_bytes() == data
    assert path.stat().st_blocks * 512 < 1 << 20


def test_it_comes_over_xet(tmp_path, monkeypatch):
    with FakeHub(dict(DATA), xet=tmp_path / "cas") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        get()
        assert whole()
        assert hub.body_bytes == 0
        damage(FILES[2], 12)
        (check,) = verify.verify_files(found()[2:], lambda *_: None, pull.block_download(QUICK))
        assert (check.intact, check.downloaded, hub.body_bytes) == (True, PIECE, 0)


def test_where_xet_fails_plain_http_does_it(tmp_path, monkeypatch):
    from runner.hub import xet

    def broken(*_args: Any, **_named: Any) -> Any:
        raise RuntimeError("no leave")

    monkeypatch.setattr(xet, "_session", broken)
    with FakeHub(dict(DATA), xet=tmp_path / "cas") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        get(patience=Patience(tries=5, pause_s=0.01))
        assert whole()
        assert hub.body_bytes == SIZE


@pytest.mark.parametrize("why", ["not there", "turned off"])
def test_without_xet_plain_http_does_it(tmp_path, monkeypatch, why):
    from huggingface_hub import constants

    if why == "not there":
        monkeypatch.setitem(sys.modules, "runner.hub.xet", None)
    else:
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with FakeHub(dict(DATA), xet=tmp_path / "cas") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        get()
        assert whole()
        assert hub.body_bytes == SIZE


def test_the_rate_is_remembered(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    assert rate.recall() is None
    rate.remember(1 << 20, 60)
    assert rate.recall() is None
    rate.remember(10**9, 10)
    assert rate.recall() == 10**8
    monkeypatch.setenv("HF_ENDPOINT", "https://other.example")
    assert rate.recall() is None


def test_a_rate_that_cannot_be_noted_is_no_failure(hub, monkeypatch):
    monkeypatch.setattr(rate, "_LEAST_BYTES", 1)
    monkeypatch.setattr(rate, "_LEAST_S", 0)
    (paths.state_dir() / "rate.json").mkdir(parents=True)
    get()
    assert whole()


# --- verification and repair


def damage(file: ModelFile, *places_of: int) -> None:
    path = cache_layout.expected_path(file, "m").resolve()
    data = bytearray(path.read_bytes())
    for at in places_of:
        data[at] ^= 1
    path.write_bytes(data)


def found() -> list[tuple[ModelFile, Path]]:
    return [(file, cache_layout.expected_path(file, "m")) for file in FILES]


def test_intact_files_are_verified(hub):
    get()
    told: list[Progress] = []
    checks = verify.verify_files(found(), told.append)
    assert [(p.intact, p.wrong) for p in checks] == [(True, ())] * 3
    assert told[-1] == Progress(Phase.VERIFYING, SIZE, SIZE)


def test_a_flipped_byte_is_found_and_only_its_piece_fetched(hub):
    get()
    damage(FILES[1], 7 * PIECE + 3)
    checks = verify.verify_files(found(), lambda *_: None)
    assert [p.intact for p in checks] == [True, False, True]
    assert checks[1].wrong == (7 * PIECE,)
    verdict = verified.recall(cache_layout.expected_path(FILES[1], "m"))
    assert verdict
    assert not verdict.intact
    before = hub.body_bytes
    checks = verify.verify_files(found(), lambda *_: None, pull.block_download(QUICK))
    assert [p.intact for p in checks] == [True] * 3
    assert checks[1].downloaded == PIECE
    assert hub.body_bytes - before == PIECE
    assert whole()


def test_several_wrong_pieces_are_mended_in_one_reading(hub):
    get()
    damage(FILES[0], 0, 3 * PIECE, 3 * PIECE + 1, len(DATA[NAMES[0]]) - 1)
    hub.turns["*"] = [Manner(status=503), GOOD]
    (check,) = verify.verify_files(found()[:1], lambda *_: None, pull.block_download(QUICK))
    assert check.intact
    assert len(check.wrong) == 3
    assert whole(FILES[:1])


def test_a_hub_that_sends_something_else_mends_nothing(hub):
    get()
    damage(FILES[0], 100)
    hub.manner = Manner(flip=200, only="GET")
    with pytest.raises(BadFile, match="cannot be repaired"):
        verify.verify_files(found()[:1], lambda *_: None, pull.block_download(QUICK))
    verdict = verified.recall(cache_layout.expected_path(FILES[0], "m"))
    assert not (verdict and verdict.intact)


@pytest.mark.parametrize("second", [Manner(status=404), Manner(flip=3 * PIECE + 5, only="GET")])
def test_what_was_mended_by_half_is_known_to_be_wrong(hub, second):
    get()
    damage(FILES[0], 100, 3 * PIECE)
    hub.turns[NAMES[0]] = [Manner(only="GET"), second]
    with pytest.raises(SteprunError):
        verify.verify_files(found()[:1], lambda *_: None, pull.block_download(QUICK))
    assert verified.recall(found()[0][1]) == verified.Verdict(str(FILES[0].sha256), intact=False)


def test_without_marks_it_is_only_known_to_be_wrong(hub):
    get()
    damage(FILES[0], 100)
    block_checksums.forget(str(FILES[0].sha256))
    (check,) = verify.verify_files(found()[:1], lambda *_: None, pull.block_download(QUICK))
    assert not check.intact
    assert check.wrong == ()


def test_a_proof_makes_the_marks_that_were_missing(hub):
    get()
    known = block_checksums.known(str(FILES[0].sha256), FILES[0].bytes)
    block_checksums.forget(str(FILES[0].sha256))
    verify.verify_files(found()[:1], lambda *_: None)
    assert block_checksums.known(str(FILES[0].sha256), FILES[0].bytes) == known


def test_marks_that_are_damaged_are_no_marks(hub):
    get()
    path = next((paths.cache_dir() / "marks").iterdir())
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    sizes = {str(f.sha256): f.bytes for f in FILES}
    assert block_checksums.known(path.name, sizes[path.name]) == ()


def test_a_file_that_vanishes_is_said_so(hub):
    get()
    cache_layout.blob_path(FILES[0]).unlink()
    with pytest.raises((Refused, OSError)):
        verify.verify_files(found()[:1], lambda *_: None)


def test_a_verdict_ends_with_a_change(hub, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    verified.remember(path, verified.Verdict("0" * 64))
    assert verified.recall(path)
    path.write_bytes(b"three")
    assert verified.recall(path) is None
    verified.forget(path)
    assert verified.recall_all() == {}


# --- links


def test_shards_of_two_places_are_gathered(hub, tmp_path):
    get(FILES[1:])
    lying = tmp_path / "other" / "renamed.gguf"
    lying.parent.mkdir()
    lying.write_bytes(DATA[NAMES[0]])
    links.link_adopted(FILES[0], "m", lying)
    first = links.gather(FILES, "m")
    assert first == cache_layout.first(FILES, "m")
    assert [first.with_name(Path(n).name).read_bytes() for n in NAMES] == list(DATA.values())
    assert hub.body_bytes == sum(len(DATA[name]) for name in NAMES[1:])


# --- what has come is not lost


def begun(hub, size: int = 600_000) -> Path:
    """Leave a pull of the first file after so many bytes; return its part."""
    hub.turns[NAMES[0]] = [Manner(cut=size, only="GET"), Manner(status=404)]
    with pytest.raises(SteprunError):
        get([FILES[0]])
    hub.manners.clear()
    part = cache_layout.part_path(FILES[0])
    assert part.stat().st_size == size
    return part


def stop_at_once(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def slow_check(monkeypatch):
    """Make the reading of what is here take a while."""
    read = block_checksums.BlockHasher._read_block

    def slow(self: Any, part: Any) -> int:
        time.sleep(0.05)
        return read(self, part)

    monkeypatch.setattr(block_checksums.BlockHasher, "_read_block", slow)


def test_a_stop_while_a_part_is_read_loses_nothing_of_it(hub, slow_check):
    part = begun(hub)
    written = part.stat().st_mtime_ns
    with pytest.raises(KeyboardInterrupt):
        get([FILES[0]], report=stop_at_once)
    assert part.stat().st_size == 600_000
    assert part.stat().st_mtime_ns == written  # else a power cut before it would be forgotten
    before = hub.body_bytes
    get([FILES[0]])
    assert hub.body_bytes - before == len(DATA[NAMES[0]]) - 600_000


def test_another_files_failure_loses_nothing_of_a_part_being_read(hub, slow_check):
    part = begun(hub)
    hub.manners[NAMES[1]] = Manner(status=404)
    with pytest.raises(SteprunError, match="00002"):
        get()
    assert part.stat().st_size == 600_000


def test_a_kill_after_damage_was_found_leaves_it_cut_off(hub, monkeypatch):
    part = begun(hub)
    data = bytearray(part.read_bytes())
    data[5 * PIECE + 9] ^= 1
    part.write_bytes(data)
    journal = block_checksums.journal(str(FILES[0].sha256))
    with part.open("r+b") as file:
        good = block_checksums.BlockHasher(journal).resume(file, lambda _: None)
    assert good == 5 * PIECE
    assert part.stat().st_size == good  # before the journal forgets that what followed was wrong


def test_after_a_power_cut_that_took_the_marks_nothing_vouches(hub, monkeypatch):
    part = begun(hub)
    block_checksums.journal(str(FILES[0].sha256)).write_bytes(b"")
    data = part.read_bytes()
    part.write_bytes(data[:-100_000] + bytes(100_000))
    monkeypatch.setattr("psutil.boot_time", lambda: part.stat().st_mtime + 10)
    get([FILES[0]])
    assert whole([FILES[0]])


def test_other_names_for_a_version_cost_nothing(hub):
    cut = Manner(cut=400_000, restless=True, only="GET")
    hub.turns[NAMES[0]] = [cut, cut, Manner(restless=True)]
    get([FILES[0]])
    assert whole([FILES[0]])
    assert hub.body_bytes == len(DATA[NAMES[0]])


def test_a_server_that_is_wrong_about_the_end_costs_nothing(hub):
    cut = Manner(cut=400_000, only="GET")
    hub.turns[NAMES[0]] = [cut, Manner(status=416, only="GET"), GOOD]
    get([FILES[0]])
    assert whole([FILES[0]])
    assert hub.body_bytes == len(DATA[NAMES[0]])


def test_what_a_server_without_ranges_sends_again_is_not_almost_nothing(hub):
    begun(hub, 1_000_000 - 10)
    hub.manners[NAMES[0]] = Manner(ranges=False, rate=800_000, only="GET")  # 1.2 s
    looks = itertools.count()  # ten a second, or fewer: a window is 0.4 s, or longer
    given = replace(IMPATIENT, head_s=30, stall_s=30, tries=1, clock=lambda: next(looks) / 10)
    get([FILES[0]], patience=given)
    assert whole([FILES[0]])


def test_a_thread_left_behind_spoils_nothing(hub, monkeypatch):
    monkeypatch.setattr("runner.net.transfer.LEAVE_S", 0.1)
    begun(hub, 100_000)
    held = threading.Event()
    open_it = HttpStream.open

    def late(self: Any) -> None:
        open_it(self)
        held.wait(5)

    monkeypatch.setattr(HttpStream, "open", late)
    monkeypatch.setattr(HttpStream, "abort", lambda _self: None)
    with pytest.raises(KeyboardInterrupt):
        get([FILES[0]], report=stop_at_once)
    monkeypatch.setattr(HttpStream, "open", open_it)
    hub.manner = Manner(rate=2e6, only="GET")
    threading.Timer(0.3, held.set).start()  # amid the second pull
    get([FILES[0]])
    assert whole([FILES[0]])


def test_a_head_that_drips_is_given_up(hub, monkeypatch):
    monkeypatch.setattr("runner.net.transfer.LEAVE_S", 0.1)
    hub.manner = Manner(drip_headers_s=0.05, only="HEAD")
    began = time.monotonic()
    with pytest.raises(SteprunError, match="was not downloaded") as caught:
        get([FILES[0]], patience=replace(IMPATIENT, head_s=0.2, tries=1))
    assert "No answer" in caught.value.why
    assert time.monotonic() - began < 20


def test_a_mending_that_gets_no_bytes_is_given_up(hub):
    class Stuck:
        size, etag, skipped = 1, "", 0

        def __init__(self) -> None:
            self.over = threading.Event()

        def open(self) -> None:
            pass

        def __iter__(self) -> Any:
            self.over.wait(30)
            raise Transient("It was ended.")
            yield b""

        def close(self) -> None:
            pass

        def abort(self) -> None:
            self.over.set()

    class Source:
        name = "a"
        advice = advice("a")

        def stream(self, *_: Any) -> Stuck:
            return Stuck()

    began = time.monotonic()
    with pytest.raises(SteprunError, match="was not downloaded"):
        download_range(Source(), 0, 1, IMPATIENT)  # type: ignore[arg-type]
    assert time.monotonic() - began < 10


def test_a_server_of_whole_files_mends_nothing_far_inside(hub, monkeypatch):
    monkeypatch.setattr("runner.net.transfer._MOST_SKIPPED", 300_000)
    get()
    damage(FILES[0], 7 * PIECE)
    hub.manner = Manner(ranges=False)
    before = hub.body_bytes
    with pytest.raises(SteprunError, match="was not downloaded") as caught:
        verify.verify_files(found()[:1], lambda *_: None, pull.block_download(QUICK))
    assert "whole files only" in caught.value.why
    assert hub.body_bytes - before <= len(DATA[NAMES[0]])


def test_a_part_that_is_too_long_counts_for_nothing(hub):
    part = cache_layout.part_path(FILES[0])
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(SIZE))
    assert pull.remaining_bytes(FILES) == SIZE
    assert get().resumed == 0
    assert whole()


def test_the_same_bytes_in_two_repositories(hub):
    other = ModelFile(
        "weights",
        "hf",
        "p/s",
        COMMIT,
        *[getattr(FILES[0], key) for key in ("path", "bytes", "sha256")],
    )
    get([FILES[0], other])
    for file in (FILES[0], other):
        assert cache_layout.expected_path(file, "m").read_bytes() == DATA[NAMES[0]]


def test_two_names_for_the_same_bytes_where_no_links_are_allowed(hub, monkeypatch):
    def refused(*_: Any) -> None:
        raise OSError(1314, "A required privilege is not held by the client")

    monkeypatch.setattr(links, "_replace", refused)
    hub.files["Q/twin.gguf"] = DATA[NAMES[0]]
    twin = file_of("Q/twin.gguf", DATA[NAMES[0]])
    assert pull.remaining_bytes([FILES[0], twin]) == len(DATA[NAMES[0]])
    get([FILES[0], twin])
    for file in (FILES[0], twin):
        assert cache_layout.expected_path(file, "m").read_bytes() == DATA[NAMES[0]]


def test_a_full_disk_is_no_matter_where_nothing_is_left_to_fetch(hub, monkeypatch):
    get([FILES[0]])
    newer = ModelFile("weights", "hf", "o/r", "f" * 40, NAMES[0], FILES[0].bytes, FILES[0].sha256)
    usage = namedtuple("usage", "total used free")  # noqa: PYI024
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 1 << 40, 0))
    get([newer])
    assert cache_layout.locate(newer, "m") is not None


def test_a_full_disk_names_the_variable_that_helps(hub, monkeypatch):
    usage = namedtuple("usage", "total used free")  # noqa: PYI024
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 1 << 40, 0))
    with pytest.raises(Refused) as caught:
        get()
    assert "HF_HOME" in caught.value.next


def test_a_sample_of_a_hub_in_trouble_is_short(hub, monkeypatch):
    monkeypatch.setattr(pull, "SAMPLE_MOST_S", 1.0)
    hub.manner = Manner(status=503)
    began = time.monotonic()
    assert pull.sample(FILES, "m") is None
    assert time.monotonic() - began < 10


def test_a_file_changed_while_it_is_read_has_no_verdict(hub):
    get([FILES[0]])
    path = cache_layout.expected_path(FILES[0], "m")
    verified.forget(path)
    changed: list[bool] = []

    def change(*_: Any) -> None:
        if not changed:
            changed.append(True)
            damage(FILES[0], 3)

    read = verify._Verification._read

    def changing(self: Any, stream: Any) -> Any:
        made = read(self, stream)
        change()
        return made

    verify._Verification._read, kept = changing, read  # type: ignore[method-assign]
    try:
        verify.verify_files([(FILES[0], path)], lambda *_: None)
    finally:
        verify._Verification._read = kept  # type: ignore[method-assign]
    verdict = verified.recall(path)
    assert not (verdict and verdict.intact)


# --- what is removed


def test_bytes_that_another_name_shows_stay(hub):
    hub.files["Q/twin.gguf"] = DATA[NAMES[0]]
    twin = file_of("Q/twin.gguf", DATA[NAMES[0]])
    get([FILES[0], twin])
    assert inventory.remove(inventory.removals([twin], "m")) == 0
    assert whole([FILES[0]])  # its verdict, too
    get([twin])
    inventory.remove(inventory.removals([FILES[0], twin], "m"))
    assert not cache_layout.blob_path(twin).exists()


def test_a_blob_in_the_hubs_shared_store_is_no_blob_of_that_name(hub):
    get([FILES[0]])
    blob = cache_layout.blob_path(FILES[0])
    store = cache_layout.hub_cache() / "blobs" / "ab" / ("ab" * 32)
    store.parent.mkdir(parents=True)
    blob.replace(store)
    blob.symlink_to(store)
    assert inventory.look([FILES[0]], "m")[0].path is not None
    (found,) = inventory.named(f"hf:o/r/{NAMES[0]}@{COMMIT}")[:1] or [None]
    assert found is None or found.sha256 == FILES[0].sha256
    newer = ModelFile("weights", "hf", "o/r", "f" * 40, NAMES[0], FILES[0].bytes, FILES[0].sha256)
    (old,) = inventory.other_revisions([newer])
    assert old.sha256 == FILES[0].sha256
    gone = inventory.removals([FILES[0]], "m")
    assert sum(each.frees for each in gone) == 0  # it is the hub's, and others may show it
    inventory.remove(gone)
    assert store.exists()


def test_a_link_in_a_circle_can_be_removed(hub):
    shown = cache_layout.expected_path(FILES[0], "m")
    shown.parent.mkdir(parents=True)
    shown.symlink_to(shown.name)
    assert verified.recall(shown) is None
    inventory.remove(inventory.removals([FILES[0]], "m"))
    assert not shown.is_symlink()
    shown.symlink_to(shown.name)
    get([FILES[0]])
    assert whole([FILES[0]])


def test_a_kill_at_the_last_moment_leaves_no_journal(hub, monkeypatch):
    def killed(*_: Any) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(links, "settle", killed)
    with pytest.raises(KeyboardInterrupt):
        get([FILES[0]])
    assert not block_checksums.journal(str(FILES[0].sha256)).exists()


def test_what_a_kill_left_is_removed(hub):
    get([FILES[0]])
    shown, blob = cache_layout.expected_path(FILES[0], "m"), cache_layout.blob_path(FILES[0])
    shown.rename(shown.with_name(f".{shown.name}.0123abcd"))  # a kill before the last rename
    assert inventory.remove(inventory.removals([FILES[0]], "m")) >= FILES[0].bytes
    assert not blob.exists()
    assert list(shown.parent.iterdir()) == []
