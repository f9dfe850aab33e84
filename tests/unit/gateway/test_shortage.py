"""What a gateway does while memory is short, and after an engine was stopped for want of it."""

import asyncio
from dataclasses import replace

import pytest

from tests.fakes.kept_engine import FakeEngines
from tests.unit.gateway.conftest import FAST, Open, Running


async def heard(running: Running, word: str) -> None:
    async with asyncio.timeout(10):
        while word not in running.told.words:
            await asyncio.sleep(0.005)


async def test_requests_wait_while_memory_is_short_and_are_answered_after_it(
    gateway: Open, engines: FakeEngines
) -> None:
    async with gateway() as running:
        await heard(running, "ready")
        engines.made[-1].memory_left = 1000
        await heard(running, "short 1000")
        asked = asyncio.create_task(running.text())
        await asyncio.sleep(0.2)
        assert not asked.done()
        assert not engines.asked, "the engine has not heard of it"
        engines.made[-1].memory_left = None
        assert (await asked)[0] == 200
        assert running.told.words[-1] == "no longer short"


async def test_what_is_short_for_long_is_how_the_machine_is_used(
    gateway: Open, engines: FakeEngines
) -> None:
    async with gateway(replace(FAST, hold_s=0.1)) as running:
        await heard(running, "ready")
        engines.made[-1].memory_left = 1000
        await heard(running, "short 1000")
        assert (await running.text())[0] == 200
        assert running.told.words.count("short 1000") == 1


async def test_nobody_waits_for_ever_where_it_cannot_be_told(
    gateway: Open, engines: FakeEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway() as running:
        await heard(running, "ready")
        told: list[int | None] = []

        def gone(left: int | None) -> None:
            told.append(left)
            raise BrokenPipeError

        monkeypatch.setattr(running.told, "short", gone)
        engines.made[-1].memory_left = 1000
        async with asyncio.timeout(10):
            while not told:
                await asyncio.sleep(0.005)
            assert (await running.text())[0] == 200


async def test_who_waits_for_memory_is_answered_where_the_engine_is_stopped(
    gateway: Open, engines: FakeEngines
) -> None:
    engines.lacks = [7, 3]
    async with gateway() as running:
        await heard(running, "ready")
        engines.made[-1].memory_left = 1000
        await heard(running, "short 1000")
        asked = asyncio.create_task(running.text())
        await asyncio.sleep(0.05)
        engines.made[-1].short_of_memory = True
        await engines.made[-1].die()
        assert (await asked)[0] == 200
        said = running.told.words
    assert said.index("lacking 7") < said.index("lacking 3")
    assert said.count("ready") == 2
    assert len(engines.made) == 2, "nothing was started before there was room"
