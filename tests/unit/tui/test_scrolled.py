"""Rows that moved are moved by the terminal, and it shows what it would show without that."""

import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyte
import pytest
from rich.console import RenderableType
from textual import events
from textual._compositor import CompositorUpdate, LayoutUpdate
from textual.app import ComposeResult
from textual.content import Content
from textual.pilot import Pilot
from textual.screen import ModalScreen, Screen
from textual.strip import Strip
from textual.widgets import Static

from runner.chat.events import Text
from runner.chat.turn import Turn, TurnState
from runner.tui import view
from runner.tui.app import ChatApp
from runner.tui.frugal import ChangedOnly, ChatScreen, FrugalApp
from runner.tui.scrolled import Move, find_move
from runner.tui.transcript import Transcript
from tests.unit.tui import test_app
from tests.unit.tui.test_transcript import done

SIZE = (60, 24)


class Written(FrugalApp):
    """An app, and the terminal that it is written to."""

    terminal: pyte.Screen | None = None
    written = 0

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        super()._display(screen, renderable)
        if isinstance(renderable, CompositorUpdate):
            self.terminal = self.terminal or pyte.Screen(*SIZE)
            text = renderable.render_segments(self.console)
            self.written += len(text)
            pyte.Stream(self.terminal).feed(text)

    def shown(self) -> list[Any]:
        """Return the cells that the terminal shows."""
        return cells(self.terminal)

    def wanted(self) -> list[Any]:
        """Return the cells that it would show if all were written anew."""
        strips = self.screen._compositor.render_strips()
        fresh = pyte.Screen(*SIZE)
        update = LayoutUpdate([[strip] for strip in strips], self.screen.region)
        pyte.Stream(fresh).feed(update.render_segments(self.console))
        return cells(fresh)


class Window(Written):
    """A transcript, a line below it, and one that may lie above it."""

    CSS = """
    Transcript { height: 1fr; scrollbar-size-vertical: 1; }
    #cover { layer: above; height: 3; display: none; }
    Screen { layers: below above; }
    """

    def __init__(self, turns: list[Turn]) -> None:
        super().__init__()
        self.turns = turns
        self.transcript = Transcript(Content("greeting"), lambda _: (1, 1), prices=False, context=0)

    def get_default_screen(self) -> ChatScreen:
        return ChatScreen(self.transcript)

    def compose(self) -> ComposeResult:
        yield self.transcript
        yield Static("status", id="status")
        yield Static("cover", id="cover")

    async def on_mount(self) -> None:
        await self.transcript.show_turns(self.turns, opened=False)


class WrittenChat(Written, ChatApp):
    """The chat, and the terminal that it is written to."""

    CSS_PATH = str(Path(view.__file__).with_name("chat.tcss"))


def cells(screen: pyte.Screen | None) -> list[Any]:
    assert screen is not None
    return [[screen.buffer[y][x] for x in range(SIZE[0])] for y in range(SIZE[1])]


@contextlib.asynccontextmanager
async def window(turns: list[Turn]) -> AsyncIterator[tuple[Window, Pilot[None]]]:
    app = Window(turns)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert app.shown() == app.wanted()
        yield app, pilot


def growing() -> Turn:
    return Turn("question", phase=TurnState.ANSWERING, answer="some words\n\n")


async def test_a_new_row_costs_the_terminal_a_few_rows_and_not_the_screen():
    turn = growing()
    async with window([*map(done, range(40)), turn]) as (app, pilot):
        app.transcript.refresh()
        app.written = 0
        await pilot.pause()
        whole = app.written
        costs = []
        for number in range(30):
            turn.apply(Text(f"line {number}\n\n"), 1.0)
            app.written = 0
            app.transcript.sync(turn, opened=False)
            await pilot.pause()
            assert app.shown() == app.wanted()
            costs.append(app.written)
        assert max(costs) < whole / 3


async def test_scrolling_by_a_few_rows_moves_the_others():
    async with window([done(n, 1 + n % 5) for n in range(60)]) as (app, pilot):
        whole = 0
        for rows in (-3, -3, 3, -1, 2, 1, -8, 5):
            app.written = 0
            app.transcript.scroll_relative(y=rows, animate=False)
            await pilot.pause()
            assert app.shown() == app.wanted(), rows
            whole = max(whole, app.written)
        app.written = 0
        app.transcript.refresh()
        await pilot.pause()
        assert whole < app.written / 2


async def test_what_lies_above_the_transcript_is_not_moved_and_leaves_no_trace():
    turn = growing()
    async with window([*map(done, range(40)), turn]) as (app, pilot):
        for number in range(12):
            app.query_one("#cover").display = number % 4 == 1
            turn.apply(Text(f"line {number}\n\n"), 1.0)
            app.transcript.sync(turn, opened=False)
            await pilot.pause()
            assert app.shown() == app.wanted(), number


