"""The status line in words."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from runner.chat.clock import AnswerClock
from runner.chat.events import PromptProgress, Text
from runner.chat.host import ChatSetup
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Options
from runner.tui import standing
from runner.tui.app import ChatApp
from runner.tui.status import ChatStatus, context_text, status_parts, turn_states

STATUS = ChatStatus("Step 3.7 Flash", "answering", 31.24, 1234, 32768, "medium")


def test_the_status_line_drops_what_matters_least():
    assert status_parts(STATUS, 100) == (
        "Step 3.7 Flash",
        "answering",
        "31.2 tokens/s · 1,234 / 32,768 (4 %) · effort medium",
    )
    assert status_parts(replace(STATUS, rate=1234.56), 200)[2].startswith("1,234.6 tokens/s")
    assert status_parts(STATUS, 38) == ("", "answering", "31.2 tokens/s · 4 %")
    assert status_parts(STATUS, 10) == ("", "answering", "")
    assert status_parts(STATUS, 5) == ("", "answe", "")


@given(st.integers(1, 200))
def test_the_status_line_fits(width):
    title, state, figures = status_parts(STATUS, width)
    assert len(title) + len(state) + len(figures) <= width


def test_figures_in_words():
    assert context_text(0, 100) == ""
    assert context_text(50, 0) == "50 tokens"


def test_a_chat_that_has_joined_a_server_does_not_say_that_it_stops_an_engine(home: Path) -> None:
    words = []
    for own in (True, False):
        app = ChatApp(ChatSetup("Step", cast("Any", None), Options(), own=own))
        app.leaving, app.host_task.loading = True, False
        words.append((standing.states(app)[0], app.retries))
    assert words == [
        ("stopping the engine", "starts the engine again"),
        ("leaving", "looks for the server again"),
    ]


READING = Turn("x", phase=TurnState.PREFILL)


def states(clock: AnswerClock, now: float, turn: Turn = READING) -> tuple[str, ...]:
    return turn_states(turn, clock, now)


def test_each_kind_of_waiting_is_told_with_its_seconds():
    clock = AnswerClock()
    clock.ask(100)
    assert states(clock, 103) == ("connecting … 3 s",)
    clock.connected(103)
    assert states(clock, 112) == ("waiting for the server … 12 s", "waiting … 12 s")
    assert turn_states(READING, clock, 112, own=True)[0] == "waiting for the engine … 12 s"
    clock.heard(113)
    assert states(clock, 400) == ("prefill … 5 min",)
    clock.reports = True  # it would say so when it begins to read: what was heard is a sign of life
    assert states(clock, 400)[0] == "waiting for the server … 5 min"
    clock.ask(500)
    assert states(clock, 501) == ("connecting … 1 s",), "nothing is left of the one before"


def test_reading_tells_tokens_rate_and_time_left():
    clock = AnswerClock()
    clock.ask(100)
    clock.connected(100)
    clock.apply(PromptProgress(4160, 6208, 4160), 101)
    assert states(clock, 101)[0] == "prefill 4,160 of 6,208 · 4,160 cached"
    clock.apply(PromptProgress(5184, 6208, 4160), 103)  # 1,024 tokens in 2 s by our clock
    assert states(clock, 103) == (
        "prefill 5,184 of 6,208 · 4,160 cached · 512 tokens/s · 2 s left",
        "prefill 5,184 of 6,208 · 512 tokens/s · 2 s left",
        "prefill 5,184 of 6,208 · 2 s left",
        "prefill 83 % · 2 s left",
        "prefill 83 %",
    )
    clock.restored = 4000
    assert "4,160 from the disk" in states(clock, 103)[0]
    clock.apply(PromptProgress(5184, 6208, 4160, read_s=4.0), 103)  # the server knows better
    assert states(clock, 103)[1].endswith("· 256 tokens/s · 4 s left")
    assert states(clock, 106)[2] == "prefill 5,184 of 6,208 · 1 s left"
    assert states(clock, 108)[2] == "prefill 5,184 of 6,208", "nothing left, and not late yet"
    assert states(clock, 120)[1] == "prefill 5,184 of 6,208 · no progress for 17 s"


def test_a_prompt_that_is_read_and_not_answered_is_a_stall():
    clock = AnswerClock()
    clock.ask(100)
    for at, done in enumerate((2000, 4000, 6000)):
        clock.apply(PromptProgress(done, 6000), 101 + at)
    assert states(clock, 105)[0] == "prefill 6,000 of 6,000 · 2,000 tokens/s"
    assert states(clock, 115)[0] == "prefill 6,000 of 6,000 · no token for 12 s"


def test_a_stall_in_mid_answer_shows_its_seconds():
    clock, turn = AnswerClock(), Turn("x", phase=TurnState.ANSWERING)
    clock.ask(100)
    clock.apply(Text("a"), 102)
    assert states(clock, 106, turn) == ("answering",)
    assert states(clock, 114, turn) == ("answering · no token for 12 s", "no token for 12 s")
    turn.phase = TurnState.THINKING
    assert states(clock, 114, turn)[0] == "thinking · no token for 12 s"
    assert clock.first_token_s == 2


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.integers(0, 1 << 40),
       st.floats(0, 1e12), st.floats(0, 1e6))  # fmt: skip
def test_no_report_of_a_server_breaks_the_line(done, total, cached, read_s, later):
    clock = AnswerClock()
    clock.ask(0)
    for now in (1.0, 2.0):
        clock.apply(PromptProgress(done, total, cached, read_s), now)
    found = states(clock, 2 + later)
    assert all(found)
    assert "-" not in "".join(found)


def test_the_state_is_told_in_fewer_words_where_there_is_less_room():
    reading = "prefill 5,184 of 6,208 · 512 tokens/s · 2 s left"
    shorter = ("prefill 5,184 of 6,208 · 2 s left", "prefill 83 % · 2 s left", "prefill 83 %")
    status = ChatStatus("Step 3.7 Flash", reading, used=5184, context=262144, shorter=shorter)
    found = {width: status_parts(status, width) for width in (74, 38, 26, 12, 5)}
    assert found[74] == ("Step 3.7 Flash", reading, "2 %")
    assert found[38] == ("", shorter[0], "")
    assert found[26] == ("", shorter[1], "")
    assert found[12] == ("", shorter[2], "")
    assert found[5] == ("", "prefi", "")
