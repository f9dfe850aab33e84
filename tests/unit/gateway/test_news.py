"""What memory does to an engine reaches its chat, in words."""

import asyncio
from typing import Any

import pytest

from runner.chat.host import ChatSetup
from runner.chat.host_news import BLIND, HostNews
from runner.chat.wire import Options
from runner.gateway import news
from runner.gateway.news import AS_PLANNED, Seen, memory_news, seen_in, words_of
from runner.net.endpoint import Endpoint
from tests.fakes.kept_engine import FakeEngines
from tests.unit.gateway.conftest import Open
from tests.unit.gateway.test_lowering import PLANNED, ready, rungs_of, starve, until

LOWERED = {"lowered": {"rung": 2, "gave_up": ["one", "two"], "because": "Chrome (6.1 GiB)."}}


@pytest.mark.parametrize(
    ("before", "now", "status", "said"),
    [
        (AS_PLANNED, AS_PLANNED, {}, ""),
        (AS_PLANNED, (2, False, False), LOWERED, "Given up for now: one; two. Chrome (6.1 GiB)."),
        ((3, False, False), (2, False, False), LOWERED, "in part. Still given up: one; two."),
        ((2, False, False), AS_PLANNED, {}, "the engine runs as it was planned"),
        (AS_PLANNED, (0, True, False), {"waits_for": "2 GiB."}, "The engine waits for 2 GiB."),
        (AS_PLANNED, (0, False, True), {"memory_left_bytes": 1 << 30}, "1.00 GiB are left"),
        ((0, False, True), AS_PLANNED, {}, "no longer short"),
        (AS_PLANNED, (1, False, False), {"lowered": 7}, "Memory was short."),
        (AS_PLANNED, (0, True, False), None, "waits for memory"),
    ],
)
def test_each_change_is_said_once(before: Seen, now: Seen, status: object, said: str) -> None:
    words = words_of(before, now, status)
    assert said in words
    assert bool(words) is bool(said)


@pytest.mark.parametrize("health", [None, [], {"lowered": []}, {"lowered": {"rung": "x"}}])
def test_what_makes_no_sense_says_nothing(health: object) -> None:
    assert seen_in(health) == AS_PLANNED


def test_what_others_wrote_cannot_reach_the_terminal() -> None:
    status = {"lowered": {"gave_up": ["\x1b[2J" * 9], "because": "x" * 9999}}
    words = words_of(AS_PLANNED, (1, False, False), status)
    assert "\x1b" not in words
    assert len(words) <= 600


def test_a_chat_knows_what_is_left_and_what_comes_back() -> None:
    async def never(*_: object) -> Any:
        raise AssertionError

    setup = ChatSetup("Fake", never, Options(), context=4096, sees=True)  # type: ignore[arg-type]
    less = HostNews("", 2048, sees=False).known(setup)
    assert (less.context, less.sees, less.blind_why) == (2048, False, BLIND)
    again = HostNews("", 4096, sees=True).known(less)
    assert (again.context, again.sees) == (4096, True)


async def test_a_chat_hears_of_each_step_of_its_gateway(
    gateway: Open, engines: FakeEngines
) -> None:
    heard: list[HostNews] = []
    async with gateway(rungs=rungs_of(engines), **PLANNED) as running:
        await ready(running)
        endpoint = Endpoint(running.url)
        telling = asyncio.create_task(memory_news(endpoint, heard.append, look_s=0.01))
        engines.made[-1].memory_left = 1 << 30
        await until(lambda: heard)
        await starve(engines, *[1 << 31] * 100_000)
        await until(lambda: "waits for" in heard[-1].words)
        engines.lacks[:] = [300]
        await until(lambda: "Given up" in heard[-1].words)
        assert (heard[-1].context, heard[-1].sees) == (2048, False)
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
    assert heard[0].words.startswith("Memory is short: 1")
    assert news.LOOK_S <= 5
