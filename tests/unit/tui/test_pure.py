"""The chat's logic without a terminal."""

import asyncio

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runner.base.errors import Refused, SteprunError
from runner.base.text import clean, clean_name
from runner.chat import turn as model
from runner.chat.conversation import Conversation
from runner.chat.events import Failed, Finished, PromptProgress, Reasoning, Text, Usage
from runner.chat.host_task import Keeper, News, Ready
from runner.chat.sessions.store import Session, SessionEntry
from runner.chat.turn import Turn, TurnState, to_entry, to_markdown, to_messages, to_turns
from runner.chat.wire import Message, Picture
from runner.tui.app import ChatApp
from runner.tui.clipboard import copy_command
from runner.tui.help import help_content
from runner.tui.render import markdown_lines, settled
from runner.tui.slash_commands import COMMANDS, parse_command
from runner.tui.status import ChatStatus, context_text, status_parts, turn_state
from tests.fakes.sse_server import FakeHost, FakeHosts

PICTURE = Picture("cat.png", "image/png", b"", 1024, 768, 504)


def done(text: str, answer: str, **fields) -> Turn:
    return Turn(text, phase=TurnState.DONE, answer=answer, **fields)


# --- turns ------------------------------------------------------------------------------------


def test_a_turn_takes_in_what_happens():
    turn = Turn("hi")
    turn.begin()
    for event, now in (
        (PromptProgress(50, 200), 0.5),
        (Reasoning("Let me"), 1.0),
        (Reasoning(" think."), 2.0),
        (Text("\n\n"), 2.5),
        (Text("Hello"), 3.0),
        (Text("!"), 4.0),
    ):
        turn.apply(event, now)
    assert (turn.phase, turn.reasoning, turn.answer) == (
        TurnState.ANSWERING,
        "Let me think.",
        "Hello!",
    )
    assert turn.thought_rate() == 1.0
    assert turn.rate() == pytest.approx(4 / 3)
    assert turn.context_used() == 55
    turn.apply(Usage(prompt_tokens=200, completion_tokens=7, decode_tps=30.0), 4.1)
    turn.apply(Finished("stop"), 4.2)
    assert (turn.phase, turn.rate(), turn.context_used()) == (TurnState.DONE, 30.0, 207)
    assert turn.note() == ""


def test_asking_again_starts_from_nothing():
    turn = done("hi", "bye", reasoning="hm", usage=Usage(1, 1, 1), finish="stop")
    turn.begin()
    assert (turn.answer, turn.reasoning, turn.usage, turn.finish) == ("", "", None, "")


@pytest.mark.parametrize(
    ("turn", "context", "words"),
    [
        (done("q", "", finish="length", reasoning="hm"), 0, "/effort low"),
        (done("q", "a", finish="length"), 0, "token limit"),
        (done("q", "a", finish="length", usage=Usage(90, 0, 10)), 100, "/new"),
        (done("q", "", finish="stop"), 0, "/retry"),
        (Turn("q", phase=TurnState.STOPPED), 0, "stopped"),
        (Turn("q"), 0, "Esc"),
    ],
)
def test_what_is_said_under_an_answer(turn, context, words):
    assert words in turn.note(context)


def test_only_what_was_answered_or_stopped_is_sent():
    failed = Turn("poison", phase=TurnState.FAILED)
    stopped = Turn("One more", (PICTURE,), phase=TurnState.STOPPED)
    last = Turn("thing")
    turns = [done("hi", "hello", reasoning="hm"), failed, stopped, last]
    assert to_messages(turns) == [
        Message("user", "hi"),
        Message("assistant", "hello"),
        Message("user", "One more\n\nthing", (PICTURE,)),
    ]
    # Asked again, it is the question, whatever came of it before.
    assert to_messages([failed]) == [Message("user", "poison")]


