"""After an end for want of memory the engine comes back one rung lower, and climbs when it may."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from runner.base.errors import SteprunError
from runner.gateway.engine.lowering import Lowering
from runner.gateway.engine.rungs import ServedRung
from runner.gateway.settings import Settings
from tests.fakes.kept_engine import FakeEngines, begun, fine, say
from tests.unit.gateway.conftest import FAST, Open, Running, Told

PICTURE: dict[str, Any] = {
    "messages": [
        {
            "role": "user",
            "content": [
                {
                    "type": "image_url",
                    "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="},
                }
            ],
        }
    ]
}
PLANNED = {"model": "fake", "context": 4096, "sees": True}


def rungs_of(engines: FakeEngines) -> Callable[[], list[ServedRung]]:
    """Return a ladder of four rungs, 100 bytes apart; on the last one pictures are given up."""

    def rung(number: int, gives_up: str, **less: Any) -> ServedRung:
        known: dict[str, Any] = {**PLANNED, **less}
        return ServedRung(Settings(**known), engines, gives_up, 1000 - 100 * number)

    return lambda: [
        rung(0, ""),
        rung(1, "checkpoints"),
        rung(2, "half of the context", context=2048),
        rung(3, "pictures", context=2048, sees=False),
    ]


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.005)


async def ready(running: Running, times: int = 1) -> None:
    await until(lambda: running.told.words.count("ready") >= times)


async def starve(engines: FakeEngines, *lacks: int) -> None:
    """End the engine for want of memory; `lacks`: what is missing then, look by look."""
    engines.lacks = list(lacks)
    engines.made[-1].short_of_memory = True
    await engines.made[-1].die()


async def status(running: Running) -> dict[str, Any]:
    async with running.http.get(f"{running.url}/steprun/status") as reply:
        found: dict[str, Any] = await reply.json()
        return found


async def climb(running: Running) -> tuple[int, str]:
    async with running.http.post(f"{running.url}/steprun/climb", json={}) as reply:
        return reply.status, await reply.text()


async def test_it_comes_back_one_rung_lower_though_there_is_room_again(
    gateway: Open, engines: FakeEngines
) -> None:
    async with gateway(rungs=rungs_of(engines), **PLANNED) as running:
        await ready(running)
        assert "lowered" not in await status(running)
        await starve(engines)
        await ready(running, 2)
        found = await status(running)
        assert (found["lowered"]["rung"], found["lowered"]["of"]) == (1, 3)
        assert found["lowered"]["gave_up"] == ["checkpoints"]
        assert found["lowered"]["because"] == "By the test."
        assert (found["context"], found["state"]) == (4096, "ready")
        assert [each["event"] for each in found["events"]] == ["lowered"]
        assert any("Given up: checkpoints" in word for word in running.told.words)
        async with running.http.get(f"{running.url}/health") as reply:
            health = await reply.json()
        assert health["lowered"]["rung"] == 1
        assert "because" not in health["lowered"], "needs no key: it names no programs"


async def test_it_comes_back_at_the_first_rung_that_fits(
    gateway: Open, engines: FakeEngines
) -> None:
    async with gateway(rungs=rungs_of(engines), **PLANNED) as running:
        await ready(running)
        await starve(engines, 150)
        await ready(running, 2)
        assert (await status(running))["lowered"]["gave_up"] == [
            "checkpoints",
            "half of the context",
        ]
        async with running.http.get(f"{running.url}/v1/models") as reply:
            (model,) = (await reply.json())["data"]
        assert model["context_length"] == 2048


async def test_a_kill_that_was_not_for_memory_gives_nothing_up(
    gateway: Open, engines: FakeEngines
) -> None:
    async with gateway(rungs=rungs_of(engines), **PLANNED) as running:
        await ready(running)
        await engines.made[-1].die()
        await ready(running, 2)
        assert "lowered" not in await status(running)


async def test_where_not_even_the_last_fits_it_waits_and_says_for_what(
    gateway: Open, engines: FakeEngines
) -> None:
    async with gateway(rungs=rungs_of(engines), **PLANNED) as running:
        await ready(running)
        await starve(engines, *[1 << 31] * 100_000)
        await until(lambda: any("engine waits" in word for word in running.told.words))
        found = await status(running)
        assert found["waits_for"].startswith("2.00 GiB more of memory")
        code, text = await climb(running)
        assert code == 409
        assert "It waits for 2.00 GiB" in text
        engines.lacks[:] = [350, 300]
        await ready(running, 2)
        assert f"lacking {(1 << 31) - 300}" in running.told.words
        found = await status(running)
        assert (found["lowered"]["rung"], "waits_for" in found) == (3, False)
        assert [each["event"] for each in found["events"]] == ["waiting", "lowered"]


async def test_a_wait_for_memory_can_be_ended(gateway: Open, engines: FakeEngines) -> None:
    async with gateway(rungs=rungs_of(engines), **PLANNED) as running:
        await ready(running)
        await starve(engines, *[1 << 31] * 100_000)
        await until(lambda: any("engine waits" in word for word in running.told.words))
        asked = asyncio.create_task(running.text())
        await asyncio.sleep(0.05)
        running.stop.ask()
        await asyncio.wait_for(running.task, 5)
        assert (await asked)[0] == 503


async def test_a_picture_is_refused_with_the_reason_also_where_it_waited(
    gateway: Open, engines: FakeEngines
) -> None:
    async with gateway(rungs=rungs_of(engines), **PLANNED) as running:
        await ready(running)
        engines.loads = asyncio.Event()
        await starve(engines, 300)
        await until(lambda: running.told.words[-1].startswith("The engine is started again"))
        for _ in range(2):
            code, text = await running.text(**PICTURE)
            said = json.loads(text)["error"]
            assert code == 400
            assert "Memory ran short at" in said["message"]
            assert said["param"] == "messages[0].content[0].image_url"
            engines.loads.set()


async def test_a_picture_that_was_let_in_before_is_refused_at_the_engine(
    gateway: Open, engines: FakeEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def settle(*_: object) -> None:
        """Convert nothing: the picture is none."""

    monkeypatch.setattr("runner.gateway.pictures.settle.Pictures.settle", settle)
    async with gateway(rungs=rungs_of(engines), **PLANNED) as running:
        await ready(running)
        held = asyncio.Event()

        async def waits(request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
            held.set()
            await asyncio.sleep(60)
            raise AssertionError

        engines.answer = waits
        asked = asyncio.create_task(running.text(**PICTURE))
        await held.wait()
        engines.answer = fine
        await starve(engines, 300)
        code, text = await asked
        assert code == 400
        assert "Memory ran short at" in text


async def test_a_prompt_that_is_too_long_now_is_told_why(
    gateway: Open, engines: FakeEngines
) -> None:
    async def full(*_: object) -> web.StreamResponse:
        error = {"type": "exceed_context_size_error", "n_prompt_tokens": 3000, "n_ctx": 2048}
        return web.json_response({"error": error}, status=400)

    async with gateway(rungs=rungs_of(engines), **PLANNED) as running:
        await ready(running)
        await starve(engines, 200)
        await ready(running, 2)
        engines.answer = full
        code, text = await running.text()
        assert code == 400
        said = json.loads(text)["error"]
        assert said["message"].startswith("prompt is too long: 3000 tokens > 2048 maximum")
        assert "Memory ran short at" in said["message"]
        assert said["code"] == "context_length_exceeded"


async def test_a_load_that_does_not_fit_goes_lower_at_once_and_is_not_given_up(
    gateway: Open, engines: FakeEngines
) -> None:
    full = SteprunError("The engine ran out of memory while loading.")
    engines.fails = [(True, full), (True, full)]
    async with gateway(rungs=rungs_of(engines), **PLANNED) as running:
        await ready(running)
        assert (await status(running))["lowered"]["rung"] == 2


async def test_the_last_rung_that_fails_again_and_again_ends_in_words(
    gateway: Open, engines: FakeEngines
) -> None:
    timing = replace(FAST, falls=4)
    async with gateway(timing, rungs=rungs_of(engines), **PLANNED) as running:
        for number in range(6):
            await ready(running, number + 1)
            await starve(engines)
        await ready(running, 7)
        assert (await status(running))["lowered"]["rung"] == 3
        await starve(engines)
        with pytest.raises(SteprunError, match="even with all that can be given up") as raised:
            await asyncio.wait_for(running.task, 5)
        assert "steprun plan" in raised.value.next


async def test_an_engine_that_has_served_for_long_begins_a_new_row(
    gateway: Open, engines: FakeEngines
) -> None:
    async with gateway(replace(FAST, steady_s=0)) as running:
        for number in range(9):
            await ready(running, number + 1)
            await starve(engines)
        await ready(running, 10)


async def test_readings_that_lie_do_not_make_it_loop(gateway: Open, engines: FakeEngines) -> None:
    """Each load dies for want of memory that is said to be there."""
    full = SteprunError("The engine ran out of memory while loading.")
    engines.fails = [(False, full)] * 50
    async with gateway(replace(FAST, loads=3), rungs=rungs_of(engines), **PLANNED) as running:
        with pytest.raises(SteprunError):
            await asyncio.wait_for(running.task, 10)
        assert len(engines.made) <= 3 + 4


async def test_it_climbs_when_asked_and_interrupts_no_answer(
    gateway: Open, engines: FakeEngines
) -> None:
    go = asyncio.Event()

    async def slow(request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
        stream = await begun(request)
        await say(stream, "one")
        await go.wait()
        await say(stream, "two")
        return stream

    async with gateway(rungs=rungs_of(engines), **PLANNED) as running:
        await ready(running)
        assert (await climb(running))[0] == 409
        await starve(engines, 250)
        await ready(running, 2)
        engines.spare = 99
        code, text = await climb(running)
        assert code == 409
        assert "more of memory must be free" in text
        engines.spare, engines.answer = 300, slow
        async with running.post(stream=True) as reply:
            await reply.content.readuntil(b"\n\n")
            assert (await climb(running))[0] == 202
            later = asyncio.create_task(running.text())
            await asyncio.sleep(0.1)
            assert len(engines.made) == 2, "nothing is started before the answer has ended"
            assert not later.done()
            engines.answer = fine
            go.set()
            assert b"two" in await reply.read()
        assert (await later)[0] == 200
        await ready(running, 3)
        found = await status(running)
        assert ("lowered" in found, found["context"]) == (False, 4096)
        assert [each["event"] for each in found["events"]] == ["lowered", "climbed"]
        assert found["restarts"] == 1, "a climb is no failure"
        assert engines.made[1].stops[0] is True
        assert engines.dropped == 0


async def test_it_climbs_as_far_as_there_is_memory(gateway: Open, engines: FakeEngines) -> None:
    async with gateway(rungs=rungs_of(engines), **PLANNED) as running:
        await ready(running)
        await starve(engines, 300)
        await ready(running, 2)
        engines.spare = 150
        assert (await climb(running))[0] == 202
        await ready(running, 3)
        assert (await status(running))["lowered"]["rung"] == 2


async def test_it_climbs_after_a_quiet_hour(gateway: Open, engines: FakeEngines) -> None:
    async with gateway(
        replace(FAST, quiet_hour_s=0.2), rungs=rungs_of(engines), **PLANNED
    ) as running:
        await ready(running)
        engines.spare = 50
        await starve(engines, 300)
        await ready(running, 2)
        await asyncio.sleep(0.3)
        assert len(engines.made) == 2, "there is no memory for more"
        engines.spare = 500
        for _ in range(8):
            assert (await running.text())[0] == 200
            await asyncio.sleep(0.05)
        assert len(engines.made) == 2, "it was not quiet"
        await ready(running, 3)
        assert "lowered" not in await status(running)


async def test_it_never_climbs_by_itself_where_nobody_says_how_much_there_is(
    gateway: Open, engines: FakeEngines
) -> None:
    async with gateway(
        replace(FAST, quiet_hour_s=0.05), rungs=rungs_of(engines), **PLANNED
    ) as running:
        await ready(running)
        await starve(engines)
        await ready(running, 2)
        await asyncio.sleep(0.2)
        assert len(engines.made) == 2
        assert (await climb(running))[0] == 202, "but when it is asked to"
        await ready(running, 3)


async def test_what_is_served_is_what_the_last_step_says_though_two_come_at_once(
    engines: FakeEngines,
) -> None:
    told = Told(asyncio.get_running_loop().create_future())
    rungs = rungs_of(engines)
    lowering = Lowering(rungs()[0], rungs, told, FAST)
    served: list[int] = []

    async def change(rung: ServedRung) -> str:
        await asyncio.sleep(0.05 if rung.settings.sees else 0.0)
        served.append(rung.held_bytes)
        return ""

    lowering.on_change = change
    ended = engines()
    ended.short_of_memory = True
    await lowering.after(ended, SteprunError("It ended."), 9.0)
    await asyncio.gather(lowering.go(0), lowering.go(3))
    assert (lowering.number, served) == (3, [900, 1000, 700])
    assert lowering.lowered is not None
    assert lowering.lowered.rung == 3


async def test_one_that_sleeps_comes_back_with_what_there_is_memory_for(
    gateway: Open, engines: FakeEngines
) -> None:
    """An engine that is unloaded when idle has no quiet hour."""
    async with gateway(rungs=rungs_of(engines), idle_unload_s=0.2, **PLANNED) as running:
        await ready(running)
        await starve(engines, 300)
        await ready(running, 2)
        engines.spare = 850  # of all, not beside an engine
        await until(lambda: "asleep" in running.told.words)
        assert (await status(running))["lowered"]["rung"] == 3
        code, text = await climb(running)
        assert (code, "the next request loads it" in text) == (202, True)
        assert (await running.text())[0] == 200
        assert (await status(running))["lowered"]["rung"] == 2
        engines.spare = None
        await until(lambda: running.told.words.count("asleep") == 2)
        assert (await running.text())[0] == 200
        assert (await status(running))["lowered"]["rung"] == 2, "nobody says how much there is"
        engines.spare = 1000
        await until(lambda: running.told.words.count("asleep") == 3)
        assert (await running.text())[0] == 200
        found = await status(running)
        assert ("lowered" in found, found["context"]) == (False, 4096)


async def test_who_comes_while_a_long_answer_keeps_it_from_climbing_has_a_turn(
    gateway: Open, engines: FakeEngines
) -> None:
    go = asyncio.Event()

    async def answer(request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
        if not asked.get("stream"):
            return await fine(request, asked)
        stream = await begun(request)
        await say(stream, "begun")
        await go.wait()
        return stream

    engines.answer = answer
    timing = replace(FAST, renew_s=0.1)
    async with gateway(timing, rungs=rungs_of(engines), parallel=2, **PLANNED) as running:
        await ready(running)
        await starve(engines, 300)
        await ready(running, 2)
        engines.spare = 500
        async with running.post(stream=True) as long:
            await long.content.readuntil(b"\n\n")
            assert (await climb(running))[0] == 202
            for _ in range(5):
                assert (await running.text())[0] == 200
            assert len(engines.made) == 2
            go.set()
            await long.read()
        await ready(running, 3)
        assert "lowered" not in await status(running)


async def test_the_wait_for_memory_is_over_when_the_step_is_told(engines: FakeEngines) -> None:
    told = Told(asyncio.get_running_loop().create_future())
    rungs = rungs_of(engines)
    lowering = Lowering(rungs()[0], rungs, told, FAST)
    seen: list[str] = []

    async def change(_: ServedRung) -> str:
        seen.append(lowering.waits_for)
        return ""

    lowering.on_change = change
    engines.lacks = [1 << 31, 300]
    ended = engines()
    ended.short_of_memory = True
    await lowering.after(ended, SteprunError("It ended."), 9.0)
    assert any("waits for" in word for word in told.words)
    assert seen == [""]
