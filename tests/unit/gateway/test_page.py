"""The web page at `/`, in front of a fake engine that has one, or none."""

import gzip
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web

from runner.base.loaded import Loaded
from runner.gateway import routes
from runner.gateway.engine.keeper import Keeper
from runner.gateway.engine.sleep import Sleep
from runner.gateway.own import page
from runner.gateway.refusal import Refusal
from runner.gateway.settings import Settings
from runner.net.endpoint import Endpoint
from tests.fakes.page_engine import ETAG, PageEngine

HTML = b"<!doctype html><title>llama.cpp</title>"
SCRIPT = b"let a = 1;" * 1000
FILES = {
    "/": ("text/html; charset=utf-8", HTML),
    "/index.html": ("text/html; charset=utf-8", HTML),
    "/_app/immutable/bundle.CheKa0wg.js": ("text/javascript", SCRIPT),
}


@dataclass
class FakeEngineProcess:
    """What the page asks of an engine's process."""

    endpoint: Endpoint


@dataclass
class FakeKeeper:
    """What the page asks of a keeper."""

    engine: FakeEngineProcess | None
    state: str = "ready"
    waited_s: float = 12.0
    waits_for: str = ""
    sleep: Sleep = field(default_factory=Sleep)
    loaded: Loaded | None = None


@dataclass
class Browser:
    """Asks a gateway that serves nothing but its page."""

    url: str
    keeper: FakeKeeper
    http: aiohttp.ClientSession
    headers: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, Any, bytes]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.request(method, self.url + path, headers=sent) as got:
            return got.status, got.headers, await got.read()


@asynccontextmanager
async def _browser(keeper: FakeKeeper) -> AsyncIterator[Browser]:
    settings = Settings(title="Step <3>", model="step")

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            route = routes.find(request.method, request.path)
            assert route.work == "page"
            return await page.answer(request, route, cast("Keeper", keeper), settings)
        except Refusal as refusal:
            return web.Response(status=refusal.status, text=refusal.message)

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        async with aiohttp.ClientSession(auto_decompress=False) as http:
            http.headers.pop("Accept-Encoding", None)
            yield Browser(f"http://127.0.0.1:{port}", keeper, http)
    finally:
        await runner.cleanup()


@pytest.fixture
def engine() -> Iterator[PageEngine]:
    with PageEngine(FILES) as running:
        yield running


@pytest.fixture
async def browser(engine: PageEngine) -> AsyncIterator[Browser]:
    process = FakeEngineProcess(Endpoint(engine.url, api_key=engine.key))
    async with _browser(FakeKeeper(process)) as opened:
        yield opened


@pytest.mark.parametrize("accepts", ["identity", "gzip;q=0", "br"])
async def test_a_client_that_does_not_unpack_gets_the_page_unpacked(
    browser: Browser, accepts: str
) -> None:
    status, headers, data = await browser.get("/", Accept_Encoding=accepts)
    assert (status, data) == (200, HTML)
    assert "Content-Encoding" not in headers
    assert headers["Vary"] == "Accept-Encoding"


async def test_a_browser_gets_the_engines_own_bytes(browser: Browser) -> None:
    path = "/_app/immutable/bundle.CheKa0wg.js"
    status, headers, data = await browser.get(path, Accept_Encoding="gzip, deflate, br")
    assert (status, gzip.decompress(data)) == (200, SCRIPT)
    assert headers["Content-Encoding"] == "gzip"
    assert headers["Content-Type"] == "text/javascript"


async def test_a_known_file_is_not_sent_again(browser: Browser) -> None:
    status, headers, data = await browser.get("/", Accept_Encoding="gzip", If_None_Match=ETAG)
    assert (status, data, headers["ETag"]) == (304, b"", ETAG)


async def test_a_head_is_answered(browser: Browser) -> None:
    status, _, data = await browser.get("/", "HEAD")
    assert (status, data) == (200, b"")


async def test_no_other_page_may_frame_it_or_read_it(browser: Browser) -> None:
    _, headers, _ = await browser.get("/", Accept_Encoding="gzip")
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "Access-Control-Allow-Origin" not in headers


async def test_only_files_of_the_page_are_handed_out(browser: Browser) -> None:
    """The engine would give this one to whoever has its key, which the gateway has."""
    status, _, data = await browser.get("/slots.json")
    assert status == 404
    assert data != b"[]"


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ("loading", "Step &lt;3&gt; is loading"),
        ("restarting", "started again"),
        ("stopped", "has been stopped"),
    ],
)
async def test_while_there_is_no_engine_a_page_says_so_and_loads_again(
    browser: Browser, state: str, says: str
) -> None:
    browser.keeper.state, browser.keeper.engine = state, None
    status, headers, data = await browser.get("/")
    assert status == 503
    assert headers["Content-Type"].startswith("text/html")
    assert headers["Cache-Control"] == "no-store"
    assert says in data.decode()
    assert 'http-equiv="refresh"' in data.decode()
    assert (await browser.get("/favicon.ico"))[0] == 503


async def test_the_page_says_how_far_the_weights_are_loaded(browser: Browser) -> None:
    browser.keeper.state, browser.keeper.engine = "loading", None
    assert "12 s so far. The chat" in (await browser.get("/"))[2].decode()
    browser.keeper.loaded = Loaded(37 << 30, 100 << 30, rate=2 << 30)
    assert "37 % · 2.00 GiB/s · 32 s left. The chat" in (await browser.get("/"))[2].decode()


async def test_an_engine_that_does_not_answer_is_waited_for() -> None:
    process = FakeEngineProcess(Endpoint("http://127.0.0.1:9"))
    async with _browser(FakeKeeper(process)) as browser:
        status, headers, _ = await browser.get("/")
        assert (status, headers["Retry-After"]) == (503, "2")


async def test_an_engine_without_a_page_is_answered_in_words(
    browser: Browser, engine: PageEngine
) -> None:
    engine.files.clear()
    status, _, data = await browser.get("/")
    assert status == 404
    assert "steprun serve --engine embedded" in data.decode()
    assert f"{browser.url}/v1" in data.decode()


@pytest.mark.parametrize(
    "path",
    [
        "/_app/../slots.json",
        "/.well-known/x.json",
        "/a//b.js",
        "/slots/0",
        "/x.exe",
        "/" + "a" * 300 + ".js",
        "/ä.js",
        "/a.js/",
    ],
)
def test_what_is_no_file_of_a_page_is_not_asked_for(path: str) -> None:
    with pytest.raises(Refusal) as caught:
        routes.find("GET", path)
    assert caught.value.status == 404


@pytest.mark.parametrize("path", ["/", "/sw.js", "/manifest.webmanifest", "/_app/version.json"])
def test_the_pages_files_need_no_key(path: str) -> None:
    found = routes.find("GET", path)
    assert (found.work, found.open) == ("page", True)
    with pytest.raises(Refusal) as caught:
        routes.find("POST", path)
    assert caught.value.status == 405
