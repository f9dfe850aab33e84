"""An engine that sleeps until somebody asks, and again when nobody does."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from runner.base.errors import Refused, SteprunError
from runner.engine.process.servers import Served, own_record
from runner.gateway.asking import Joined
from runner.gateway.engine import asleep, sleep, suspended
from runner.gateway.engine.pulse import GAP_S
from runner.gateway.engine.sleep import Sleep
from tests.fakes.kept_engine import FakeEngines, begun, fine, say
from tests.unit.gateway.conftest import FAST, Open, Running

PINGS = replace(FAST, quiet_s=0.02)


async def heard(running: Running, word: str, times: int = 1) -> None:
    async with asyncio.timeout(10):
        while running.told.words.count(word) < times:
            await asyncio.sleep(0.005)


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.005)


async def got(running: Running, path: str) -> tuple[int, Any]:
    async with running.http.get(running.url + path) as reply:
        text = await reply.text()
        return reply.status, json.loads(text) if text.startswith("{") else text


async def state(running: Running) -> str:
    return str((await got(running, "/steprun/status"))[1]["state"])


async def test_it_listens_at_once_and_loads_nothing(gateway: Open, engines: FakeEngines) -> None:
    async with gateway(on_demand=True, model="tiny") as running:
        assert await got(running, "/health") == (
            200,
            {"status": "ok", "state": "asleep", "model": "tiny"},
        )
        assert (await got(running, "/v1/models"))[1]["data"][0]["id"] == "tiny"
        assert "steprun" in (await got(running, "/metrics"))[1]
        assert await state(running) == "asleep"
        assert engines.made == []


@pytest.mark.parametrize("stream", [True, False])
async def test_the_first_request_wakes_it_and_is_answered(
    gateway: Open, engines: FakeEngines, stream: bool
) -> None:
    async with gateway(on_demand=True) as running:
        status, text = await running.text(stream=stream)
        assert (status, "fine" in text) == (200, True)
        assert await state(running) == "ready"
        await running.text()
    assert len(engines.made) == 1


async def test_a_stream_is_pinged_while_the_model_loads(
    gateway: Open, engines: FakeEngines
) -> None:
    engines.loads = asyncio.Event()
    async with gateway(PINGS, on_demand=True) as running, running.post(stream=True) as reply:
        assert await reply.content.readuntil(b"\n\n") == b": waiting\n\n"
        assert (await got(running, "/health"))[0] == 503
        assert await state(running) == "loading"
        engines.loads.set()
        assert b"fine" in await reply.read()


async def test_the_web_page_wakes_it(gateway: Open, engines: FakeEngines) -> None:
    async with gateway(on_demand=True) as running:
        browser = {"Accept": "text/html"}
        async with running.http.get(running.url + "/", headers=browser) as page:
            assert "is loading" in await page.text()
        await heard(running, "ready")


async def test_it_is_unloaded_when_idle_and_loaded_again(
    gateway: Open, engines: FakeEngines
) -> None:
    async with gateway(on_demand=True, idle_unload_s=0.1) as running:
        assert (await running.text())[0] == 200
        await heard(running, "asleep")
        await until(lambda: not engines.made[0].running)
        assert engines.made[0].stops[0], "politely"
        assert await state(running) == "asleep"
        assert (await running.text())[0] == 200
        assert len(engines.made) == 2
        await heard(running, "asleep", times=2)
        assert (await got(running, "/steprun/status"))[1]["restarts"] == 0
    assert [word for word in running.told.words if word.startswith("restarting")] == []


async def test_looking_at_it_keeps_nobody_awake(gateway: Open, engines: FakeEngines) -> None:
    async with gateway(idle_unload_s=0.2) as running:
        await heard(running, "ready")
        async with asyncio.timeout(10):
            while await state(running) != "asleep":
                await got(running, "/health")
                await got(running, "/v1/models")


async def test_an_answer_that_takes_long_keeps_it_awake(
    gateway: Open, engines: FakeEngines
) -> None:
    end = asyncio.Event()

    async def slow(request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
        stream = await begun(request)
        await end.wait()
        await say(stream, "late")
        return stream

    engines.answer = slow
    async with gateway(idle_unload_s=0.3) as running:
        asked = asyncio.create_task(running.text(stream=True))
        await until(lambda: engines.asked)
        before = list(running.told.words)
        await asyncio.sleep(0.6)
        assert running.told.words == before
        end.set()
        ended = time.monotonic()
        assert "late" in (await asked)[1]
        await heard(running, "asleep", before.count("asleep") + 1)
        assert time.monotonic() - ended > 0.25, "the idle time begins when the answer ends"


async def test_requests_all_through_it_are_all_answered(
    gateway: Open, engines: FakeEngines
) -> None:
    """At each moment of an unload: while prompts are saved, while it stops, when it is gone."""
    async with gateway(replace(FAST, poll_s=0.001, nap_s=0.001), idle_unload_s=0.02) as running:
        for number in range(60):
            assert (await running.text())[0] == 200
            await asyncio.sleep(0.015 + number % 10 * 0.001)
    assert len(engines.made) > 2


async def test_what_cannot_be_woken_says_why_and_may_be_later(
    gateway: Open, engines: FakeEngines
) -> None:
    why = Refused("Another steprun engine is already running and holds 99 GiB.", why="Full.")
    engines.fails = [(False, why)]
    async with gateway(on_demand=True, parallel=2) as running:
        first, second = await asyncio.gather(running.text(), running.text())
        for status, text in (first, second):
            assert status == 503
            assert json.loads(text)["error"]["message"] == (
                "The model cannot be loaded now. Another steprun engine is already running and "
                "holds 99 GiB. Full."
            )
        assert await state(running) == "asleep"
        assert (await running.text())[0] == 200
    assert running.told.words[:2] == [f"asleep: {why.what}", "ready"]


async def test_however_often_it_cannot_be_woken_a_failure_after_that_is_its_first(
    gateway: Open, engines: FakeEngines
) -> None:
    full = (False, Refused("Another engine holds the memory."))
    engines.fails = [full, full, full, (False, SteprunError("It hangs while loading."))]
    async with gateway(replace(FAST, loads=2), on_demand=True) as running:
        for _ in range(3):
            assert (await running.text())[0] == 503
        assert (await running.text())[0] == 200


async def test_an_engine_that_never_sleeps_is_given_up_as_before(
    gateway: Open, engines: FakeEngines
) -> None:
    engines.fails = [(False, Refused("No."))]
    async with gateway() as running:
        with pytest.raises(Refused):
            await running.task


async def test_a_clock_that_jumps_unloads_nothing(
    gateway: Open, engines: FakeEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, whose monotonic clock counts the time in which the computer slept."""
    jumped = 0.0

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + jumped)
    monkeypatch.setattr(asleep, "time", clock)
    monkeypatch.setattr(sleep, "time", clock)
    async with gateway(idle_unload_s=3600) as running:
        await heard(running, "ready")
        await asyncio.sleep(0.05)
        jumped = 7200.0
        await asyncio.sleep(0.1)
        assert "asleep" not in running.told.words
        assert jumped > 3600 > GAP_S


