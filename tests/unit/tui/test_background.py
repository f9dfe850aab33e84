"""Whether the terminal is light: its answer, and a terminal that answers late, badly or never."""

import os
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.tui.background import (
    PATIENCE_S,
    QUESTION,
    Background,
    ask_terminal,
    from_environment,
    parse_answer,
)

DARK, LIGHT = b"\x1b]11;rgb:1e1e/1e1e/2e2e\x1b\\", b"\x1b]11;rgb:ffff/ffff/ffff\x07"
NAME = b"\x1bP>|kitty(0.35.2)\x1b\\"
ATTRIBUTES = b"\x1b[?62;22;52c"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (LIGHT + ATTRIBUTES, Background(True)),
        (DARK + ATTRIBUTES, Background(False)),
        (b"\x1b]11;rgba:ff/ff/f0/ff\x07", Background(True)),
        (b"\x1b]11;rgb:0/0/0\x07", Background(False)),
        (ATTRIBUTES, Background(None)),
        (b"", Background(None)),
        (b"hi\n" + ATTRIBUTES, Background(None, "hi\n")),
        (DARK + NAME + ATTRIBUTES, Background(False, "", "kitty(0.35.2)")),
        (b"a" + NAME + b"b" + ATTRIBUTES, Background(None, "ab", "kitty(0.35.2)")),
        (NAME[:8] + ATTRIBUTES, Background(None)),
        (b"hi" + LIGHT + b" there" + ATTRIBUTES, Background(True, "hi there")),
        (LIGHT + b"\x1b[A", Background(True)),  # a key that is no text
        (b"\x1b]11;rgb:ffff\x07", Background(None)),
        (b"\x1b]11;rgb://\x1b\\", Background(None)),
        ("é".encode() + ATTRIBUTES, Background(None, "é")),
    ],
)
def test_an_answer_is_understood(data, found):
    assert parse_answer(data) == found


@given(st.binary(max_size=300))
def test_any_answer_is_borne(data):
    assert parse_answer(data).typed.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("value", "light"),
    [
        ("0;15", True),
        ("0;default;15", True),
        ("15;0", False),
        ("0;7", True),
        ("", None),
        ("0;default", None),
        ("9" * 100, None),
    ],
)
def test_the_variable_is_understood(value, light):
    assert from_environment({"COLORFGBG": value}) is light


def test_a_pipe_is_not_asked(monkeypatch):
    reader, writer = os.pipe()
    with os.fdopen(reader) as here, os.fdopen(writer, "w") as there:
        monkeypatch.setattr(sys, "__stdin__", here)
        monkeypatch.setattr(sys, "__stdout__", there)
        assert ask_terminal({"COLORFGBG": "0;15"}) == Background(True)
        os.set_blocking(reader, False)
        with pytest.raises(BlockingIOError):
            os.read(reader, 1)


@pytest.mark.parametrize("broken", [None, "closed"])
def test_without_a_stream_nothing_is_known(monkeypatch, tmp_path, broken):
    stream = None
    if broken:
        stream = (tmp_path / "x").open("w")
        stream.close()
    monkeypatch.setattr(sys, "__stdin__", stream)
    assert ask_terminal({}) == Background()


@pytest.fixture
def terminal(monkeypatch):
    """A pseudo terminal as stdin and stdout; yields its other end."""
    if sys.platform == "win32":
        pytest.skip("it has no pseudo terminals of this kind")
    main, other = os.openpty()
    with os.fdopen(other, "r+b", buffering=0) as stream:
        monkeypatch.setattr(sys, "__stdin__", stream)
        monkeypatch.setattr(sys, "__stdout__", stream)
        # It is not the terminal of this process: whose job it runs there cannot be told.
        monkeypatch.setattr(os, "tcgetpgrp", lambda _: os.getpgrp())
        yield main
    os.close(main)


@pytest.mark.parametrize(
    ("answer", "found"),
    [(LIGHT + ATTRIBUTES, Background(True)), (b"typed" + ATTRIBUTES, Background(None, "typed"))],
)
def test_a_terminal_is_asked_and_left_as_it_was(terminal, answer, found):
    import termios

    def reply():
        assert os.read(terminal, 100) == QUESTION
        os.write(terminal, answer)

    before = termios.tcgetattr(terminal)
    thread = threading.Thread(target=reply)
    thread.start()
    assert ask_terminal({}) == found
    thread.join()
    assert termios.tcgetattr(terminal) == before


def test_a_terminal_that_says_nothing_is_not_waited_for(terminal):
    began = time.monotonic()
    assert ask_terminal({"COLORFGBG": "15;0"}) == Background(False)
    assert time.monotonic() - began >= PATIENCE_S