def test_a_saved_turn_comes_back():
    turn = Turn("hi", (PICTURE,), TurnState.STOPPED, reasoning="hm", answer="part")
    failed = Turn("oh", phase=TurnState.FAILED, error=SteprunError("It broke.", why="So."))
    entries = [
        SessionEntry(Message("user", "hi", (PICTURE,))),
        to_entry(turn),
        SessionEntry(Message("user", "oh")),
        to_entry(failed),
        SessionEntry(Message("user", "\x1b[31mred")),
    ]
    first, second, third = to_turns(entries)
    assert (first.answer, first.reasoning, first.phase) == ("part", "hm", TurnState.STOPPED)
    assert first.pictures == (PICTURE,)
    assert (second.phase, second.note()) == (TurnState.FAILED, "It broke. So.")
    assert third.text == "[31mred"
    assert to_turns([to_entry(turn)]) == []


def test_the_export_is_markdown():
    turns = [
        Turn("hi", (PICTURE,), TurnState.STOPPED, reasoning="hm", answer="**part**"),
        Turn("oh", phase=TurnState.FAILED, failed="It broke."),
    ]
    text = to_markdown(turns, "Step")
    for piece in ("# Step", "[Image #1] cat.png", "**part**", "hm", "(stopped)", "It broke."):
        assert piece in text


@given(st.integers(0, 500), st.lists(st.booleans(), max_size=60))
def test_the_window_stays_small_and_inside(total, moves):
    window = model.tail(total)
    assert window.stop == total
    for up in moves:
        window = model.earlier(window) if up else model.later(window, total)
        assert 0 <= window.start <= window.stop <= total
        assert len(window) <= model.MOST
    for _ in range(60):
        window = model.earlier(window)
    assert window.start == 0


def test_a_chip_tells_what_a_picture_costs():
    times = model.TIMES
    assert model.chip(2, PICTURE, prices=True) == f"[Image #2] cat.png 1024{times}768 (~504 tokens)"
    assert "tokens" not in model.chip(1, PICTURE, prices=False)


def test_many_chips_take_few_rows():
    assert len(model.chip_lines([PICTURE] * 2, 2, prices=True)) == 2
    assert model.chip_lines([PICTURE] * 5, 2, prices=True)[1] == "and 4 more"


def test_the_last_words_of_a_long_text():
    assert model.last_words("one two\nthree", 20) == "one two three"
    assert model.last_words("one two three four", 14) == "… three four"
    assert len(model.last_words("word " * 500, 40)) <= 40


# --- text that is not trusted -----------------------------------------------------------------


def test_control_characters_do_not_pass():
    assert clean("a\x1b[31mb\x07\x9b\r\nc\rd\te") == "a[31mb\nc\nd\te"
    assert clean("\ud83d") == "\N{REPLACEMENT CHARACTER}"
    assert clean_name("a\nb\u202egnp.exe") == "a bgnp.exe"
    assert len(clean_name("x" * 500)) == 40
    assert clean_name("\x07") == "picture"