async def test_a_chat_that_joins_wakes_it_and_waits(gateway: Open, engines: FakeEngines) -> None:
    engines.loads = asyncio.Event()
    waits: list[float] = []
    async with gateway(on_demand=True) as running:
        joined = Joined(own_record(running.url, 1.0, Served()))
        waiting = asyncio.create_task(joined.wait_ready(waits.append))
        await until(lambda: engines.made and waits)
        assert not waiting.done()
        engines.loads.set()
        await waiting
        assert await state(running) == "ready"


async def test_a_chat_that_joins_hears_why_it_cannot_be_woken(
    gateway: Open, engines: FakeEngines
) -> None:
    engines.fails = [(False, Refused("Another engine holds the memory."))]
    async with gateway(on_demand=True) as running:
        joined = Joined(own_record(running.url, 1.0, Served()))
        with pytest.raises(SteprunError, match="did not load its model") as refused:
            await joined.wait_ready(lambda _: None)
    assert "Another engine holds the memory." in refused.value.why


class SleptFor:
    """A fake: the computer's own count of how long it has slept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 5.0
        monkeypatch.setattr(suspended, "suspended_s", lambda: self.seconds)


async def test_after_the_computers_sleep_the_engine_is_asked(
    gateway: Open, engines: FakeEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = SleptFor(monkeypatch)
    async with gateway() as running:
        await heard(running, "ready")
        await asyncio.sleep(0.05)
        assert engines.made[0].work == 0, "nobody looks at it without a reason"
        slept.seconds += 3600
        await heard(running, "resumed 3600")
    assert len(engines.made) == 1


async def test_an_engine_that_is_stuck_after_it_is_started_again(
    gateway: Open, engines: FakeEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = SleptFor(monkeypatch)
    async with gateway() as running:
        await heard(running, "ready")
        engines.made[0].still = True
        slept.seconds += 3600
        await heard(running, "ready", times=2)
        assert engines.made[0].stops[0] is False, "at once: it hears nothing"
        engines.answer = fine
        assert (await running.text())[0] == 200
    assert running.told.words[1] == (
        "restarting: The engine has stopped responding. It did not answer after the computer had "
        "slept."
    )


async def test_a_sleep_in_the_middle_of_a_load_is_none_of_its_business(
    gateway: Open, engines: FakeEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = SleptFor(monkeypatch)
    engines.loads = asyncio.Event()
    async with gateway() as running:
        slept.seconds += 3600
        await asyncio.sleep(0.05)
        engines.loads.set()
        await heard(running, "ready")
        assert (await running.text())[0] == 200
    assert running.told.words == ["ready"]


def test_idle_time_begins_with_the_last_request() -> None:
    found = Sleep(may=True)
    assert not found.due
    found.begin()
    assert found.due
    found.wake()
    assert not found.due
    assert found.idle_s < 1
