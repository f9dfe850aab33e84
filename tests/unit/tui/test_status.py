"""The status line in words."""

from pathlib import Path
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from runner.chat.host import ChatSetup
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Options
from runner.tui.app import ChatApp
from runner.tui.status import ChatStatus, context_text, status_parts, turn_state

STATUS = ChatStatus("Step 3.7 Flash", "answering", 31.24, 1234, 32768, "medium")


def test_the_status_line_drops_what_matters_least():
    assert status_parts(STATUS, 100) == (
        "Step 3.7 Flash",
        "answering",
        "31.2 tokens/s · 1,234 / 32,768 (4 %) · effort medium",
    )
    assert status_parts(STATUS, 38) == ("", "answering", "31.2 tokens/s · 4 %")
    assert status_parts(STATUS, 10) == ("", "answering", "")
    assert status_parts(STATUS, 5) == ("", "answe", "")


@given(st.integers(1, 200))
def test_the_status_line_fits(width):
    title, state, figures = status_parts(STATUS, width)
    assert len(title) + len(state) + len(figures) <= width


def test_states_and_figures_in_words():
    assert turn_state(Turn("x", phase=TurnState.PREFILL)) == "prefill"
    assert (
        turn_state(Turn("x", phase=TurnState.PREFILL, prefilled=43, prompt_tokens=100))
        == "prefill 43 %"
    )
    assert context_text(0, 100) == ""
    assert context_text(50, 0) == "50 tokens"


def test_a_chat_that_has_joined_a_server_does_not_say_that_it_stops_an_engine(home: Path) -> None:
    words = []
    for own in (True, False):
        app = ChatApp(ChatSetup("Step", cast("Any", None), Options(), own=own))
        app._leaving = True
        words.append((app._state(), app._retries))
    assert words == [
        ("stopping the engine", "starts the engine again"),
        ("leaving", "looks for the server again"),
    ]
