"""A chat whose engine is found while its window is open, and what makes the window close."""

from collections.abc import Callable
from typing import Any

import pytest

from runner.base.errors import Refused, SteprunError
from runner.chat.host import ChatSetup, NeedsTerminal
from runner.chat.wire import Options
from runner.cli import chat_here
from runner.cli.chat_here import AskedChat
from runner.cli.commands import chat as chatting
from runner.plan.request import PlanRequest, Profile
from runner.run.request import ModelRequest

COMMON = {"pictures": (), "show_thinking": False, "resume": ""}
REQUEST = ModelRequest("demo", PlanRequest())


def asked(*, own: bool = False) -> AskedChat:
    return AskedChat(REQUEST, Options(), COMMON, "chat", own, typed=False)


def found(title: str) -> ChatSetup:
    return ChatSetup(title, chat_here._unknown, Options(), greeting="Engine: embedded.")


async def find(wish: AskedChat) -> ChatSetup:
    setup = chat_here.not_found_yet(wish)
    assert (setup.title, setup.own, setup.words) == ("demo", True, ("--demo",))
    assert setup.find is not None
    return await setup.find(lambda _: None)


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note what is done, and plan nothing."""
    done: list[str] = []

    def plan(_: ModelRequest) -> str:
        done.append("planned")
        return "a plan"

    def local(_: AskedChat, prepared: Any, make_ready: Callable[[Any], Any]) -> ChatSetup:
        done.append(f"set up by {prepared}")
        make_ready(prepared)
        return found("own")

    def ensure(prepared: Any, front: Any) -> None:
        front.notify("The disk is slow.")
        assert front.ask is None
        if "download" in done:
            front.progress()

    monkeypatch.setattr(chat_here, "_plan", plan)
    monkeypatch.setattr(chat_here, "_local", local)
    monkeypatch.setattr("runner.run.download_missing.ensure_files", ensure)
    return done


async def test_an_engine_is_planned_behind_the_window(home: Any, planned: list[str]) -> None:
    setup = await find(asked())
    assert planned == ["planned", "set up by a plan"]
    assert setup.greeting == "The disk is slow.\nEngine: embedded."


async def test_a_download_takes_a_terminal(home: Any, planned: list[str]) -> None:
    planned.append("download")
    with pytest.raises(NeedsTerminal):
        await find(asked())


async def test_so_does_every_refusal(
    home: Any, planned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan(_: ModelRequest) -> None:
        raise Refused("It does not fit.")

    monkeypatch.setattr(chat_here, "_plan", plan)
    with pytest.raises(NeedsTerminal, match="does not fit"):
        await find(asked(own=True))


async def test_a_server_that_runs_is_joined_and_nothing_planned(
    home: Any, planned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_here, "_joined", lambda *_: found("joined"))
    assert (await find(asked())).title == "joined"
    assert planned == []


class Window:
    """Stands in for the chat's window: one that needs a terminal, then one that ends."""

    opened: list[ChatSetup] = []  # noqa: RUF012 - of one test
    failure, return_code = None, 0

    class conversation:  # noqa: N801 - a name of the real one
        saved, draft_path = True, "draft.json"

        class session:  # noqa: N801
            id = "20260101-000000-00000000"

    class composer:  # noqa: N801
        pictures = ("a picture",)

    def __init__(self, setup: ChatSetup) -> None:
        self.opened.append(setup)
        self.needs_terminal = len(self.opened) == 1
        self.farewell = (f"farewell {len(self.opened)}",)

    def run(self) -> None:
        pass


def test_the_window_opens_again_with_what_was_typed_in_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("runner.tui.app.ChatApp", Window)
    Window.opened.clear()
    assert chatting._run_tui(found("unknown"), lambda: found("own")) == 0
    first, second = Window.opened
    assert (first.title, second.title) == ("unknown", "own")
    assert (second.resume, second.pictures) == ("20260101-000000-00000000", ())
    assert capsys.readouterr().err == "farewell 2\n"


def test_where_the_terminal_refuses_it_the_way_back_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def here() -> ChatSetup:
        raise Refused("Cancelled.")

    monkeypatch.setattr("runner.tui.app.ChatApp", Window)
    Window.opened.clear()
    with pytest.raises(Refused, match="Cancelled"):
        chatting._run_tui(found("unknown"), here)
    assert capsys.readouterr().err == "farewell 1\n"


async def test_another_way_is_looked_for_with_its_options_and_without_the_first_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked_for: list[AskedChat] = []

    async def search(wish: AskedChat, _: object) -> ChatSetup:
        asked_for.append(wish)
        return found("fast")

    monkeypatch.setattr(chat_here, "_search", search)
    wish = AskedChat(REQUEST, Options(), {**COMMON, "pictures": ("x",)}, "chat", False, typed=False)
    ask = PlanRequest(profile=Profile.FAST)
    way = chat_here._another(wish, ("--demo",), "Faster", ask)
    assert way.words == ("--demo", "--profile", "fast")
    assert not way.sees
    setup = await way.find(lambda _: None)
    assert setup.words == way.words, "the chat is resumed with the same engine"
    assert asked_for[0].request.ask.profile is Profile.FAST
    assert asked_for[0].own
    assert asked_for[0].common["pictures"] == ()


async def test_what_takes_a_terminal_is_no_way(monkeypatch: pytest.MonkeyPatch) -> None:
    async def search(*_: object) -> ChatSetup:
        raise NeedsTerminal("A download is shown in the terminal.")

    monkeypatch.setattr(chat_here, "_search", search)
    way = chat_here._another(asked(), ("--demo",), "Quant Q8_0", PlanRequest(quant="Q8_0"))
    with pytest.raises(SteprunError) as caught:
        await way.find(lambda _: None)
    assert not isinstance(caught.value, NeedsTerminal)
    assert caught.value.next == "steprun chat --demo --quant Q8_0"


def test_the_python_engine_is_not_sent_the_beginning_of_an_answer() -> None:
    for kind, continues in (("llama-cpp-python", False), ("llama-server", True), ("", True)):
        dialect = chat_here._dialect(kind)
        assert dialect.continues is continues
        assert bool(dialect.thinking_cap) is dialect.control is continues
        assert dialect.progress
