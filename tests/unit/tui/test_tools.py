"""Tools in the chat under Textual's pilot: offered, run, shown, switched off, saved, exported."""

import asyncio
import json
from collections.abc import Sequence

import pytest
from textual.content import Content

from runner.base import paths
from runner.chat.clock import AnswerClock
from runner.chat.dialect import LLAMA_SERVER, OPENAI
from runner.chat.finding import find_in, needle
from runner.chat.steps import StepKind, ToolUse, TurnStep, uses_of
from runner.chat.tools.shown import arguments_text, use_words
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Options, Picture
from runner.tui.found import locate
from runner.tui.half_blocks import UPPER
from runner.tui.picture_screens import LargePicture
from runner.tui.rows import Row
from runner.tui.settings import SettingsFile
from runner.tui.status import turn_states
from runner.tui.toolrows import OPENED_ROWS, tool_rows
from tests.fakes.sse_server import Call, Die, End, Gate, Refuse, Say, Step, Think
from tests.unit.tui.test_app import chat, picture, user_home  # noqa: F401 - a fixture

ZOOM = Call("zoom", json.dumps({"image": 1, "x": 100, "y": 200, "w": 500, "h": 500}))
LOOKS: Sequence[Step] = [Think("small"), ZOOM, End("tool_calls")]


async def attach(c, tmp_path, name="cat.png"):
    await c.paste(str(picture(tmp_path, name)))
    await c.sees("[Image #1]")


def offered(c):
    return ["tools" in request for request in c.server.requests]


async def test_a_zoom_is_run_and_shown_with_its_crop_and_its_price(tmp_path):
    async with chat(LOOKS, [Say("It is a cat."), End()]) as c:
        await attach(c, tmp_path)
        await c.type("what is it?")
        await c.sees("It is a cat.", "→ zoom cat.png · 100,200 · 500x500", "↳ cat.png (zoom 1)")
        await c.sees("171 tokens")
        assert c.turn.note() == ""
        names = [tool["function"]["name"] for tool in c.server.requests[0]["tools"]]
        assert names == ["zoom", "mark"]
        await c.pilot.press("ctrl+t")
        await c.sees('{"image": 1, "x": 100,', "Image 2: image 1, x 100 to 601")


async def test_steps_stand_in_the_order_in_which_they_happened(tmp_path):
    first: Sequence[Step] = [Think("small"), Say("I look closer."), ZOOM, End("tool_calls")]
    second: Sequence[Step] = [Think("sharp now"), Say("It is a cat."), End()]
    ordered = [
        *("▸ thought", "I look closer.", "→ zoom cat.png", "↳ cat.png (zoom 1)"),
        *("▸ thought", "It is a cat."),
    ]

    def in_order(c):
        at = -1
        for words in ordered:
            at = c.screen().find(words, at + 1)
            if at < 0:
                return False
        return True

    async with chat(first, second, size=(80, 40)) as c:
        await c.type("/thumbnails off")
        await attach(c, tmp_path)
        await c.type("what is it?")
        await c.sees("It is a cat.")
        await c.ready()
        assert in_order(c)
        await c.pilot.press("ctrl+t")
        await c.sees("small", "sharp now")
        rows = c.screen().splitlines()
        heads = [n for n, row in enumerate(rows) if "thought" in row]
        await c.pilot.click(offset=(rows[heads[1]].index("copy"), heads[1]))
        await c.until(lambda: c.app.clipboard == "sharp now")
        end = next(n for n, row in enumerate(rows) if "copy" in row and n > heads[1])
        await c.pilot.click(offset=(rows[end].index("copy"), end))
        await c.until(lambda: c.app.clipboard == "I look closer.\n\nIt is a cat.")
        await c.pilot.press("ctrl+t")
        session = c.app.conversation.session.id
    async with chat(resume=session, size=(80, 40)) as c:
        await c.type("/thumbnails off")
        await c.sees("It is a cat.")
        await c.until(lambda: in_order(c))
        await c.type("/find it is a cat")
        await c.sees("1 of 1")
        (view,) = c.app.transcript.views
        wanted = needle("it is a cat")
        assert wanted is not None
        (hit,) = find_in([view.turn], wanted)
        row, here = locate(view.parts, hit, wanted)
        assert list(here) == [("answer", 1, 0)]
        assert view.lines()[row] == "It is a cat."


