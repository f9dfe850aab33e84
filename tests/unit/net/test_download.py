"""Downloads from a fake server with bad manners: what comes is whole and checked, or not there."""

import hashlib
import shutil
import threading
from collections import namedtuple
from dataclasses import replace
from typing import Any

import pytest

from runner.base.disk import explained
from runner.base.errors import BadFile, Exit, Refused, SteprunError
from runner.base.paths import cache_dir
from runner.base.progress import Phase, Progress
from runner.net import http
from runner.net.download import download
from runner.net.retry import Patience
from tests.fakes.hub import Manner
from tests.fakes.releases import FakeReleases

DATA = bytes(range(256)) * 12_000  # 3 MB
SUM = hashlib.sha256(DATA).hexdigest()
QUICK = Patience(tries=3, pause_s=0.01)  # with time enough for a machine whose cores are busy
IMPATIENT = replace(QUICK, head_s=0.5, stall_s=0.5, slow_s=0.4, slow_bytes=1000)  # gives up soon
GOOD = Manner()


@pytest.fixture
def server():
    with FakeReleases({"b1": {"a.tar.gz": DATA}}) as fake:
        yield fake


@pytest.fixture
def place(tmp_path):
    return tmp_path / "downloads" / "a.tar.gz"


def get(server, place, *, manners=(), **asked: Any) -> None:
    server.turns["b1/a.tar.gz"] = list(manners)
    asked = {"sha256": SUM, "size": len(DATA), "patience": QUICK, **asked}
    download(f"{server.url}/b1/a.tar.gz", place, **asked)


def left(place) -> list[str]:
    return sorted(path.name.partition(".gz")[2] for path in place.parent.iterdir())


def test_a_file_comes_whole_and_alone(server, place):
    told: list[Progress] = []
    get(server, place, progress=told.append)
    assert place.read_bytes() == DATA
    assert left(place) == [""]
    assert [seen.done for seen in told] == sorted(seen.done for seen in told)
    assert told[-1] == Progress(Phase.DOWNLOADING, len(DATA), len(DATA))


def test_an_older_file_is_replaced(server, place):
    place.parent.mkdir()
    place.write_bytes(b"old")
    get(server, place)
    assert place.read_bytes() == DATA


def test_a_broken_connection_is_gone_on_with(server, place):
    cut = Manner(cut=700_000)
    get(server, place, manners=[cut, cut, GOOD])
    assert place.read_bytes() == DATA
    assert server.body_bytes == len(DATA)  # no byte came twice
    ranges = [asked.range for asked in server.asked]
    assert ranges == ["", "bytes=700000-", "bytes=1400000-"]
    assert server.asked[1].headers["If-Range"]


def test_a_later_call_goes_on(server, place):
    with pytest.raises(SteprunError, match="was not downloaded") as caught:
        get(server, place, manners=[Manner(cut=500_000), *[Manner(status=503)] * 3])
    assert "500,000 of 3,072,000 bytes have arrived" in caught.value.why
    assert not place.exists()
    get(server, place, manners=[GOOD])
    assert place.read_bytes() == DATA
    assert server.asked[-1].range == "bytes=500000-"
    assert left(place) == [""]


def test_ctrl_c_keeps_what_came(server, place):
    def interrupt(seen):
        if seen.done > 1_000_000:
            raise KeyboardInterrupt

    manners = [Manner(cut=1_500_000), Manner(silent=True)]
    with pytest.raises(KeyboardInterrupt):
        get(server, place, progress=interrupt, manners=manners, patience=IMPATIENT)
    assert not place.exists()
    before = server.body_bytes
    get(server, place, manners=[GOOD])
    assert place.read_bytes() == DATA
    assert server.asked[-1].range != ""
    assert server.body_bytes - before < len(DATA)


@pytest.mark.parametrize(
    "second",
    [Manner(ranges=False), Manner(restless=True), Manner(etag=False)],
    ids=["no ranges", "another version", "no version"],
)
def test_what_cannot_be_gone_on_with_begins_anew(server, place, second):
    get(server, place, manners=[Manner(cut=700_000), second, second])
    assert place.read_bytes() == DATA


def test_a_server_that_is_never_done_is_given_up(server, place):
    def told(*_: Any) -> None:
        assert len(server.asked) < 30

    server.manner = Manner(cut=2_000_000, restless=True)
    with pytest.raises(SteprunError, match="was not downloaded"):
        get(server, place, progress=told)
    assert server.body_bytes <= 2 * QUICK.tries * 2_000_000


def test_a_thread_that_ends_between_two_looks(server, place, monkeypatch):
    class Late(threading.Thread):
        looked = False

        def is_alive(self) -> bool:
            if self.looked:
                return super().is_alive()
            self.looked = True
            self.join()
            return True

    monkeypatch.setattr(threading, "Thread", Late)
    get(server, place)
    assert place.read_bytes() == DATA


def test_the_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(Refused, match="elsewhere") as caught, explained(tmp_path / "here"):
        raise PermissionError(13, "Permission denied", str(tmp_path / "elsewhere" / "a"))
    assert "HF_HOME" in caught.value.next
    with pytest.raises(Refused, match="too full") as caught, explained(cache_dir()):
        raise OSError(28, "No space left on device")
    assert "STEPRUN_HOME" in caught.value.next