@given(st.text(st.characters(), max_size=300))
def test_clean_text_can_be_written(text):
    cleaned = clean(text)
    cleaned.encode("utf-8")
    assert not any((ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0 for c in cleaned)


# --- Markdown ---------------------------------------------------------------------------------


def lines_of(text: str, width: int = 40) -> list[str]:
    return [line.plain.rstrip() for line in markdown_lines(text, width)]


def test_markdown_becomes_lines():
    assert lines_of("# A\n\nb **c** `d`\n\n- e\n- f\n\n3. g\n4. h\n\n> i\n\n---") == [
        *("A", "", "b c d", "", "• e", "• f", "", " 3. g", " 4. h", "", "▌ i", "", "─" * 40),
    ]


def test_what_wraps_stays_clear_of_its_mark():
    assert lines_of("- one two three\n  - four five", 10) == [
        *("• one two", "  three", "  • four", "    five"),
    ]


def test_code_is_kept_as_it_is():
    text = "```python\ndef f():\n\treturn '[red]x[/red]'\n\n# end\n```"
    assert lines_of(text) == ["def f():", "    return '[red]x[/red]'", "", "# end"]
    assert lines_of("```\nabcdefgh\n```", 5) == ["abcde", "fgh"]


def test_a_table_fits_or_becomes_a_list():
    text = "| name | hex |\n|---|---|\n| red | a longer cell |"
    assert lines_of(text, 20) == [
        "name  hex",
        "────  ─────────────",
        "red   a longer cell",
    ]
    assert max(len(line) for line in lines_of(text, 13)) <= 13
    assert lines_of(text, 6)[0] == "name:"


def test_links_say_where_they_lead():
    assert lines_of("[here](http://evil.example) http://a.example") == [
        "here (http://evil.example)",
        "http://a.example",
    ]


def test_markup_of_ours_and_html_are_text():
    assert lines_of("[red]no[/red] <b>bold</b>\n\n<script>x</script>", 60) == [
        "[red]no[/red] <b>bold</b>",
        "",
        "<script>x</script>",
    ]


MARKDOWN = st.lists(
    st.sampled_from(
        [*"#*_`>|-1.[]()!~ \n", "\n\n", "```", "abc", "    ", "|-|", "1.", "é", "你", "<b>"]
    ),
    max_size=60,
).map("".join)


@given(MARKDOWN, st.integers(2, 60))
def test_no_markdown_breaks_the_width(text, width):
    assert all(line.cell_length <= width for line in markdown_lines(text, width))


@given(MARKDOWN, MARKDOWN)
@example("#*\n#", "*")  # "#" alone is a heading, "#*" continues the paragraph before it
@example("#######\n\n#######\n#", "*")
def test_what_is_settled_stays(text, more):
    """The lines of the settled part, laid out alone, begin the lines of the whole answer."""
    done = [line.plain for line in markdown_lines(text[: settled(text)], 40)]
    assert [line.plain for line in markdown_lines(text + more, 40)][: len(done)] == done


def test_two_blocks_stay_live():
    assert settled("one\n\ntwo") == 0
    assert settled("one\n\ntwo\n\nthree") == len("one\n\n")


# --- commands ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "args"),
    [
        ("/image  my cat.png ", "image", "my cat.png"),
        ("/HELP", "help", ""),
        ("/effort low", "effort", "low"),
    ],
)
def test_a_command_is_found(text, name, args):
    typed = parse_command(text)
    assert typed is not None
    assert typed.command is not None
    assert (typed.command.name, typed.args) == (name, args)


def test_an_unknown_command_has_a_nearest():
    typed = parse_command("/hepl")
    assert typed is not None
    assert (typed.command, typed.nearest) == (None, "help")


@pytest.mark.parametrize("text", ["hello", "/usr/bin", " /help", "/help\nme", "/", "/1", "a /help"])
def test_what_is_no_command(text):
    assert parse_command(text) is None


def test_every_command_has_its_handler_and_its_help():
    for command in COMMANDS:
        called: list[str] = []

        class Spy:
            def __getattr__(self, name, called=called):
                return lambda *_: called.append(name)

        command.handler(Spy(), "x")
        assert len(called) == 1
        assert callable(getattr(ChatApp, called[0]))
        for width in (40, 100):
            assert command.usage in help_content(width).plain


# --- status -----------------------------------------------------------------------------------

STATUS = ChatStatus("Step 3.7 Flash", "answering", 31.24, 1234, 32768, "medium")


def test_the_status_line_drops_what_matters_least():
    assert status_parts(STATUS, 100) == (
        "Step 3.7 Flash",
        "answering",
        "31.2 t/s · 1,234 / 32,768 (4 %) · effort medium",
    )
    assert status_parts(STATUS, 38) == ("", "answering", "31.2 t/s · 4 %")
    assert status_parts(STATUS, 10) == ("", "answering", "")
    assert status_parts(STATUS, 5) == ("", "answe", "")


@given(st.integers(1, 200))
def test_the_status_line_fits(width):
    title, state, figures = status_parts(STATUS, width)
    assert len(title) + len(state) + len(figures) <= width


def test_states_and_figures_in_words():
    assert turn_state(Turn("x", phase=TurnState.READING)) == "reading prompt"
    assert (
        turn_state(Turn("x", phase=TurnState.READING, read=43, to_read=100))
        == "reading prompt 43 %"
    )
    assert context_text(0, 100) == ""
    assert context_text(50, 0) == "50 tokens"


# --- the host ---------------------------------------------------------------------------------


