"""MCP servers that are services: a real one on this machine, and hostile ones."""

import gzip
import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from runner.chat.tools.mcp.box import ServerState
from runner.chat.tools.mcp.config import McpServer
from tests.fakes.loopback import Loopback
from tests.unit.chat.test_mcp_box import GOOD, chat, user_home  # noqa: F401 - a fixture

KEY = "the-key-of-the-wiki"


@contextmanager
def service(**env):
    with subprocess.Popen(
        [sys.executable, *GOOD, "http"],
        stdout=subprocess.PIPE,
        env={**os.environ, **env},
    ) as running:
        assert running.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(running.stdout.readline())}/mcp"
        finally:
            running.kill()


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "key"
    path.write_text(KEY)
    path.chmod(0o600)
    return str(path)


async def test_a_service_is_reached_with_its_key(key_file, tmp_path):
    with service(FAKE_MCP_KEY=KEY) as url:
        async with chat(children=1) as user:
            refused = await user.on(McpServer(url=url), "r")
            assert refused.state is ServerState.ENDED
            assert "refused the key (status 401)" in refused.why
            entry = await user.on(McpServer(url=url, key_file=key_file, timeout_s=2))
            assert entry.state is ServerState.ON, entry.why
            assert (await user.call("s__add", a=2, b=3)).text == "5"
            assert len((await user.call("s__pictures", count=1)).pictures) == 1
            late = await user.call("s__slow", path=str(tmp_path / "late"))
            assert "did not answer within 2 seconds" in late.text
            long = await user.call("s__long", size=12_000_000)
            assert long.failed
            assert (await user.call("s__add", a=2, b=3)).text == "5"
            assert KEY not in repr(entry)


async def test_a_service_that_goes_away_is_a_failure():
    with service() as url:
        async with chat(children=1) as user:
            assert (await user.on(McpServer(url=url))).state is ServerState.ON
            await user.call("s__die")
            gone = await user.call("s__add", a=1, b=1)
            assert gone.failed
            await user.until(lambda: user.entry().state is ServerState.ENDED)
            assert "cannot be reached" in user.entry().why
    async with chat() as user:
        entry = await user.on(McpServer(url=url))
        assert "cannot be reached" in entry.why


class Hostile(Loopback):
    """Answers each request in one wrong way."""

    method = "GET POST DELETE"

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.sent = 0

    def answer(self, to):
        to.rfile.read(int(to.headers.get("Content-Length") or 0))
        head = {"Content-Type": "application/json"}
        match self.kind:
            case "large":
                pieces = [b'{"a": "'] + [b"x" * (1 << 20)] * 100
            case "zipped":
                head["Content-Encoding"] = "gzip"
                pieces = [gzip.compress(bytes(100 << 20))]
            case "event":
                head["Content-Type"] = "text/event-stream"
                pieces = [b"data: "] + [b"x" * (1 << 20)] * 100
            case "page":
                head["Content-Type"] = "text/html"
                pieces = [b"<html>\x1b[2J"]
            case _:
                pieces = [json.dumps([[]]).encode()]
        to.send_response(200)
        for name, value in head.items():
            to.send_header(name, value)
        to.send_header("Connection", "close")
        to.end_headers()
        for piece in pieces:
            to.wfile.write(piece)
            self.sent += len(piece)


RUBBISH = {
    "large": "It sent more than 8 MiB.",
    "zipped": "It compresses its answers",
    "event": "exceeded the 8388608 byte limit",
    "page": "Unexpected content type: text/html",
    "other": "What it sends is not MCP.",
}


@pytest.mark.parametrize(("kind", "why"), RUBBISH.items())
async def test_a_service_that_sends_rubbish_is_ended(kind, why):
    with Hostile(kind) as server:
        async with chat() as user:
            entry = await user.on(McpServer(url=f"{server.url}/mcp"))
            assert entry.state is ServerState.ENDED
            assert why in entry.why
            assert server.sent < 60 << 20
