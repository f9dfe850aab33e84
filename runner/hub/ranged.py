"""Pieces of a file on the network: ranged requests, bounded in time, in bytes and in trust.

A server may answer anything, slowly, for ever. So a whole conversation has a deadline, no more is
read than was asked for, redirects are followed here (the hub's token goes to the hub alone, and
nothing goes from https to http), and whatever is wrong becomes an error that says so.
"""

import asyncio
import os
import re
import time
from dataclasses import dataclass
from typing import NoReturn, Self

import httpx2

from runner.base.errors import BadFile, Refused, SteprunError, UsageError
from runner.gguf.scan import shown
from runner.hub.address import Address, endpoint, same_origin
from runner.net import web
from runner.net.endpoint import Endpoint

CONNECT_S = 10.0
READ_S = 20.0  # between two pieces
TOTAL_S = 60.0
_AGAIN = "Try again later, or fetch the file and give its path: --model PATH"


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a file. `size`: of the whole file; `etag`: the server's name for this version."""

    data: bytes
    size: int
    etag: str


class Session:
    """Asks servers for pieces of files; TOTAL_S for all that is asked of one session."""

    def __init__(self, *, local: bool) -> None:
        """Prepare. `local`: for a server on this machine, where no proxy may stand in between."""
        self._deadline = time.monotonic() + TOTAL_S
        self._token = _token()
        timeout = httpx2.Timeout(READ_S, connect=CONNECT_S)
        self._http = web.client(timeout, local=local)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close all connections."""
        self._runner.run(self._http.aclose())
        self._runner.close()

    def get(self, place: Address, start: int, end: int, known: str = "") -> Piece | None:
        """Return the bytes from `start` up to `end`, or fewer, but one at least.

        None where the server still has the version `known`, an earlier Piece's `etag`.
        """
        try:
            return self._runner.run(self._bounded(place, start, end, known))
        except TimeoutError as error:
            raise _trouble(place, f"It took more than {TOTAL_S:.0f} seconds in all.") from error
        except httpx2.ConnectTimeout as error:
            raise _trouble(place, f"No answer within {CONNECT_S:.0f} seconds.") from error
        except httpx2.TimeoutException as error:
            raise _trouble(place, f"Nothing came for {READ_S:.0f} seconds.") from error
        except (
            httpx2.HTTPError,
            httpx2.InvalidURL,
            httpx2.StreamError,
            OSError,
            ValueError,
        ) as error:
            why = str(error) or type(error).__name__
            raise _trouble(place, f"The connection failed: {shown(why)}.") from error

    async def _bounded(self, place: Address, start: int, end: int, known: str) -> Piece | None:
        async with asyncio.timeout(self._deadline - time.monotonic()):
            return await self._get(place, start, end, known)

    async def _get(self, place: Address, start: int, end: int, known: str) -> Piece | None:
        url = place.url
        for _ in range(web.HOPS + 1):
            headers = {
                "Accept-Encoding": "identity",
                "Range": f"bytes={start}-{end - 1}",
                "User-Agent": web.AGENT,
            }
            if known:
                headers["If-None-Match"] = known
            if self._token and same_origin(url, endpoint()):
                headers["Authorization"] = f"Bearer {self._token}"
            async with self._http.stream("GET", url, headers=headers) as response:
                status = response.status_code
                if status in web.REDIRECTS:
                    url = _next_hop(place, url, response)
                elif status == 304 and known:
                    return None
                elif status in {200, 206}:
                    etag = response.headers.get("etag", "")
                    if known and etag == known:
                        return None
                    return await _take(place, response, start, end)
                else:
                    _refuse(place, response)
        raise _trouble(place, f"It redirects more than {web.HOPS} times.")


async def _take(place: Address, response: httpx2.Response, start: int, end: int) -> Piece:
    """Read the body, never more than was asked for."""
    encoding = response.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise _odd(place, f"It sends the file compressed ({shown(encoding)}), so no part is known.")
    length = web.whole(response.headers.get("content-length", ""))
    skip = 0
    if response.status_code == 206:
        told = response.headers.get("content-range", "")
        first, last, size = web.content_range(response.headers) or (0, 0, 0)
        if not start == first <= last < min(end, size):
            raise _odd(place, f"Asked for bytes {start}-{end - 1}, it sends {shown(told)}.")
        count = last - first + 1
        if length not in {None, count}:
            raise _odd(place, f"It promises {length:,} bytes where its range has {count:,}.")
    else:  # it does not know ranges, and sends the file from its beginning
        if length is None:
            page = "text/html" in response.headers.get("content-type", "")
            raise _odd(place, "It is a web page." if page else "It does not say how long it is.")
        size, skip = length, start
        count = min(end, size) - start
        if count <= 0:
            raise _odd(place, f"It is empty, or has become shorter: {size:,} bytes.")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) >= skip + count:
            break
    if len(body) < skip + count or (response.status_code == 206 and len(body) > count):
        raise _odd(place, f"It promises {count:,} bytes and sends {len(body) - skip:,}.")
    return Piece(bytes(body[skip : skip + count]), size, web.etag(response.headers))


def _next_hop(place: Address, url: str, response: httpx2.Response) -> str:
    """Return where a redirect leads, if it may be followed."""
    try:
        return web.next_hop(url, response.headers.get("location", ""))
    except web.RedirectRefused as error:
        if not error.host:
            raise _trouble(place, str(error)) from error
        raise Refused(
            f"{shown(place.text)} was not read",
            why=str(error),
            next="Use another mirror (HF_ENDPOINT), or fetch the file yourself",
        ) from error


def _refuse(place: Address, response: httpx2.Response) -> NoReturn:
    """Say what a status means."""
    status, code = response.status_code, response.headers.get("x-error-code", "")
    what = f"{shown(place.text)} cannot be read"
    hub = same_origin(place.url, endpoint())
    if status in {401, 403}:
        why = f"The server refuses (status {status})"
        # The hub says 401 of what does not exist, so as not to tell what is hidden.
        missing = " There may be no such repository." if code == "RepoNotFound" else ""
        raise Refused(
            what,
            why=f"{why}: it is not open to everyone, or not to this token.{missing}",
            next="Check the name; accept the model's terms on its page; then: export HF_TOKEN=..."
            if hub
            else "Check the link; it may have run out",
        )
    if status in {404, 410}:
        raise UsageError(
            what,
            why=f"There is no such {'revision' if code == 'RevisionNotFound' else 'file'} there"
            f" (status {status}).",
            next="Look the name up in the repository's list of files; model cards often name "
            "others, and large models lie in parts, ...-00001-of-0000N.gguf",
        )
    if status == 416:
        raise _odd(place, "It is empty, or shorter than it was a moment ago (status 416).")
    if status == 429:
        pause = web.whole(response.headers.get("retry-after", ""))
        wait = f" for {pause} seconds" if pause is not None and pause < 86_400 else ""
        raise SteprunError(
            what,
            why="The server asks for a pause (status 429).",
            next=f"Wait{wait}; then try again",
        )
    if status >= 500:
        raise _trouble(place, f"The server is in trouble (status {status}).")
    raise _trouble(place, f"The server answers with status {status}.")


def _trouble(place: Address, why: str) -> SteprunError:
    return SteprunError(f"{shown(place.text)} cannot be read", why=why, next=_AGAIN)


def _odd(place: Address, why: str) -> BadFile:
    return BadFile(f"{shown(place.text)} is not a file that can be read", why=why, next=_AGAIN)


def _token() -> str:
    """Return the hub's token; one that no header could carry is refused, and never shown."""
    token = os.environ.get("HF_TOKEN", "").strip()
    if token and not re.fullmatch(r"[!-~]+", token):
        raise UsageError(
            "HF_TOKEN is not a token",
            why="It holds spaces or other characters that no token has.",
            next="Set it again from huggingface.co/settings/tokens",
        )
    return token


def is_local(place: Address) -> bool:
    """Tell whether a server is on this machine."""
    return Endpoint(place.url).local
