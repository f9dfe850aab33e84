"""A chat that has joined a server whose model is still loading."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest
from aiohttp import web

from runner.base.loaded import Loaded
from runner.engine.process.servers import Served, ServerRecord
from runner.gateway import asking
from runner.gateway.asking import Joined

WHOLE = 100 << 30


@asynccontextmanager
async def server(*healths: str) -> AsyncIterator[ServerRecord]:
    """Run a fake server, named as one: it answers `/health` with these, one after another."""
    left = list(healths)

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(status=503, text=left.pop(0)) if left else web.Response()

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield ServerRecord(
            pid=os.getpid(),
            started=psutil.Process().create_time(),
            url=f"http://127.0.0.1:{runner.addresses[0][1]}",
            since=0.0,
            served=Served(weights_bytes=WHOLE),
        )
    finally:
        await runner.cleanup()


async def test_it_says_how_far_the_server_is_and_bears_any_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asking, "POLL_S", 0.0)
    told: list[Any] = []
    answers = ('{"state": "loading"}', "[1]", "{", '{"loaded_percent": "x"}')
    async with server(*answers, '{"loaded_percent": 42}') as record:
        joined = Joined(record)
        await joined.wait_ready(lambda _: told.append(joined.loaded()))
    assert told == [None, None, None, None, Loaded(WHOLE * 42 // 100, WHOLE)]
