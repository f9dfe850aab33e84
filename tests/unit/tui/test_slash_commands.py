"""Slash commands: one table for the composer, the palette and the help."""

import pytest

from runner.tui.app import ChatApp
from runner.tui.help import help_content
from runner.tui.slash_commands import COMMANDS, parse_command


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