async def test_the_thinking_before_a_call_is_closed_while_the_next_goes_on(tmp_path):
    gate = Gate()
    first: Sequence[Step] = [Think("small letters"), ZOOM, End("tool_calls")]
    second: Sequence[Step] = [Think("sharp now"), gate, Say("A cat."), End()]
    async with chat(first, second, size=(80, 40)) as c:
        await attach(c, tmp_path)
        await c.type("what is it?")
        await c.sees("▾ thinking", "sharp now", "▸ thought")
        assert "small letters" not in c.screen()
        assert '{"image"' not in c.screen()
        gate.open()
        await c.sees("A cat.")


async def test_a_crop_is_drawn_below_its_line_and_a_click_shows_it_large(tmp_path):
    async with chat(LOOKS, [Say("It is a cat."), End()], size=(80, 40)) as c:
        await attach(c, tmp_path)
        await c.type("what is it?")
        await c.sees("It is a cat.")

        def crop() -> list[int]:
            rows = c.screen().splitlines()
            chip = next(n for n, row in enumerate(rows) if "(zoom 1)" in row)
            return [n for n, row in enumerate(rows) if n > chip and UPPER in row]

        await c.until(crop)
        (view,) = c.app.transcript.views
        assert not any(UPPER in line for line in view.lines()), "it is no text to be searched"
        c.app.screen.text_select_all()
        assert UPPER not in (c.app.screen.get_selected_text() or "")
        await c.pilot.click(offset=(10, crop()[0]))
        await c.until(lambda: isinstance(c.app.screen, LargePicture))
        await c.sees("cat.png (zoom 1)")
        await c.pilot.press("escape")
        await c.type("/thumbnails off")
        await c.until(lambda: not crop())


async def test_the_tools_come_with_the_first_picture_and_stay(tmp_path):
    async with chat() as c:
        await c.type("hi")
        await c.ready()
        await attach(c, tmp_path)
        await c.type("and this?")
        await c.ready()
        await c.type("sure?")
        await c.until(lambda: len(c.server.requests) == 3)
        await c.ready()
        assert offered(c) == [False, True, True]
        assert c.server.requests[1]["tools"] == c.server.requests[2]["tools"]


async def test_a_resumed_chat_is_offered_the_same(tmp_path):
    async with chat(LOOKS, [Say("A cat."), End()]) as c:
        await attach(c, tmp_path)
        await c.type("what is it?")
        await c.sees("A cat.")
        await c.ready()
        first = c.server.requests[-1]
        session = c.app.conversation.session.id
    async with chat(resume=session) as c:
        await c.sees("A cat.", "→ zoom cat.png · 100,200 · 500x500", "↳ cat.png (zoom 1)")
        await c.type("sure?")
        await c.until(lambda: c.server.requests)
        await c.ready()
        again = c.server.requests[0]
    assert again["tools"] == first["tools"]
    del first["messages"][1]["reasoning_content"]
    assert again["messages"][:3] == first["messages"]


async def test_they_are_switched_off_and_on_and_that_is_remembered(tmp_path):
    async with chat() as c:
        await c.type("/tools")
        await c.sees("none", "from the first message on that has an image")
        await c.type("/tools off")
        await c.sees("switched off")
        await c.until(lambda: SettingsFile().now.tools == "off")
        await attach(c, tmp_path)
        await c.type("what is it?")
        await c.ready()
        await c.type("/tools on")
        await c.sees("zoom", "mark", "/tools off")
        await c.sees("The image tools are on. The next message reads all")
        await c.type("and now?")
        await c.until(lambda: len(c.server.requests) == 2)
        assert offered(c) == [False, True]
        await c.type("/tools maybe")
        await c.sees("neither on nor off")
    assert json.loads((paths.config_dir() / "chat.json").read_text())["tools"] == "on"


@pytest.mark.parametrize("setup", [{"sees": False}, {"picture_tools": False}])
async def test_a_model_that_cannot_use_them_is_not_offered_them(setup, tmp_path):
    async with chat(**setup) as c:
        c.app.conversation.append("earlier", (Picture("a.png", "image/png", b"", 1, 1, 1),))
        assert c.app.tools.tools == ()
        await c.type("/tools")
        await c.reads("zoom and mark")


