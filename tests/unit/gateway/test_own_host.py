"""A chat's own engine behind a gateway in the same process; the engine is a fake, named as one."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import cast

import httpx2
import pytest

from runner.base.errors import Refused, SteprunError
from runner.base.loaded import Loaded
from runner.chat.host import follow, reason_of
from runner.chat.host_task import HostReady, HostTask
from runner.engine.process import servers
from runner.engine.process.servers import Served
from runner.engine.process.supervisor import EngineProcess
from runner.gateway.engine.rungs import ServedRung
from runner.gateway.own_host import OwnHost
from runner.gateway.settings import Settings
from runner.gateway.timing import Timing
from tests.fakes.kept_engine import FakeEngines

SOON = Timing(again_s=0.01, first_s=0.3, longest_s=0.3, poll_s=0.01, look_s=0.01, loads=1)
SETTINGS = Settings(served=Served(title="Fake 1B"), command="chat", drain_s=0)


def host(engines: FakeEngines) -> OwnHost:
    make = cast("Callable[[], EngineProcess]", engines)
    return OwnHost(SETTINGS, make, SOON)


def nothing(_: float = 0.0) -> None:
    pass


async def status_of(host: OwnHost, **headers: str) -> int:
    async with httpx2.AsyncClient(trust_env=False) as http:
        url = f"{host.endpoint.api_url}/chat/completions"
        body = {"messages": [{"role": "user", "content": "Hi"}]}
        return (await http.post(url, json=body, headers=headers)).status_code


async def test_only_the_chat_gets_in_and_others_find_it(engines: FakeEngines) -> None:
    async with host(engines) as own:
        await own.wait_ready(nothing)
        assert own.alive()
        assert await status_of(own, **own.endpoint.headers()) == 200
        assert await status_of(own) == 401
        (record,) = servers.running()
        assert (record.url, record.command) == (own.endpoint.base_url, "chat")
        assert own.endpoint.api_key
        assert own.endpoint.api_key not in record.key_file
        if os.name == "posix":
            assert Path(record.key_file).stat().st_mode & 0o777 == 0o600
    assert not own.alive()
    assert servers.running() == []
    assert list(servers.folder().iterdir()) == [], "neither record nor key is left"
    assert len(engines.made) == 1, "the engine that was started first is the one that is kept"
    assert not engines.made[0].running


async def test_an_engine_that_dies_is_started_again_and_why_is_told(engines: FakeEngines) -> None:
    async with host(engines) as own:
        heard: list[str] = []
        following = asyncio.create_task(
            follow(own, lambda _: heard.append("waits"), lambda: heard.append("ready"))
        )
        while "ready" not in heard:
            await asyncio.sleep(0.01)
        await engines.made[0].die()
        why = await reason_of(own, SteprunError("The connection broke."))
        assert str(why.what) == "The engine was killed."
        while heard.count("ready") < 2:
            await asyncio.sleep(0.01)
        assert "waits" in heard[heard.index("ready") :]
        assert own.alive()
        assert await status_of(own, **own.endpoint.headers()) == 200
        following.cancel()


async def test_an_engine_that_does_not_load_is_given_up_at_once(engines: FakeEngines) -> None:
    """Also where another try might help: somebody sits before it."""
    engines.fails = [(False, SteprunError("The engine was killed while it was loading."))]
    async with host(engines) as own:
        with pytest.raises(SteprunError, match="killed while it was loading"):
            await own.wait_ready(nothing)
        assert not own.alive()
    assert len(engines.made) == 1


async def test_an_engine_that_is_refused_is_refused_in_its_own_words(engines: FakeEngines) -> None:
    class FullEngine:
        endpoint = None

        async def __aenter__(self) -> None:
            raise Refused("Another steprun engine is already running and holds 105 GB.")

        async def __aexit__(self, *_: object) -> None:
            pass

    own = OwnHost(SETTINGS, cast("Callable[[], EngineProcess]", FullEngine), SOON)
    with pytest.raises(Refused, match="holds 105 GB"):
        await own.__aenter__()
    assert not servers.folder().exists()


async def test_a_chat_that_is_left_while_it_loads_stops_the_engine(engines: FakeEngines) -> None:
    engines.loads = asyncio.Event()
    entered = asyncio.Event()

    async def chat() -> None:
        async with host(engines) as own:
            entered.set()
            await own.wait_ready(nothing)

    task = asyncio.create_task(chat())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not engines.made[0].running
    assert list(servers.folder().iterdir()) == []


async def test_the_chat_hears_how_far_the_weights_are_loaded(engines: FakeEngines) -> None:
    engines.loads, engines.far = asyncio.Event(), Loaded(42 << 30, 100 << 30)
    async with host(engines) as own:
        while own.loaded() is None:
            await asyncio.sleep(0.01)
        assert own.loaded() == engines.far
        engines.loads.set()
        await own.wait_ready(nothing)
        assert own.loaded() is None, "it answers"


async def test_the_chat_says_loading_until_the_engine_answers_again(engines: FakeEngines) -> None:
    events: list[object] = []
    ready = asyncio.Event()

    def report(event: object) -> None:
        events.append(event)
        if isinstance(event, HostReady):
            ready.set()

    task = HostTask(lambda: host(engines), report)
    task.start()
    await ready.wait()
    assert (task.alive(), task.loading) == (True, False)
    ready.clear()
    await engines.made[0].die()
    while not task.loading:
        await asyncio.sleep(0.01)
    assert not task.alive()
    await ready.wait()
    assert (task.alive(), task.loading) == (True, False)
    assert len(engines.made) == 2
    await task.stop()
    assert not engines.made[1].running


async def test_a_chat_waits_again_while_its_engine_is_started_with_less_and_with_more(
    engines: FakeEngines,
) -> None:
    make = cast("Callable[[], EngineProcess]", engines)
    rungs = [ServedRung(SETTINGS, make), ServedRung(SETTINGS, make, "something", -1)]
    own = OwnHost(SETTINGS, make, SOON, rungs=lambda: rungs)
    heard: list[str] = []
    async with own, httpx2.AsyncClient(trust_env=False) as http:
        following = asyncio.create_task(
            follow(own, lambda _: heard.append("waits"), lambda: heard.append("ready"))
        )

        async def ready(times: int) -> None:
            async with asyncio.timeout(10):
                while heard.count("ready") < times:
                    await asyncio.sleep(0.01)

        await ready(1)
        engines.made[0].short_of_memory = True
        await engines.made[0].die()
        await ready(2)
        url = f"{own.endpoint.base_url}/steprun/climb"
        reply = await http.post(url, json={}, headers=own.endpoint.headers())
        assert reply.status_code == 202
        await ready(3)
        assert heard[-1] == "ready"
        assert own.alive()
        following.cancel()
    assert len(engines.made) == 3
    assert not any(engine.running for engine in engines.made)