async def test_after_another_screen_all_is_written():
    turn = growing()
    async with window([*map(done, range(40)), turn]) as (app, pilot):
        for other in (Screen[None](), ModalScreen[None]()):
            below = app.screen._compositor
            await app.push_screen(other)
            for _ in range(2):
                turn.apply(Text("more\n\nlines\n\n"), 1.0)
                app.transcript.sync(turn, opened=False)
                await pilot.pause()
            assert isinstance(below, ChangedOnly)
            assert below._alone() != below._region  # what the terminal shows is not known
            await app.pop_screen()
            await pilot.pause()
            assert app.shown() == app.wanted()
            turn.apply(Text("more\n\nlines\n\n"), 1.0)
            app.transcript.sync(turn, opened=False)
            await pilot.pause()
            assert app.shown() == app.wanted()


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_the_terminal_shows_what_it_should(seed):
    chance = random.Random(seed)
    turn = growing()
    turns = [*(done(n, 1 + n % 4) for n in range(30)), turn]
    async with window(turns) as (app, pilot):
        transcript = app.transcript
        for step in range(60):
            match chance.randrange(8):
                case 0 | 1 | 2:
                    turn.apply(Text(chance.choice(["word ", "more\n\n", "a\n\nb\n\nc\n\n"])), 1.0)
                    transcript.sync(turn, opened=False)
                case 3:
                    transcript.scroll_relative(y=chance.randrange(-9, 10), animate=False)
                case 4:
                    transcript.follow()
                case 5:
                    app.query_one("#status", Static).update(f"status {step}")
                case 6:
                    transcript.notice(chance.choice([None, Content("notice")]))
                case 7:
                    app.theme = chance.choice(["textual-dark", "textual-light"])
            if chance.random() < 0.7:  # else two things happen before anything is written
                await pilot.pause()
                assert app.shown() == app.wanted(), step


async def test_the_chat_shows_what_changes_with_the_terminals_focus(monkeypatch):
    monkeypatch.setattr(test_app, "ChatApp", WrittenChat)
    async with test_app.chat(size=SIZE) as c:
        app = c.app
        assert isinstance(app, WrittenChat)
        focused = app.shown()
        for event in (events.AppBlur(), events.AppFocus(), events.AppBlur()):
            app.post_message(event)
            await c.pilot.pause()
            assert app.shown() == app.wanted()
            assert (app.shown() == focused) == isinstance(event, events.AppFocus)
        await c.pilot.press("x")
        assert app.shown() == app.wanted()
        await c.pilot.press("ctrl+p")  # the palette, and back
        await c.pilot.pause()
        await c.pilot.press("escape")
        await c.pilot.pause()
        assert app.shown() == app.wanted()


def test_a_move_is_found_up_and_down():
    many = [Strip.blank(n) for n in range(10)]
    new = [Strip.blank(n) for n in range(3)]
    assert find_move(many, [*many[3:], *new]) == Move(0, 9, 3)
    assert find_move(many, [*new, *many[:7]]) == Move(0, 9, -3)
    assert find_move(many, [*many[:2], *many[4:], *new[:2]]) == Move(2, 9, 2)
    assert Move(0, 9, 3).applied(many) == [*many[3:], None, None, None]
    assert Move(0, 9, -3).applied(many) == [None, None, None, *many[:7]]
    assert Move(2, 9, 2).applied(many) == [*many[:2], *many[4:], None, None]


def test_nothing_is_moved_for_a_few_rows_or_where_all_is_alike():
    many = [Strip.blank(n) for n in range(10)]
    blank = Strip.blank(5)
    assert find_move(many, many) is None
    assert find_move(many, [Strip.blank(1)] * 10) is None
    assert find_move(many, [*many[7:], *[blank] * 7]) is None
    assert find_move([blank] * 10, [*many[:2], *[blank] * 8]) is None
    assert find_move([None] * 10, many) is None


def test_a_terminal_moves_rows_within_margins():
    for move in (Move(2, 7, 2), Move(2, 7, -2), Move(0, 9, 1), Move(5, 9, -1)):
        screen = pyte.Screen(4, 14)
        stream = pyte.Stream(screen)
        for y in range(10):
            stream.feed(f"\x1b[{y + 3};1H{y}")
        stream.feed(move.sequence(2))
        wanted = move.applied([*map(str, range(10))])  # type: ignore[list-item]
        assert [row.strip() for row in screen.display] == [
            "",
            "",
            *(w or "" for w in wanted),
            "",
            "",
        ]