async def test_a_server_that_takes_no_tools_is_said_once_and_asked_without(tmp_path):
    async with chat([Refuse(400, "it does not support tools")]) as c:
        await attach(c, tmp_path)
        await c.type("what is it?")
        await c.sees("This server takes no tools")
        await c.type("sure?")
        await c.until(lambda: len(c.server.requests) == 3)
        await c.ready()
        assert offered(c) == [True, False, False]
        await c.type("/tools")
        await c.sees("Ask it again: /tools on")


async def test_esc_stops_between_two_rounds_and_what_ran_stays(tmp_path):
    gate = Gate()
    async with chat(LOOKS, [Say("It"), gate, End()]) as c:
        await attach(c, tmp_path)
        await c.type("what is it?")
        await c.sees("It", "cat.png (zoom 1)")
        await c.pilot.press("escape")
        await c.sees("stopped")
        gate.open()
        assert [step.kind for step in c.turn.steps][-2:] == [StepKind.RESULT, StepKind.TEXT]


async def test_a_chat_with_calls_is_saved_as_each_kind_of_document(tmp_path):
    async with chat(LOOKS, [Say("A cat."), End()]) as c:
        await attach(c, tmp_path)
        await c.type("what is it?")
        await c.sees("A cat.")
        for name in ("a.md", "a.html", "a.json"):
            await c.type(f"/save {tmp_path / name}")
            await c.until((tmp_path / name).exists)
            await asyncio.sleep(0)
    text = (tmp_path / "a.md").read_text()
    assert "- Tool call: `zoom cat.png · 100,200 · 500x500`" in text
    assert "[Image] cat.png (zoom 1)" in text
    page = (tmp_path / "a.html").read_text()
    assert page.count("<img ") == 2
    assert "zoom cat.png · 100,200 · 500x500" in page
    steps = json.loads((tmp_path / "a.json").read_text())["turns"][0]["steps"]
    (call,) = (step for step in steps if step["kind"] == "call")
    (result,) = (step for step in steps if step["kind"] == "result")
    assert (call["name"], result["call"]) == ("zoom", call["call"])
    assert result["pictures"][0]["name"] == "cat.png (zoom 1)"


@pytest.mark.parametrize("dialect", [LLAMA_SERVER, OPENAI])
async def test_what_broke_off_after_results_goes_on_from_them(tmp_path, dialect):
    first: Sequence[Step] = [Say("I look closer."), ZOOM, End("tool_calls")]
    second: Sequence[Step] = [Call("zoom", "{"), Die()]
    third: Sequence[Step] = [Say("It is a cat."), End()]
    async with chat(first, second, third, options=Options(dialect=dialect)) as c:
        await attach(c, tmp_path)
        await c.type("what is it?")
        await c.sees("/continue resumes it")
        await c.ready()
        await c.type("/continue")
        await c.sees("I look closer.", "↳ cat.png (zoom 1)", "It is a cat.")
        await c.ready()
        messages = c.server.requests[2]["messages"]
        assert messages == c.server.requests[1]["messages"]
        assert messages[2]["role"] == "tool"
        kinds = [step.kind for step in c.turn.steps]
        assert kinds == [StepKind.TEXT, StepKind.CALL, StepKind.RESULT, StepKind.TEXT]
        assert c.turn.phase is TurnState.DONE


async def test_a_server_that_refuses_to_go_on_from_results_is_asked_once(tmp_path):
    script: list[list[Step]] = [[ZOOM, End("tool_calls")], [Die()], [Refuse(400, "Too long.")]]
    async with chat(*script) as c:
        await attach(c, tmp_path)
        await c.type("what is it?")
        await c.sees("/continue resumes it")
        await c.ready()
        await c.type("/continue")
        await c.sees("Too long.")
        await c.ready()
        await c.pilot.pause(0.1)
        assert len(c.server.requests) == 3


# --- rows -------------------------------------------------------------------------------------


def turn_of(name: str, arguments: str, result: str | None, *pictures: Picture) -> Turn:
    steps = [TurnStep(StepKind.CALL, arguments, name=name, call="c")]
    if result is not None:
        steps.append(TurnStep(StepKind.RESULT, result, name=name, call="c", pictures=pictures))
    return Turn("q", phase=TurnState.DONE, steps=steps)


