"""Slash commands: one table for the composer, the palette and the help."""

import pytest

from runner.base.errors import UsageError
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
    assert (typed[0].name, typed[1]) == (name, args)


@pytest.mark.parametrize(("text", "nearest"), [("/hepl", "/help"), ("/äää", "/")])
def test_an_unknown_command_has_a_nearest(text, nearest):
    with pytest.raises(UsageError, match=f"Did you mean {nearest}"):
        parse_command(text)


@pytest.mark.parametrize("text", ["hello", "/usr/bin", " /help", "/help\nme", "/", "/1", "a /help"])
def test_what_is_no_command(text):
    assert parse_command(text) is None


def test_every_command_has_its_handler_and_its_help():
    for command in COMMANDS:
        assert callable(getattr(ChatApp, f"slash_{command.name}"))
        for width in (40, 100):
            assert command.usage in help_content(width).plain
