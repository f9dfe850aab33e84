"""The web page at `/`: the engine's own, and what a browser sees while there is none.

The engine is asked without its key: so it hands out the files of its page, and nothing else.
"""

import asyncio
import gzip
import zlib
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Final

import aiohttp
from aiohttp import web

from runner.gateway.engine.keeper import Keeper
from runner.gateway.refusal import Refusal
from runner.gateway.routes import Route
from runner.gateway.settings import Settings

FILE_BYTES: Final = 64 << 20  # the largest file of llama.cpp b11549's page has 9 MB
FETCH_S: Final = 10.0
_PASSED: Final = ("Content-Type", "ETag", "Cache-Control")
_ISOLATION: Final = ("Cross-Origin-Embedder-Policy", "Cross-Origin-Opener-Policy")
_HTML: Final = "text/html; charset=utf-8"
# No other page may show this one in a frame. An answer's pictures are not fetched from elsewhere:
# their addresses could carry away what was said.
PAGE_POLICY: Final = (
    "frame-ancestors 'none'; base-uri 'self'; form-action 'self'; object-src 'none'; "
    "img-src 'self' data: blob:"
)
OWN_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
_ALWAYS: Final = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_NOTICE: Final = Template(Path(__file__).with_name("notice.html").read_text("utf-8"))


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file of the engine's page. `data` is compressed where `gzipped`."""

    status: int
    headers: dict[str, str]
    data: bytes
    gzipped: bool


async def answer(
    request: web.BaseRequest, route: Route, keeper: Keeper, settings: Settings
) -> web.Response:
    """Answer a browser. Raises Refusal (404, 503) for a file that cannot be had now."""
    start = route.path in {"/", "/index.html"}
    engine = keeper.engine
    if start:
        keeper.sleep.wake()
    if keeper.state != "ready" or engine is None:
        if start:
            return _waiting(keeper, settings)
        raise Refusal(503, "The model is still loading.", retry_after_s=2)
    try:
        file = await _fetch(engine.endpoint.base_url + route.path, request)
    except (aiohttp.ClientError, TimeoutError):
        if start:
            return _waiting(keeper, settings)
        raise Refusal(503, "The engine does not answer now.", retry_after_s=2) from None
    if file.status not in {200, 304}:
        if start:
            return _no_page(request, settings)
        raise Refusal(404, f"There is nothing at {route.path[:200]!r}.")
    return await _passed(file, request)


async def _fetch(url: str, request: web.BaseRequest) -> PageFile:
    """Ask the engine for a file of its page, compressed: some builds have no other form."""
    headers = {"Accept-Encoding": "gzip"}
    if known := request.headers.get("If-None-Match"):
        headers["If-None-Match"] = known[:200]
    async with (
        aiohttp.ClientSession(
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=FETCH_S),
            trust_env=False,
        ) as http,
        http.request(request.method, url, headers=headers, allow_redirects=False) as got,
    ):
        data = bytearray()
        async for piece in got.content.iter_any():
            data += piece
            if len(data) > FILE_BYTES:
                raise Refusal(502, "A file of the engine's web page is too large.")
        kept = {name: got.headers[name] for name in (*_PASSED, *_ISOLATION) if name in got.headers}
        gzipped = got.headers.get("Content-Encoding", "").lower() == "gzip"
        return PageFile(got.status, kept, bytes(data), gzipped)


async def _passed(file: PageFile, request: web.BaseRequest) -> web.Response:
    """Return a file as the client can read it: unpacked for one that does not unpack itself."""
    headers = {**file.headers, **_ALWAYS, "Vary": "Accept-Encoding"}
    if file.headers.get("Content-Type", "").startswith("text/html"):
        headers["Content-Security-Policy"] = PAGE_POLICY
    data = file.data
    if file.gzipped and _takes_gzip(request.headers.get("Accept-Encoding", "")):
        headers["Content-Encoding"] = "gzip"
    elif file.gzipped and data:
        try:
            data = await asyncio.to_thread(_unpacked, data)
        except (OSError, EOFError, zlib.error):
            raise Refusal(502, "A file of the engine's web page is damaged.") from None
    return web.Response(status=file.status, body=data, headers=headers)


def _unpacked(data: bytes) -> bytes:
    """Return a gzip file's content, as long as it is at most `FILE_BYTES` long."""
    unpacked = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data, FILE_BYTES + 1)
    if len(unpacked) > FILE_BYTES:
        raise gzip.BadGzipFile("too large")
    return unpacked


def _takes_gzip(accepts: str) -> bool:
    """Tell from `Accept-Encoding` whether a client unpacks gzip."""
    for each in accepts.lower().split(","):
        name, _, weight = each.strip().partition(";")
        if name.strip() in {"gzip", "x-gzip", "*"}:
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def _waiting(keeper: Keeper, settings: Settings) -> web.Response:
    """Return a page that loads itself again until the model answers."""
    name = settings.title or settings.model or "the model"
    if keeper.state == "restarting":
        headline = f"{name} is being started again"
        text = "The engine has stopped. The chat opens by itself when it is back."
        if waits := keeper.waits_for:
            text = f"It waits for {waits} The chat opens by itself when it is back."
    elif keeper.state == "stopped":
        headline = f"{name} has been stopped"
        text = "The terminal in which steprun serve runs says why."
    else:
        headline = f"{name} is loading"
        waited = keeper.waited_s
        far = keeper.loaded.forms(waited)[0] if keeper.loaded else f"{waited:.0f} s so far"
        text = f"{far}. The chat opens by itself when it is ready."
    return _notice(503, headline, text, kind="waiting", retry_s=2)


def _no_page(request: web.BaseRequest, settings: Settings) -> web.Response:
    """Return what to do where the engine was built without its page."""
    base = f"{request.scheme}://{request.host}"
    text = (
        f"{settings.title or settings.model} is served, but the engine in use was built without "
        f"a web page. The embedded one has it: steprun serve --engine embedded. Or connect any "
        f"client of OpenAI's API with the base URL {base}/v1, of Anthropic's with {base}."
    )
    return _notice(404, "This engine has no web page", text, kind="no-page")


def _notice(status: int, headline: str, text: str, *, kind: str, retry_s: int = 0) -> web.Response:
    refresh = f'<meta http-equiv="refresh" content="{retry_s}">' if retry_s else ""
    page = _NOTICE.substitute(
        kind=kind, refresh=refresh, headline=escape(headline), text=escape(text)
    )
    headers = {
        **_ALWAYS,
        "Content-Type": _HTML,
        "Cache-Control": "no-store",
        "Content-Security-Policy": OWN_POLICY,
    }
    if retry_s:
        headers["Retry-After"] = str(retry_s)
    return web.Response(status=status, body=page.encode(), headers=headers)
