"""A server whose name is unknown: given up soon, but not where it answered before."""

import hashlib
import socket
from collections.abc import Iterator

import pytest

from runner.base.errors import SteprunError
from runner.base.progress import ignore
from runner.net.http import Client
from runner.net.retry import Patience, Transient
from runner.net.transfer import Download, advice, transfer_all

DATA = bytes(range(256)) * 8192  # 2 MiB
PATIENT = Patience(tries=50, pause_s=0.001, most_pause_s=0.001)


class Hasher:
    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def resume(self, *_: object) -> int:
        return 0

    def update(self, data: bytes) -> None:
        self._sha256.update(data)

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()


class Source:
    """Sends `first` bytes, then cannot be found `lost` times, then sends the rest."""

    name = "o/r/m.gguf"
    advice = advice("o/r/m.gguf")
    etag = ""
    size: int | None = len(DATA)
    skipped = 0

    def __init__(self, first: int, lost: int) -> None:
        self.first, self.lost, self.asked, self.start = first, lost, 0, 0

    def stream(self, start: int, etag: str, end: int | None = None) -> "Source":
        self.asked += 1
        self.start = start
        return self

    def open(self) -> None:
        if self.start >= self.first and self.asked <= self.lost:
            raise Transient("Name or service not known.", unresolved=True)

    def __iter__(self) -> Iterator[bytes]:
        end = self.first if self.start < self.first else len(DATA)
        yield DATA[self.start : end]
        if end < len(DATA):
            raise Transient("It was cut.")

    def abort(self) -> None: ...

    def close(self) -> None: ...


def get(source: Source, part) -> None:
    download = Download(
        source,
        part,
        size=len(DATA),
        make=Hasher,
        finish=lambda _: None,
        patience=PATIENT,
    )
    transfer_all([download], ignore)


def test_a_name_that_was_never_found_is_given_up_soon(tmp_path):
    source = Source(first=0, lost=40)
    with pytest.raises(SteprunError) as caught:
        get(source, tmp_path / "part")
    assert source.asked == 6
    assert "Check the network" in caught.value.next


def test_a_name_that_is_lost_on_the_way_is_waited_for(tmp_path):
    get(Source(first=1 << 20, lost=40), tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == DATA


def test_what_an_unknown_name_is(monkeypatch):
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with pytest.raises(Transient) as caught:
        Client(PATIENT).send("http://no.such.host.invalid/")
    assert caught.value.unresolved
