"""What memory does to the engine is said in the chat, in the window and in plain lines."""

import asyncio
from collections.abc import Callable

import pytest

from runner.chat.host_news import HostNews
from tests.fakes.sse_server import End, FakeHost, Say
from tests.unit.tui.test_app import chat
from tests.unit.tui.test_plain import Ran

LESS = HostNews("Memory was short. Given up for now: half of the context.", 2048, sees=False)


def telling(monkeypatch: pytest.MonkeyPatch, go: asyncio.Event | None, *news: HostNews) -> None:
    """Have the fake host tell something, when it may."""

    async def tell(_: FakeHost, report: Callable[[HostNews], object]) -> None:
        if go is not None:
            await go.wait()
        for each in news:
            report(each)
        await asyncio.Event().wait()

    monkeypatch.setattr(FakeHost, "news", tell, raising=False)


async def test_the_window_says_it_in_a_line_and_knows_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go = asyncio.Event()
    telling(monkeypatch, go, LESS)
    async with chat([Say("fine"), End()]) as talk:
        go.set()
        await talk.sees("Given up for now: half of the context.")
        assert (talk.app.setup.context, talk.app.setup.sees) == (2048, False)
        assert "memory was short" in talk.app.blind().why


def test_the_plain_chat_says_it_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    telling(monkeypatch, None, LESS)
    ran = Ran([Say("fine"), End()], lines=["hi"])
    assert LESS.words in ran.text
    assert ran.turns[0].answer == "fine"


async def test_a_host_that_tells_ends_with_its_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    go = asyncio.Event()
    telling(monkeypatch, go, LESS)
    async with chat([Say("fine"), End()]):
        pass
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "news"]