def test_another_part_than_asked_for(server, place):
    odd = Manner(content_range="bytes 5-9/3072000")
    get(server, place, manners=[Manner(cut=700_000), odd, GOOD])
    assert place.read_bytes() == DATA
    assert [asked.range for asked in server.asked] == ["", *["bytes=700000-"] * 2]


def test_a_part_longer_than_the_file_begins_anew(server, place):
    place.parent.mkdir()
    place.with_name(f"{place.name}.{SUM[:16]}.part").write_bytes(DATA + b"more")
    get(server, place)
    assert place.read_bytes() == DATA


def test_a_damaged_part_is_noticed_and_thrown_away(server, place):
    place.parent.mkdir()
    place.with_name(f"{place.name}.{SUM[:16]}.part").write_bytes(b"x" * 1000)
    with pytest.raises(BadFile, match="not what was published"):
        get(server, place)
    assert left(place) == []
    get(server, place)
    assert place.read_bytes() == DATA


@pytest.mark.parametrize(
    ("manner", "asked", "why"),
    [
        (GOOD, {"sha256": "0" * 64}, "sha256"),
        (GOOD, {"size": len(DATA) + 1}, "should have"),
        (GOOD, {"size": len(DATA) - 1}, "should have"),
        (Manner(page=True), {}, "web page"),
        (Manner(page=True), {"size": None}, "web page"),
        (Manner(encoding="gzip"), {}, "compressed"),
        (Manner(chunked=True), {"size": None}, "how long"),
        (Manner(chunked=True), {"size": 1000}, "more than the 1,000"),
    ],
)
def test_what_was_not_promised_is_refused(server, place, manner, asked, why):
    with pytest.raises(BadFile, match="not what was published") as caught:
        get(server, place, manners=[manner], **asked)
    assert why in caught.value.why
    assert caught.value.exit_code == Exit.BAD_FILE
    assert left(place) == []
    assert server.body_bytes <= len(DATA)


def test_without_a_length_the_promise_bounds_it(server, place):
    get(server, place, manners=[Manner(chunked=True)])
    assert place.read_bytes() == DATA


@pytest.mark.parametrize(
    ("manner", "why"),
    [
        (Manner(status=500), "status 500"),
        (Manner(status=429), "asks for a pause"),
        (Manner(silent=True), "No answer within"),
        (Manner(drip_headers_s=0.05), "No answer within"),
        (Manner(drip_s=0.01), "almost nothing"),
        (Manner(cut=0), "broke off"),
        (Manner(redirect="{path}"), "redirects more than"),
        (Manner(length_lie=9), "should have"),
    ],
)
def test_a_server_in_trouble_is_given_up(server, place, manner, why):
    server.manner = manner
    with pytest.raises(SteprunError) as caught:
        get(server, place, patience=IMPATIENT)
    assert why in caught.value.why or "connection" in caught.value.why.lower()
    assert not place.exists()
    assert len(server.asked) <= QUICK.tries * (http.HOPS + 1)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_trouble_that_passes(server, place, status):
    get(server, place, manners=[Manner(status=status), Manner(status=status), GOOD])
    assert place.read_bytes() == DATA


def test_a_pause_longer_than_is_bearable_is_reported(server, place):
    with pytest.raises(SteprunError, match="was not downloaded") as caught:
        get(server, place, manners=[Manner(status=429, headers=(("Retry-After", "3600"),))])
    assert "3600 seconds" in caught.value.why
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_not_asked_again(server, place, status):
    with pytest.raises(SteprunError, match="was not downloaded") as caught:
        get(server, place, manners=[Manner(status=status)])
    assert f"status {status}" in caught.value.why
    assert len(server.asked) == 1


def test_a_redirect_is_followed_and_an_odd_one_is_not(server, place):
    server.files["elsewhere"] = DATA
    get(server, place, manners=[Manner(redirect="/elsewhere?signature=secret")])
    assert place.read_bytes() == DATA
    with pytest.raises(Refused) as caught:
        get(server, place, manners=[Manner(redirect="ftp://127.0.0.1/a")])
    assert "not a web address" in caught.value.why


def test_nothing_goes_from_https_to_http():
    assert http.next_hop("https://a.example/x", "/y") == "https://a.example/y"
    assert http.next_hop("https://a.example/x", "https://b.example/y") == "https://b.example/y"
    with pytest.raises(http.RedirectRefused, match="without encryption"):
        http.next_hop("https://a.example/x", "http://b.example/y")


def test_the_disk_is_asked_first(server, place, monkeypatch):
    usage = namedtuple("usage", "total used free")  # noqa: PYI024
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1 << 20))
    with pytest.raises(Refused, match="too full"):
        get(server, place)


def test_nobody_listens(place):
    with FakeReleases({}) as gone:
        url = gone.url
    with pytest.raises(SteprunError) as caught:
        download(f"{url}/a", place, sha256=SUM, patience=QUICK)
    assert "connection failed" in caught.value.why
    assert "HTTPS_PROXY" in caught.value.next