async def test_the_keeper_tells_and_lets_go():
    hosts = FakeHosts("http://x")
    news: list[News] = []
    keeper = Keeper(hosts, news.append)
    keeper.start()
    while not keeper.alive():
        await asyncio.sleep(0)
    assert isinstance(news[-1], Ready)
    await keeper.restart()
    await keeper.stop()
    await keeper.stop()
    assert [host.left for host in hosts.opened] == [True] * len(hosts.opened)
    assert keeper.host is None


class SlowHost(FakeHost):
    """Takes a while to come up and to be left, as an engine does."""

    def __init__(self, *, fails: bool) -> None:
        super().__init__("http://x")
        self.fails = fails
        self.leaving, self.may_leave = asyncio.Event(), asyncio.Event()

    async def wait_ready(self, on_wait):
        if self.fails:
            raise SteprunError("It hangs.")
        await asyncio.Event().wait()

    async def __aenter__(self):
        self.entered = True
        return self

    async def __aexit__(self, *_):
        self.leaving.set()
        await self.may_leave.wait()
        self.left = True


@pytest.mark.parametrize("fails", [False, True])
async def test_closing_the_host_is_never_cut_short(fails):
    """Whether it was asked to close while it loaded, or closes because it failed to."""
    host = SlowHost(fails=fails)
    news: list[News] = []
    keeper = Keeper(lambda: host, news.append)
    keeper.start()
    while not host.entered:
        await asyncio.sleep(0)
    stops = [asyncio.create_task(keeper.stop())]
    await asyncio.wait_for(host.leaving.wait(), 10)
    stops += [asyncio.create_task(keeper.stop()) for _ in range(2)]
    stops[1].cancel()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not host.left
    assert not stops[2].done()
    host.may_leave.set()
    await asyncio.gather(*stops, return_exceptions=True)
    assert host.left
    assert not keeper.loading
    assert [type(told) for told in news] == ([Failed] if fails else [])


async def test_the_keeper_tells_of_any_failure():
    def broken():
        raise RuntimeError("no such thing")

    news: list[News] = []
    keeper = Keeper(broken, news.append)
    keeper.start()
    assert keeper._task is not None
    await keeper._task
    assert isinstance(news[-1], Failed)
    assert "no such thing" in str(news[-1].error)


# --- the conversation -------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPRUN_HOME", str(tmp_path))
    return tmp_path


def test_a_chat_that_cannot_be_saved_goes_on_and_says_so_once(home):
    (home / "data").write_text("a file in the way")
    conversation = Conversation("x")
    [trouble] = conversation.troubles
    assert "not being saved" in trouble
    conversation.troubles.clear()
    turn = conversation.append("hi", ())
    assert conversation.sending(turn, again=False) == [Message("user", "hi")]
    conversation.keep_draft("more", ())
    conversation.troubles.clear()
    conversation.ended(turn)
    conversation.keep_draft("and more", ())
    assert conversation.troubles == []
    assert not conversation.saved
    conversation.close()


def test_a_chat_that_can_only_be_read_goes_on(home, monkeypatch):
    Session.create("x").save_draft("not sent")

    def read_only(self):
        raise Refused("It cannot be written.")

    monkeypatch.setattr(Session, "claim", read_only)
    conversation = Conversation("x", "latest")
    assert conversation.draft is not None
    assert conversation.draft.text == "not sent"
    assert "It cannot be written." in conversation.troubles[0]


def test_a_chat_that_is_open_elsewhere_or_unknown_is_refused(home):
    with pytest.raises(Refused, match="There is no chat"):
        Conversation("x", "20260101-000000-0000")
    session = Session.create("x")
    session.save_draft("not sent")
    session.claim()
    with pytest.raises(Refused, match="open in another window"):
        Conversation("x", session.id)
    session.release()


def test_the_clipboard_program_is_of_this_desktop(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    assert copy_command("darwin", {}) == ["pbcopy"]
    assert copy_command("linux", {"WAYLAND_DISPLAY": "0", "DISPLAY": ":0"}) == ["wl-copy"]
    assert copy_command("linux", {"DISPLAY": ":0"}) == ["xclip", "-selection", "clipboard"]
    assert copy_command("linux", {}) is None
    assert copy_command("darwin", {"SSH_CONNECTION": "x"}) is None
