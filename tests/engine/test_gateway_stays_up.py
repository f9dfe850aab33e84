"""The gateway in front of a real engine that is killed, stopped and left alone."""

import asyncio
import json
import os
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from runner.engine.process import supervisor
from runner.engine.process.supervisor import EngineProcess
from runner.gateway import run
from runner.gateway.settings import Settings
from runner.gateway.timing import Timing
from runner.plan.launch import LaunchSpec
from tests.engine.conftest import serve
from tests.unit.gateway.conftest import Told

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(os.name != "posix", reason="signals"),
]
in_one_loop = pytest.mark.asyncio(loop_scope="module")
PROGRAM = (sys.executable, "-m", "runner.engine.process.embedded")
SOON = Timing(first_s=0.1, longest_s=0.1, look_s=0.2, still_s=1.0)


class Behind:
    """A gateway in this loop, and the engine behind it."""

    def __init__(self, url: str, told: Told, engines: list[EngineProcess]) -> None:
        self.url, self.told, self.engines = url, told, engines

    @asynccontextmanager
    async def post(self, **fields: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        body = {"messages": [{"role": "user", "content": "Hi"}], "ignore_eos": True, **fields}
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{self.url}/v1/chat/completions", json=body) as reply,
        ):
            yield reply

    async def answered(self) -> bool:
        async with self.post(max_tokens=3) as reply:
            return reply.status == 200 and bool((await reply.json())["choices"])


@pytest.fixture(scope="module")
def patched() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervisor, "ANSWER_S", 0.5)
        yield


@pytest.fixture(scope="module")
async def behind(
    tiny: Path, patched: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Behind]:
    """Run one gateway on tiny Step for all tests here."""
    spec = LaunchSpec(
        (
            *("--model", str(tiny / "tiny-step.gguf"), "--ctx-size", "65536", "--parallel", "1"),
            *("--jinja", "--threads", "1", "--threads-batch", "1", "--verbosity", "4"),
            *("--batch-size", "256", "--threads-http", "6"),
        )
    )
    engines: list[EngineProcess] = []

    def make() -> EngineProcess:
        engines.append(EngineProcess(PROGRAM, spec))
        return engines[-1]

    told = Told(asyncio.get_running_loop().create_future())
    stop = run.StopSignal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEPRUN_HOME", str(tmp_path_factory.mktemp("home")))
        task = asyncio.create_task(run.run(Settings(port=0), make, told, stop, timing=SOON))
        url = f"http://127.0.0.1:{await told.port}"
        yield Behind(url, told, engines)
        stop.ask()
        stop.ask()
        await task


@in_one_loop
async def test_a_kill_in_mid_stream_is_told_and_the_next_request_is_answered(
    behind: Behind,
) -> None:
    assert await behind.answered()
    first = behind.engines[-1]
    async with behind.post(stream=True, max_tokens=60_000) as reply:
        await reply.content.readuntil(b"\n\n")
        os.kill(first.pid, signal.SIGKILL)
        text = await reply.read()  # raises where the chunks do not end as they should
    last = text.removesuffix(b"\n\n").rpartition(b"\n\n")[2].removeprefix(b"data: ")
    assert "The engine stopped" in json.loads(last)["error"]["message"]
    assert await behind.answered()
    assert behind.engines[-1] is not first
    assert behind.engines[-1].endpoint != first.endpoint
    assert "SIGKILL" in behind.told.words[-2]


@in_one_loop
async def test_an_engine_that_stands_still_is_started_again_and_the_request_is_answered(
    behind: Behind,
) -> None:
    assert await behind.answered()
    stopped = behind.engines[-1]
    os.kill(stopped.pid, signal.SIGSTOP)
    assert await behind.answered()
    assert not psutil.pid_exists(stopped.pid)
    assert "hangs" in behind.told.words[-2]


@in_one_loop
async def test_the_engine_stops_reading_a_prompt_that_nobody_waits_for(behind: Behind) -> None:
    assert await behind.answered()
    log = behind.engines[-1].log_path
    long = [{"role": "user", "content": "The words of a long prompt. " * 1800}]
    before = log.read_text("utf-8", "replace").count("cancel task")
    asking = asyncio.create_task(behind.post(messages=long).__aenter__())
    while "n_tokens = 256" not in log.read_text("utf-8", "replace"):
        await asyncio.sleep(0.05)
        assert not asking.done()
    asking.cancel()
    async with asyncio.timeout(10):
        while log.read_text("utf-8", "replace").count("cancel task") == before:
            await asyncio.sleep(0.05)
    assert await behind.answered()


def test_sigterm_in_a_stream_lets_it_end(tiny: Path, tmp_path: Path) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "stream": True, "max_tokens": 30}
    found: list[bytes] = []
    model = ("--model", str(tiny / "tiny-step.gguf"), "--ctx", "8192")
    with serve(tmp_path, *model, "--drain", "300") as running:
        request = urllib.request.Request(
            f"{running.url}/v1/chat/completions",
            json.dumps({**body, "ignore_eos": True}).encode(),
            {"Content-Type": "application/json"},
        )
        begun = threading.Event()

        def ask() -> None:
            with urllib.request.urlopen(request, timeout=300) as reply:
                found.append(reply.readline())
                begun.set()
                found.append(reply.read())

        asking = threading.Thread(target=ask)
        asking.start()
        assert begun.wait(60)
        running.process.send_signal(signal.SIGTERM)
        asking.join(300)
        assert found[1].rstrip().endswith(b"data: [DONE]")
        deadline = time.monotonic() + 15
        while running.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert running.process.returncode == 0
        assert not list((tmp_path / "state" / "engines").glob("*.json")), "nothing is left"
