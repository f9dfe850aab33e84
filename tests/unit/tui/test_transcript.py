"""The transcript: how much of a conversation is laid out and drawn, and what stays in its place."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from textual import events
from textual.app import App, ComposeResult
from textual.content import Content
from textual.geometry import Offset
from textual.pilot import Pilot
from textual.selection import Selection

from runner.chat.events import Text
from runner.chat.turn import Turn, TurnState
from runner.tui import transcript as module
from runner.tui.block import ROWS, Part
from runner.tui.flow import Flow
from runner.tui.transcript import Transcript
from runner.tui.turnview import TurnView


class Window(App[None]):
    """A transcript alone."""

    CSS = "Transcript { height: 1fr; }"

    def __init__(self, turns: list[Turn]) -> None:
        super().__init__()
        self.turns = turns
        self.transcript = Transcript(Content("greeting"), lambda _: (1, 1), prices=False, context=0)

    def compose(self) -> ComposeResult:
        yield self.transcript

    async def on_mount(self) -> None:
        await self.transcript.show_turns(self.turns, opened=False)


def done(number: int, lines: int = 1) -> Turn:
    answer = "\n\n".join(f"answer {number} line {line}" for line in range(lines))
    return Turn(f"question {number}", phase=TurnState.DONE, answer=answer)


class Shown:
    """The window, and what it shows."""

    def __init__(self, app: Window, pilot: Pilot[None]) -> None:
        self.app, self.pilot, self.transcript = app, pilot, app.transcript

    def rows(self) -> list[str]:
        height = self.transcript.size.height
        return [self.transcript.render_line(y).text.rstrip() for y in range(height)]

    def row_of(self, text: str) -> int:
        return next(y for y, row in enumerate(self.rows()) if text in row)

    async def until(self, condition: Callable[[], object]) -> None:
        for _ in range(400):
            if condition():
                return
            await self.pilot.pause(0.02)
        raise AssertionError("\n".join(self.rows()))


@contextlib.asynccontextmanager
async def window(turns: list[Turn], size: tuple[int, int] = (100, 30)) -> AsyncIterator[Shown]:
    app = Window(turns)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        yield Shown(app, pilot)


@pytest.fixture
def laid_out(monkeypatch) -> list[Turn]:
    """The turns that were laid out, in order."""
    turns: list[Turn] = []
    real = TurnView._arranged

    def arranged(view: TurnView, space: Any) -> Any:
        turns.append(view.turn)
        return real(view, space)

    monkeypatch.setattr(TurnView, "_arranged", arranged)
    return turns


async def test_a_chat_of_a_thousand_turns_lays_out_what_is_in_view(laid_out):
    turns = [done(n, 3) for n in range(1000)]
    async with window(turns) as c:
        assert "answer 999 line 2" in "\n".join(c.rows())
        assert set(laid_out) == set(turns[-3:])
        assert len(list(c.app.screen.walk_children())) < 8
        del laid_out[:]
        c.transcript.scroll_home(animate=False)
        await c.pilot.pause()
        assert c.rows()[1] == "   greeting"
        assert len(set(laid_out)) <= 4
        del laid_out[:]
        c.transcript.follow()
        assert "answer 999 line 2" in "\n".join(c.rows())
        assert not laid_out


async def test_the_whole_of_a_chat_can_be_scrolled_either_way():
    turns = [done(n, 1 + n % 7) for n in range(80)]
    async with window(turns) as c:
        seen = c.rows()
        while c.transcript.scroll_y:
            c.transcript.scroll_page_up(animate=False)
            seen += c.rows()
        assert {f"question {n}" for n in range(80)} <= {row[4:].strip() for row in seen}
        down: list[str] = list(c.rows())
        while not c.transcript.following:
            c.transcript.scroll_page_down(animate=False)
            down += c.rows()
        for turn in turns:
            for line in turn.answer.split("\n\n"):
                assert any(line in row for row in down), line


async def test_what_is_in_view_stays_when_a_turn_above_is_higher_than_expected():
    turns = [Turn("a", phase=TurnState.DONE, answer="- x\n- y\n\n" * 30) for _ in range(3)]
    turns.append(done(9, 12))
    async with window(turns) as c:
        before = c.row_of("question 9")
        for step in range(1, 8):
            c.transcript.scroll_up(animate=False)
            assert c.row_of("question 9") == before + step


async def test_what_is_in_view_stays_while_text_is_added_and_the_end_is_followed():
    turns = [done(n) for n in range(10)]
    live = Turn("live", phase=TurnState.ANSWERING)
    async with window([*turns, live]) as c:
        for n in range(60):
            live.apply(Text(f"word{n}\n\n"), 0.0)
        c.transcript.sync(live, opened=False)
        assert c.transcript.following
        assert any("word59" in row for row in c.rows())
        c.transcript.scroll_up(animate=False)
        assert not c.transcript.following
        before = c.rows()
        for n in range(60, 90):
            live.apply(Text(f"word{n}\n\n"), 0.0)
        c.transcript.sync(live, opened=False)
        assert c.rows() == before
        c.transcript.follow()
        assert any("word89" in row for row in c.rows())


async def test_a_tick_has_no_layout_of_the_screen_and_writes_the_rows_that_changed(monkeypatch):
    live = Turn("live", phase=TurnState.ANSWERING, answer="one\n\ntwo ")
    async with window([done(0), live]) as c:
        fresh: list[list[int]] = []
        monkeypatch.setattr(c.transcript, "refresh_rows", fresh.append)
        layouts: list[object] = []
        monkeypatch.setattr(type(c.app.screen), "_refresh_layout", layouts.append)
        row = c.row_of("two")
        live.apply(Text("three"), 0.0)
        c.transcript.sync(live, opened=False)
        await c.pilot.pause()
        assert fresh == [[row]]
        c.transcript.sync(live, opened=False)
        assert fresh[1:] == [[]]
        live.apply(Text("\n\nfour\n\nfive" * 40), 0.0)  # the end is far below
        c.transcript.sync(live, opened=False)
        await c.pilot.pause()
        assert not layouts


async def test_a_turn_far_away_is_reached_and_a_row_of_it_shown():
    turns = [done(n, 20) for n in range(300)]
    async with window(turns) as c:
        view = c.transcript.reach(40)
        assert view.turn is turns[40]
        assert "question 40" in "\n".join(c.rows()[:3])
        assert not c.transcript.following
        before = c.rows()
        c.transcript.show_rows(view, 4)  # it is in view
        assert c.rows() == before
        row = next(y for y, line in enumerate(view.lines()) if "line 19" in line)
        c.transcript.show_rows(view, row)
        assert c.row_of("answer 40 line 19") == 10
        c.transcript.show_rows(c.transcript.reach(0), 19)
        assert "question 0" in c.rows()[1]
        c.transcript.reach(0)
        c.transcript.show_rows(view, 0)
        assert c.row_of("question 40") == 11
        c.transcript.show_rows(c.transcript.reach(299), 10**6)
        assert c.transcript.following


async def test_what_is_marked_in_a_row_is_drawn_when_it_is_renewed(monkeypatch):
    turns = [done(n) for n in range(3)]
    async with window(turns) as c:
        before = [c.transcript.render_line(y) for y in range(c.transcript.size.height)]
        row = c.row_of("answer 1 line")

        def looks(view: TurnView, part: Part, index: int) -> Content:
            content = part.rows[index].content
            return content.stylize("reverse", 0, 3) if "answer 1 " in content.plain else content

        monkeypatch.setattr(TurnView, "_looks", looks)
        c.transcript.renew()
        after = [c.transcript.render_line(y) for y in range(c.transcript.size.height)]
        assert [y for y, strip in enumerate(after) if strip is not before[y]] == [row]


async def test_other_widths_keep_the_turn_in_view():
    turns = [Turn("q", phase=TurnState.DONE, answer=f"n{n} " + "word " * 200) for n in range(50)]
    async with window(turns, (120, 30)) as c:
        c.transcript.reach(20)
        await c.pilot.resize_terminal(50, 30)
        await c.pilot.pause()
        assert any("n20 " in row for row in c.rows())
        assert c.transcript.virtual_size.height > 50 * 15


async def test_a_text_that_came_at_once_is_laid_out_by_and_by(monkeypatch):
    steps: list[int] = []
    real = Flow.step

    def step(flow: Flow, until: float | None = None) -> None:
        before = flow._taken
        real(flow, until)
        steps.append(flow._taken - before)

    monkeypatch.setattr(Flow, "step", step)
    live = Turn("live", phase=TurnState.ANSWERING)
    async with window([live]) as c:
        live.apply(Text("A paragraph of some words.\n\n" * 8000 + "the end"), 0.0)
        c.transcript.sync(live, opened=False)
        await c.until(lambda: any("the end" in row for row in c.rows()))
        assert len([taken for taken in steps if taken]) > 1


async def test_another_conversation_leaves_nothing_of_the_first():
    long = Turn("q", phase=TurnState.DONE, answer="A paragraph of some words.\n\n" * 30_000)
    async with window([*(done(n) for n in range(5)), long]) as c:
        assert any(view.behind for view in c.transcript.views)
        other = [done(7)]
        await c.transcript.show_turns(other, opened=False)
        assert [view.turn for view in c.transcript.views] == other
        c.transcript._catch_up()
        assert c.transcript.virtual_size.height == c.row_of("answer 7") + 2
        c.transcript.sync(long, opened=False)
        assert long not in [view.turn for view in c.transcript.views]


async def test_a_selection_goes_over_turns_and_holds_while_more_is_laid_out_above():
    turns = [done(n, 2) for n in range(40)]
    async with window(turns) as c:
        first, last = c.row_of("answer 38 line 1"), c.row_of("answer 39 line 0")
        await c.pilot.mouse_down(Transcript, offset=(4, first))
        await c.pilot.hover(Transcript, offset=(12, last))
        await c.pilot.mouse_up(Transcript, offset=(12, last))
        text = c.app.screen.get_selected_text()
        assert text is not None
        lines = text.split("\n")
        assert (lines[0], lines[-1]) == ("answer 38 line 1", "answer 39")
        assert "  question 39" in lines[3:] or any("question 39" in line for line in lines)
        c.transcript.scroll_home(animate=False)
        await c.pilot.pause()
        assert c.app.screen.get_selected_text() == text


async def test_a_selection_to_the_ends_takes_what_is_seen():
    async with window([done(n, 2) for n in range(40)]) as c:
        found = c.transcript.get_selection(Selection(None, None))
        assert found is not None
        assert "answer 39 line 1" in found[0]
        assert "answer 2 " not in found[0]
        one = c.transcript.get_selection(Selection(Offset(0, 40 * ROWS), Offset(3, 40 * ROWS + 1)))
        assert one is not None


async def test_few_layouts_are_kept(monkeypatch):
    monkeypatch.setattr(module, "KEPT", 4)
    async with window([done(n, 9) for n in range(60)], (80, 12)) as c:
        while c.transcript.scroll_y:
            c.transcript.scroll_page_up(animate=False)
        await asyncio.sleep(0)
        assert len(c.transcript._views) <= 12


async def test_another_theme_draws_all_rows_anew():
    async with window([done(0)]) as c:
        before = c.transcript.render_line(0)
        c.app.theme = "textual-light"
        await c.pilot.pause()
        await c.until(lambda: c.transcript.render_line(0) is not before)
        old, new = (
            [str(each.style) for each in strip] for strip in (before, c.transcript.render_line(0))
        )
        assert old != new


async def test_the_wheel_scrolls():
    async with window([done(n, 3) for n in range(40)]) as c:
        top = c.transcript.scroll_y
        up = events.MouseScrollUp(c.transcript, 5, 5, 0, 0, 0, shift=False, meta=False, ctrl=False)
        c.transcript.post_message(up)
        await c.until(lambda: c.transcript.scroll_y < top)
        assert not c.transcript.following


async def test_the_scrollbar_is_drawn_again_when_its_thumb_moves(monkeypatch):
    live = Turn("live", phase=TurnState.ANSWERING)
    async with window([*(done(n, 3) for n in range(500)), live]) as c:
        drawn: list[object] = []
        bar = c.transcript.vertical_scrollbar
        monkeypatch.setattr(bar, "refresh", lambda *_, **__: drawn.append(bar))
        for n in range(10):
            live.apply(Text(f"word {n}\n\n"), 0.0)
            c.transcript.sync(live, opened=False)
        assert len(drawn) <= 1
        c.transcript.scroll_home(animate=False)
        assert drawn
