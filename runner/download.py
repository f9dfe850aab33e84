"""One file from the network to its place: bounded, resumed, checked, whole or not at all.

What has come lies beside the place, in a file that is named after the content promised, and a
later call goes on from there. A server may answer anything, slowly, for ever: no more is taken
than was promised, and each stage has a time.
"""

import asyncio
import hashlib
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import httpx2

from runner import web
from runner.disk import check_room, explained, sync_folder
from runner.endpoint import Endpoint
from runner.errors import BadFile, Refused, SteprunError

Progress = Callable[[str, int, int], None]  # what is being done, bytes done, bytes in all

MOST_BYTES: Final = 8 << 30  # of a file whose size nobody promised; the largest archive is 0.6 GB
_CHUNK = 1 << 20
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_LONGEST_PAUSE_S = 60.0  # a server that asks for a longer one is reported


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server is given, in seconds.

    `head_s`: to answer at all. `stall_s`: between two pieces. `slow_s`: a window in which at least
    `slow_bytes` must come. `tries`: in a row, without a new megabyte; between two of them `pause_s`
    passes, then twice that, and so on.
    """

    head_s: float = 30.0
    stall_s: float = 30.0
    slow_s: float = 60.0
    slow_bytes: int = 64 << 10
    tries: int = 4
    pause_s: float = 1.0


class _Again(Exception):  # noqa: N818 - a wish, not a fault
    """Something that may pass. `pause_s`: how long the server asks to wait."""

    def __init__(self, why: str, pause_s: float = 0) -> None:
        super().__init__(why)
        self.pause_s = pause_s


def download(
    url: str,
    to: Path,
    *,
    sha256: str,
    size: int | None = None,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> None:
    """Bring `url` to `to`, replacing it whole.

    `size`: what it must be, in bytes; else what the server says. Raises BadFile (it is not what was
    promised; nothing of it is kept), Refused (no room, no encryption) or SteprunError (no network,
    or a server in trouble; what has come is kept).
    """
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError(sha256)
    with explained(to.parent):
        to.parent.mkdir(parents=True, exist_ok=True)
        part = to.with_name(f"{to.name}.{sha256[:16]}.part")
        try:
            digest = _bring(url, part, size, progress or _say_nothing, patience or Patience())
            if digest != sha256:
                raise _wrong(url, f"Its sha256 is {digest}, and should be {sha256}.")
        except BadFile:
            part.unlink()
            raise
        part.replace(to)
        sync_folder(to.parent)


def _bring(url: str, part: Path, size: int | None, tell: Progress, patience: Patience) -> str:
    """Bring all of it into `part`; return its sha256."""
    with part.open("ab+") as file:
        fetch = _Fetch(url, file, size, tell)
        with asyncio.Runner() as runner:
            runner.run(fetch.run(patience))
        file.flush()
        os.fsync(file.fileno())
    return fetch.digest.hexdigest()


def _say_nothing(_what: str, _done: int, _total: int) -> None:
    pass


class _Fetch:
    """One file on its way: what has come is in `file`, and in `digest`."""

    def __init__(self, url: str, file: BinaryIO, size: int | None, tell: Progress) -> None:
        self._url = url
        self._file = file
        self._size = size
        self._tell = tell
        self._etag = ""
        self.digest = hashlib.sha256()
        file.seek(0)
        while chunk := file.read(_CHUNK):  # of an earlier call
            self.digest.update(chunk)
        self._have = file.tell()
        if size is not None and self._have > size:
            self._anew()

    async def run(self, patience: Patience) -> None:
        tried, before = 0, self._have
        timeout = httpx2.Timeout(patience.stall_s, connect=patience.head_s)
        async with web.client(timeout, local=Endpoint(self._url).local) as http:
            while self._have != self._size:
                try:
                    await self._once(http, patience)
                except _Again as error:
                    tried = 1 if self._have - before >= _CHUNK else tried + 1
                    before = self._have
                    if tried >= patience.tries or error.pause_s > _LONGEST_PAUSE_S:
                        raise self._given_up(error) from error
                    pause = max(error.pause_s, patience.pause_s * 2 ** (tried - 1))
                    self._tell("waiting for the server", self._have, self._size or 0)
                    await asyncio.sleep(pause)

    async def _once(self, http: httpx2.AsyncClient, patience: Patience) -> None:
        url = self._url
        for _ in range(web.HOPS + 1):
            headers = {"Accept-Encoding": "identity", "User-Agent": web.AGENT}
            if self._have:
                headers["Range"] = f"bytes={self._have}-"
                headers |= {"If-Range": self._etag} if self._etag.startswith('"') else {}
            try:
                async with asyncio.timeout(patience.head_s):
                    request = http.build_request("GET", url, headers=headers)
                    response = await http.send(request, stream=True)
            except TimeoutError as error:
                raise _Again(f"No answer within {patience.head_s:g} seconds.") from error
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
                raise _Again(_failed(error)) from error
            try:
                if response.status_code not in web.REDIRECTS:
                    await self._take(response, patience)
                    return
                url = web.next_hop(url, response.headers.get("location", ""))
            except web.NoHop as error:
                raise Refused(
                    f"{_plain(self._url)} was not fetched",
                    why=str(error),
                    next="Fetch the file yourself, check it, and give its path",
                ) from error
            finally:
                await response.aclose()
        raise _Again(f"It redirects more than {web.HOPS} times.")

    async def _take(self, response: httpx2.Response, patience: Patience) -> None:
        self._begin(response)
        began, then = time.monotonic(), self._have
        pieces = response.aiter_raw()  # of a size asked for, the last would be lost
        while self._have != self._size:
            try:
                async with asyncio.timeout(patience.slow_s):
                    data = await anext(pieces, b"")
            except TimeoutError as error:
                raise _Again("It sends almost nothing.") from error
            except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
                raise _Again(_failed(error)) from error
            if not data:
                raise _Again("The connection broke off.")
            if self._have + len(data) > (self._size or 0):
                raise _wrong(self._url, f"It has more than the {self._size:,} bytes promised.")
            self._file.write(data)
            self.digest.update(data)
            self._have += len(data)
            self._tell("downloading", self._have, self._size or 0)
            if (now := time.monotonic()) - began > patience.slow_s:
                if self._have - then < patience.slow_bytes:
                    raise _Again("It sends almost nothing.")
                began, then = now, self._have

    def _begin(self, response: httpx2.Response) -> None:
        """Judge an answer by its head, and make what has come agree with where it begins."""
        status, headers = response.status_code, response.headers
        if status in _AGAIN:
            pause = web.whole(headers.get("retry-after", "")) or 0
            asks = " and asks for a pause" if status == 429 else ""
            raise _Again(f"The server answers with status {status}{asks}.", pause)
        if status == 416:  # it has changed, and is shorter than what has come
            self._anew()
            raise _Again("It is shorter than it was (status 416).")
        if status not in {200, 206}:
            raise _refusal(self._url, status)
        if "text/html" in headers.get("content-type", ""):
            raise _wrong(self._url, "A web page came in its place; a network may ask to sign in.")
        if headers.get("content-encoding", "identity") != "identity":
            raise _wrong(self._url, "It comes compressed once more.")
        found = web.content_range(headers) if status == 206 else None
        if status == 200:
            self._anew()
            size = web.whole(headers.get("content-length", ""))
        elif found and found[0] == self._have:
            size = found[2]
        else:
            self._anew()
            raise _Again("It sends another part than was asked for.")
        promised = self._size if self._size is not None else size
        if promised is None or promised > MOST_BYTES:
            raise _wrong(self._url, "It does not say how long it is, or is too long.")
        if size not in {None, promised}:
            raise _wrong(self._url, f"It has {size:,} bytes, and should have {promised:,}.")
        self._size = promised
        self._etag = web.etag(headers)
        check_room(Path(self._file.name).parent, promised - self._have)

    def _anew(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._have = 0
        self.digest = hashlib.sha256()

    def _given_up(self, error: _Again) -> SteprunError:
        of = f" of {self._size:,}" if self._size else ""
        wait = f" It asks to wait for {error.pause_s:.0f} seconds." if error.pause_s else ""
        return SteprunError(
            f"{_plain(self._url)} was not fetched",
            why=f"{error}{wait} {self._have:,}{of} bytes have come.",
            next="Check the network or the proxy (HTTPS_PROXY), and try again: "
            "it goes on where it was",
        )


def _refusal(url: str, status: int) -> SteprunError:
    gone = status in {404, 410}
    return SteprunError(
        f"{_plain(url)} was not fetched",
        why=f"There is no such file there (status {status})."
        if gone
        else f"The server refuses (status {status}).",
        next="Take another version, or another mirror",
    )


def _wrong(url: str, why: str) -> BadFile:
    return BadFile(
        f"{_plain(url)} is not what was published",
        why=why,
        next="Try again; if it happens again, ask the keeper of the server or mirror",
    )


def _failed(error: Exception) -> str:
    return f"The connection failed: {web.shown(str(error) or type(error).__name__)}."


def _plain(url: str) -> str:
    """Return an address as it may be printed: a signed one keeps its signature in the query."""
    return web.shown(url.partition("?")[0])
