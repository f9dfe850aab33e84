"""An engine that seems to work and does not: its answer ends in words, and it is started again."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from runner.gateway.activity import Entry
from runner.gateway.engine.turns import Turns
from runner.gateway.refusal import Api
from runner.gateway.run import _trouble_watch
from runner.gateway.trouble import watch as module
from runner.gateway.trouble.health import HealthReading
from runner.gateway.trouble.notices import QUIET_S, Notices
from runner.gateway.trouble.slots import StoppedAnswers
from runner.gateway.watching.account import Account
from runner.gateway.watching.status import NextToken, Slot
from tests.fakes.kept_engine import FakeEngines, begun, fine, say
from tests.unit.gateway.conftest import FAST, Open, Running
from tests.unit.gateway.trouble.test_endings import looping

SOON = replace(FAST, silent_s=0.05, renew_s=60.0)


async def until(what: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.005)


def entry(number: int, heard: float, stage: Any = "writing") -> Entry:
    found = Entry(number, "a", Api.OPENAI, "", 0.0, stage, generates=True)
    found.began, found.heard = float(number), heard
    return found


def slot(task: int, written: int) -> Slot:
    return Slot(task, task, True, 10, 10, 0, (NextToken(written),))


def test_an_answer_that_gets_no_token_while_others_do_has_stopped() -> None:
    stopped, still, lively = StoppedAnswers(), entry(1, 0.0), entry(2, 0.0)
    for look in range(1, 6):
        lively.heard = now = look * 40.0
        found = stopped.look(now, [still, lively], (slot(7, 50), slot(8, look * 30)), 60.0)
        assert found == ([still] if look >= 4 else [])


@pytest.mark.parametrize("written", [lambda look: 50 + look, lambda _: 0])
def test_an_answer_whose_tokens_are_kept_back_has_not(written: Callable[[int], int]) -> None:
    """A tool call is sent when it is whole; one that is 0 has not begun to write."""
    stopped = StoppedAnswers()
    for look in range(1, 20):
        assert stopped.look(look * 40.0, [entry(1, 0.0)], (slot(7, written(look)),), 60.0) == []


def test_requests_that_cannot_be_told_apart_are_let_be() -> None:
    stopped = StoppedAnswers()
    for look in range(1, 20):
        assert stopped.look(look * 40.0, [entry(1, 0.0)], (slot(7, 5), slot(8, 5)), 60.0) == []


class OneStops:
    """Answers `/slots`, and every request but those that say so: these stop after a token."""

    async def __call__(self, request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
        if request.path == "/slots":
            row = {"id": 0, "id_task": 1, "is_processing": True, "next_token": [{"n_decoded": 3}]}
            return web.json_response([row])
        if not asked.get("stops"):
            return await fine(request, asked)
        stream = await begun(request)
        await say(stream, "only this")
        await asyncio.sleep(60)
        raise AssertionError


@pytest.mark.parametrize("stream", [True, False])
async def test_a_stopped_answer_ends_in_words_and_the_engine_is_started_again(
    gateway: Open, engines: FakeEngines, stream: bool
) -> None:
    engines.answer = OneStops()
    async with gateway(SOON) as running:
        status, text = await running.text(stream=stream, stops=True)
        assert status == (200 if stream else 502)
        error = json.loads(text.strip().rpartition("data: ")[2])["error"]
        assert "stopped in the middle of this answer" in error["message"]
        await until(lambda: running.told.words.count("ready") == 2)
        assert any("restarting: The engine has stopped" in w for w in running.told.words)
        assert engines.made[0].stops[0] is True, "it was asked politely"
        assert (await running.text())[0] == 200


async def test_the_engine_is_not_started_again_while_an_answer_is_written(
    gateway: Open, engines: FakeEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two answers in a row that repeat themselves; a third one is being written."""
    monkeypatch.setattr(module, "WORN_S", 0.0)
    go, held, loops = asyncio.Event(), asyncio.Event(), looping()
    hold = Turns.hold

    def noted(self: Turns, **how: Any) -> None:
        hold(self, **how)
        if how == {"held": True, "by": "trouble"}:
            held.set()

    monkeypatch.setattr(Turns, "hold", noted)

    async def answer(request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
        if not asked.get("long"):
            return await (loops if asked.get("stream") else fine)(request, asked)
        stream = await begun(request)
        await say(stream, "begun")
        await go.wait()
        await say(stream, "ended")
        return stream

    engines.answer = answer
    async with gateway(SOON, parallel=4) as running, running.post(stream=True, long=True) as long:
        assert b"begun" in await long.content.readuntil(b"\n\n")
        for _ in range(2):
            assert "repetition" in (await running.text(stream=True))[1]
        await asyncio.wait_for(held.wait(), 10)
        waits = asyncio.create_task(running.text())
        await asyncio.sleep(0.2)
        assert not waits.done(), "a new request waits for the new engine"
        assert len(engines.made) == 1
        go.set()
        assert b"ended" in await long.read()
        assert (await waits)[0] == 200
        await until(lambda: len(engines.made) == 2)
    assert any("repeat themselves" in each for each in running.told.words)


async def test_one_answer_that_repeats_itself_is_chance(
    gateway: Open, engines: FakeEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WORN_S", 0.0)
    engines.answer = looping()
    async with gateway(SOON) as running:
        assert "repetition" in (await running.text(stream=True))[1]
        await asyncio.sleep(0.1)
    assert len(engines.made) == 1


def answered(tps: float, tokens: int = 200) -> Account:
    return Account(
        time="", client="", api="", path="", status=200, prompt_tokens=900, tokens=tokens,
        tokens_per_s=tps,
    )  # fmt: skip


@pytest.fixture
def slow(gateway: Open, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what runs a gateway whose engine becomes slow: `async with slow(causes, on_gpu)`."""
    made: list[module.TroubleWatch] = []

    def remembered(*args: Any) -> module.TroubleWatch:
        made.append(_trouble_watch(*args))
        return made[-1]

    monkeypatch.setattr("runner.gateway.run._trouble_watch", remembered)

    async def became_slow(running: Running, causes: list[str]) -> None:
        await until(lambda: "ready" in running.told.words)
        (watch,) = made
        watch._slowed = lambda: causes
        for number in range(40):
            watch.ended(entry(number, 0.0), answered(20.0 if number < 20 else 8.0))

    return became_slow


async def test_rates_that_fell_are_said_with_the_heat_and_the_engine_is_let_be(
    gateway: Open, engines: FakeEngines, slow: Any
) -> None:
    async with gateway(SOON, on_gpu=True) as running:
        await slow(running, ["The GPU is slowed down by heat. Next: Give it air."])
        await until(lambda: any("slowed down by heat" in each for each in running.told.words))
        async with running.http.get(f"{running.url}/steprun/status") as reply:
            document = await reply.json()
        assert document["rate_share"] == 0.4
        assert "40%" in document["notices"][-1]["what"]
        await asyncio.sleep(0.1)
    assert len(engines.made) == 1


async def test_rates_that_fell_for_no_reason_start_the_engine_again_once(
    gateway: Open, engines: FakeEngines, slow: Any
) -> None:
    async with gateway(SOON, on_gpu=True) as running:
        await slow(running, [])
        await until(lambda: running.told.words.count("ready") == 2)
        assert any("started again" in each for each in running.told.words)
        await asyncio.sleep(0.1)
    assert len(engines.made) == 2


async def test_a_processor_that_others_use_is_no_reason_to_start_again(
    gateway: Open, engines: FakeEngines, slow: Any
) -> None:
    async with gateway(SOON) as running:
        await slow(running, [])
        await until(lambda: any("Other programs" in each for each in running.told.words))
        await asyncio.sleep(0.1)
    assert len(engines.made) == 1


async def test_an_engine_that_has_slept_is_another_one(
    gateway: Open, engines: FakeEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WORN_S", 0.0)
    loops = looping()

    async def answer(request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
        return await (loops if asked.get("stream") else fine)(request, asked)

    engines.answer = answer
    async with gateway(SOON, idle_unload_s=0.2) as running:
        for number in (1, 2):
            assert "repetition" in (await running.text(stream=True))[1]
            while running.told.words.count("asleep") < number:
                await asyncio.sleep(0.005)
            assert (await running.text())[0] == 200
        await asyncio.sleep(0.1)
        assert not any("repeat themselves" in each for each in running.told.words)
    assert len(engines.made) == 3


def test_the_same_is_told_once_a_minute_and_noted_each_time() -> None:
    now = [1000.0]
    told: list[str] = []
    notices = Notices(lambda: now[0])
    notices.tell = told.append
    for _ in range(100):
        notices.add("ended", "again")
    assert told == ["again"]
    assert len(notices.rows()) == 20
    now[0] += QUIET_S
    notices.add("ended", "later")
    assert told == ["again", "later"]


def test_a_notice_that_nobody_can_be_told_is_kept() -> None:
    notices = Notices()

    def gone(_: str) -> None:
        raise BrokenPipeError

    notices.tell = gone
    notices.add("ended", "what")
    assert notices.rows()[0]["what"] == "what"


async def test_others_have_their_turn_where_an_answer_takes_too_long_to_wait_for(
    gateway: Open, engines: FakeEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WORN_S", 0.0)
    go, loops = asyncio.Event(), looping()

    async def answer(request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
        if not asked.get("long"):
            return await (loops if asked.get("stream") else fine)(request, asked)
        stream = await begun(request)
        await say(stream, "begun")
        await go.wait()
        return stream

    engines.answer = answer
    timing = replace(SOON, renew_s=0.2, silent_s=60)
    async with gateway(timing, parallel=4) as running, running.post(stream=True, long=True) as long:
        assert b"begun" in await long.content.readuntil(b"\n\n")
        for _ in range(2):
            assert "repetition" in (await running.text(stream=True))[1]
        for _ in range(5):
            assert (await running.text())[0] == 200
        assert len(engines.made) == 1
        go.set()
        await long.read()
        await until(lambda: len(engines.made) == 2)


async def test_a_look_that_fails_is_not_the_last(
    gateway: Open, engines: FakeEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    async def fails(_: module.TroubleWatch) -> None:
        looks.append(1)
        raise ValueError

    monkeypatch.setattr(module.TroubleWatch, "_look_at_slots", fails)
    async with gateway(SOON):
        await until(lambda: len(looks) > 2)


async def test_a_reading_that_hangs_keeps_nobody_waiting() -> None:
    hold = [True]

    def hangs() -> list[str]:
        while hold[0]:
            time.sleep(0.01)
        return ["hot"]

    reading = HealthReading(hangs)
    began = time.monotonic()
    assert await reading.words() == []
    assert time.monotonic() - began < 5
    hold[0] = False
    async with asyncio.timeout(10):
        while await reading.words() != ["hot"]:
            await asyncio.sleep(0.01)
    await reading.close()


async def test_a_reading_that_fails_is_none() -> None:
    def fails() -> list[str]:
        raise OSError

    reading = HealthReading(fails)
    assert await reading.words() == []
    assert await reading.words() == []
    await reading.close()
