"""What an update, a tick of an answer and a change of focus cost, counted rather than timed."""

from collections import Counter
from typing import Any

import pytest
from textual import events
from textual.app import ComposeResult
from textual.css.stylesheet import Stylesheet
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input, Static

from runner.chat.events import Text
from runner.chat.turn import Turn, TurnState
from runner.tui.block import Block, Brush
from runner.tui.frugal import FrugalApp
from runner.tui.transcript import Transcript
from tests.unit.tui.test_app import chat
from tests.unit.tui.test_transcript import done, window


class Window(FrugalApp):
    """Two lines of text, one above the other, and two fields."""

    CSS = "Input:focus { border: round red; } Input { border: round blue; }"

    def __init__(self) -> None:
        super().__init__()
        self.fields = Input(id="one"), Input(id="two")

    def compose(self) -> ComposeResult:
        yield Static("above", id="above")
        yield Static("below", id="below")
        yield from self.fields


@pytest.fixture
def rendered(monkeypatch) -> Counter[str]:
    """How often each widget was rendered, by its id."""
    count: Counter[str] = Counter()
    real = Widget.render_lines

    def render_lines(widget: Widget, crop: Region) -> Any:
        count[widget.id or type(widget).__name__] += 1
        return real(widget, crop)

    monkeypatch.setattr(Widget, "render_lines", render_lines)
    return count


@pytest.fixture
def styled(monkeypatch) -> Counter[str]:
    """How often the rules for each widget were looked for, by its id."""
    count: Counter[str] = Counter()
    real = Stylesheet.apply

    def apply(sheet: Stylesheet, node: Any, **more: Any) -> None:
        count[node.id or type(node).__name__] += 1
        real(sheet, node, **more)

    monkeypatch.setattr(Stylesheet, "apply", apply)
    return count


async def test_an_update_renders_what_the_changed_region_touches(rendered):
    async with Window().run_test(size=(40, 12)) as pilot:
        await pilot.pause()
        rendered.clear()
        pilot.app.query_one("#above", Static).update("other", layout=False)
        await pilot.pause()
        assert rendered["above"] == 1
        assert {"below", "one", "two"}.isdisjoint(rendered)


async def test_the_terminals_focus_changes_only_the_field_that_has_it(styled, rendered):
    async with Window().run_test(size=(40, 12)) as pilot:
        app = pilot.app
        one, two = app.query_one("#one"), app.query_one("#two")
        two.focus()
        await pilot.pause()
        colours = [field.styles.border_top[1] for field in (one, two)]
        styled.clear()
        rendered.clear()
        app.post_message(events.AppBlur())
        await pilot.pause()
        assert app.focused is None
        assert [field.styles.border_top[1] for field in (one, two)] == [colours[0]] * 2
        assert {"above", "below"}.isdisjoint(styled)
        assert rendered["two"]
        app.post_message(events.AppFocus())
        await pilot.pause()
        assert app.focused is two
        assert [field.styles.border_top[1] for field in (one, two)] == colours
        assert {"above", "below"}.isdisjoint(styled)
        assert {"above", "below", "one"}.isdisjoint(rendered)


async def test_a_key_gives_the_focus_back_and_a_field_that_is_gone_does_not_get_it():
    async with Window().run_test(size=(40, 12)) as pilot:
        app = pilot.app
        one, two = app.query_one("#one", Input), app.query_one("#two")
        one.focus()
        app.post_message(events.AppBlur())
        await pilot.pause()
        await pilot.press("x")
        assert one.value == "x"
        two.focus()
        app.post_message(events.AppBlur())
        await pilot.pause()
        await two.remove()
        app.post_message(events.AppFocus())
        await pilot.pause()
        assert app.focused is not two


async def test_no_rule_of_the_chat_asks_for_the_focus_of_what_is_not_styled_for_it():
    async with chat() as c:
        above = [
            (selector.name, rule.selectors[-1].name)
            for rules in c.app.stylesheet.rules
            for rule in rules.selector_set
            for selector in rule.selectors[:-1]
            if (selector.name in ("App", "ChatApp") and selector.pseudo_classes & {"focus", "blur"})
            or "focus-within" in selector.pseudo_classes
        ]
        assert set(above) <= {("App", "HeaderTitle")}  # Textual's, which the chat does not show


async def test_a_change_of_focus_styles_the_composer_and_the_field_once(styled):
    async with chat() as c:
        border = c.app.composer.styles.border_top
        for event in (events.AppBlur(), events.AppFocus()):
            await c.pilot.pause()
            styled.clear()
            c.app.post_message(event)
            await c.pilot.pause()
            names = {name: count for name, count in styled.items() if name != "DOMNode"}
            assert names == {"composer": 1, "prompt": 1}
            assert (c.app.composer.styles.border_top == border) == isinstance(
                event, events.AppFocus
            )


async def test_a_tick_of_an_answer_renders_the_transcript_alone(rendered):
    async with chat() as c:
        turn = Turn("question", phase=TurnState.ANSWERING, answer="some words")
        await c.app.transcript.show_turns([turn], opened=False)
        await c.pilot.pause()
        rendered.clear()
        turn.apply(Text(" and more"), 1.0)
        c.app.transcript.sync(turn, opened=False)
        await c.pilot.pause()
        assert {"prompt", "composer", "status", "chips"}.isdisjoint(rendered)


async def test_a_tick_of_an_answer_draws_each_row_once_and_writes_those_that_changed(monkeypatch):
    drawn: list[tuple[int, int]] = []
    real = Block.strip

    def strip(block: Block, y: int, brush: Brush) -> Strip:
        drawn.append((block.number, y))
        return real(block, y, brush)

    monkeypatch.setattr(Block, "strip", strip)
    written: list[int] = []
    fresh = Transcript.refresh_rows

    def refresh_rows(transcript: Transcript, rows: list[int]) -> None:
        written.extend(rows)
        fresh(transcript, rows)

    monkeypatch.setattr(Transcript, "refresh_rows", refresh_rows)
    turn = Turn("question", phase=TurnState.ANSWERING, answer="some words")
    async with window([done(0), turn], (60, 40)) as c:
        del drawn[:], written[:]
        turn.apply(Text(" and more"), 1.0)
        c.transcript.sync(turn, opened=False)
        await c.pilot.pause()
        assert written == [c.row_of("some words and more")]  # blank rows stay as they are
        assert len(drawn) == len(set(drawn))