def rows_of(turn: Turn, room: int, *, opened: bool = False) -> list[Row]:
    return tool_rows(uses_of(turn.steps), turn.phase, room, opened=opened, prices=True)


def plain(rows: list[Row]) -> list[str]:
    return [row.content.plain for row in rows]


def test_a_long_result_is_folded_and_opened():
    turn = turn_of("read", '{"path": "a.txt"}', "\n".join(f"line {n}" for n in range(500)))
    closed = plain(rows_of(turn, 60))
    assert closed[0] == "→ read path=a.txt"
    assert len(closed) == 3
    assert "more characters · Ctrl+T shows more" in closed[2]
    opened = plain(rows_of(turn, 60, opened=True))
    assert "    line 7" in opened
    assert len(opened) <= 2 * OPENED_ROWS + 4
    assert "more characters are not shown" in opened[-1]


def test_a_result_of_two_rows_is_shown_whole():
    turn = turn_of("read", "{}", "A walrus is a large marine mammal\nwith tusks.")
    rows = plain(rows_of(turn, 40))
    assert rows == ["→ read", "  ↳ A walrus is a large marine mammal", "    with tusks."]
    rows = plain(rows_of(turn, 30))
    assert rows == ["→ read", "  ↳ A walrus is a large marine", "    mammal with tusks."]
    rows = plain(rows_of(turn, 24))
    assert rows[1:] == ["  ↳ A walrus is a large", "    … 26 more character…"]


def test_a_call_that_was_stopped_may_have_run():
    turn = turn_of("read", "{}", None)
    for phase, words in ((TurnState.DONE, "not run"), (TurnState.STOPPED, "stopped")):
        turn.phase = phase
        assert plain(rows_of(turn, 40))[-1] == f"  ↳ {words}"


def test_rows_fit_any_width_and_a_hook_adds_a_thumbnail():
    seen = Picture("cat.png (zoom 1)", "image/png", b"", 728, 486, 171)
    turn = turn_of("zoom", ZOOM.arguments, "Image 2: x", seen)
    for room in (1, 5, 20, 300):
        assert all(row.content.cell_length <= max(room, 5) for row in rows_of(turn, room))
    rows = tool_rows(
        *(uses_of(turn.steps), turn.phase, 60),
        opened=False,
        prices=False,
        show=lambda each, _: [Row(Content(f"<{each.name}>"), 0)],
    )
    assert plain(rows)[1:] == ["  ↳ cat.png (zoom 1) 728×486", "    <cat.png (zoom 1)>"]  # noqa: RUF001


def test_a_call_that_was_not_run_and_one_that_failed_say_so():
    assert plain(rows_of(turn_of("a", "", None), 40)) == [*("→ a", "  ↳ not run")]
    failed = turn_of("a", "{}", "Error: no such file")
    assert plain(rows_of(failed, 40))[1] == "  ↳ Error: no such file"
    running = turn_of("a", "{}", None)
    running.phase = TurnState.CALLING
    assert plain(rows_of(running, 40))[1] == "  ↳ running …"


def use(arguments: str, name: str = "tool") -> ToolUse:
    return ToolUse(TurnStep(StepKind.CALL, arguments, name=name))


def test_calls_are_told_in_a_line_whatever_they_are():
    assert use_words(use('{"path": "a.txt", "n": 3}')) == "tool path=a.txt n=3"
    assert use_words(use('{"image": 2, "x": 1, "y": 2, "label": "cat"}', "mark")) == (
        "mark image 2 · 1,2 · cat"
    )
    assert use_words(use('{"path": ')) == 'tool {"path":'
    assert use_words(use("x" * 1_000_000)) == "tool · 1,000,000 characters"
    assert use_words(use("", " \n")) == "a tool"
    assert "\x1b" not in use_words(use('{"a": "\\u001b[31m"}', "\x1b[1m"))
    assert arguments_text(use('{"a": [1]}')) == '{"a": [1]}'
    assert arguments_text(use(json.dumps({"a": "b" * 90}))).startswith('{\n  "a": "')


def test_what_is_being_run_is_in_the_status_line():
    turn = turn_of("read_file", "{}", None)
    turn.phase = TurnState.CALLING
    assert turn_states(turn, AnswerClock(), 0.0)[0] == "running read_file"
