"""A chat with a picture, tools and a system prompt goes on in the window, in plain lines and by -p.

Wherever it goes on, what was read is not read again: a real engine counts the tokens.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runner.catalog.models_toml import load_catalog
from runner.chat.conversation import Conversation
from runner.chat.events import Usage
from runner.chat.host import ChatSetup
from runner.chat.sessions.store import list_sessions
from runner.chat.wire import Options
from runner.cli.one_answer import ask_once
from runner.cli.remote_chat import ask_server
from runner.net.endpoint import Endpoint
from runner.tui.app import ChatApp
from tests.engine.conftest import Served, serve
from tests.fakes.plain_user import PlainUser

pytestmark = pytest.mark.engine
PATIENCE_S = 60.0
# Tokens: of the question, of its frame in the template, and of the last micro-batch.
NEW = 60

Ask = Callable[[ChatSetup, str], Awaitable[None]]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("home"), "--demo", "pictures") as running:
        yield running


async def in_the_window(setup: ChatSetup, question: str) -> None:
    app = ChatApp(setup)
    async with app.run_test(size=(100, 30)) as pilot:
        deadline = time.monotonic() + PATIENCE_S
        while not app.host_task.alive() or len(app.composer.pictures) < len(setup.pictures):
            assert time.monotonic() < deadline
            await pilot.pause(0.05)
        count = len(app.conversation.turns)
        app.composer.insert(question)
        await pilot.press("enter")
        while len(app.conversation.turns) == count or app.busy:
            assert time.monotonic() < deadline
            await pilot.pause(0.05)


async def in_plain_lines(setup: ChatSetup, question: str) -> None:
    await asyncio.to_thread(PlainUser([question]).run, setup)


async def in_one_answer(setup: ChatSetup, question: str) -> None:
    await ask_once(setup, question)


async def test_what_was_read_in_one_is_not_read_in_another(demo: Served, home: object) -> None:
    picture = Path(load_catalog().model("tiny-step").picture)
    common = {"pictures": (), "files": (), "show_thinking": False, "resume": "", "mcp": ()}
    options = Options(temperature=0.0, max_tokens=200)
    setup = await ask_server(Endpoint(demo.url), "", options, common, None)

    async def asked(ask: Ask, question: str, *pictures: Path) -> tuple[int, Usage]:
        """Ask; return how many tokens the answer before had, and what this one took."""
        resume = "" if pictures else next(iter(list_sessions()))
        await ask(replace(setup, resume=resume, pictures=pictures), question)
        conversation = Conversation("Tiny", next(iter(list_sessions())))
        usage = conversation.turns[-1].usage
        conversation.close()
        assert usage is not None
        return usage.completion_tokens, usage

    written, before = await asked(in_one_answer, "How many shapes are there?", picture)
    ways = (in_one_answer, in_plain_lines, in_the_window, in_plain_lines, in_the_window)
    for ask in (*ways, in_one_answer):
        wrote, usage = await asked(ask, "How many shapes are there?")
        assert usage.prompt_tokens > before.prompt_tokens
        read = usage.prompt_tokens - usage.cached_tokens
        assert read < written + NEW < usage.prompt_tokens, f"{ask.__name__} read {usage}"
        written, before = wrote, usage
