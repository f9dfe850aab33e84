"""The registry: one entry for each thing that can be done, for commands, keys, help and docs."""

from collections import Counter

import pytest
from textual.binding import Binding

from runner.base.errors import UsageError
from runner.tui.actions import by_command, key_text, parse_command
from runner.tui.app import ChatApp
from runner.tui.composer import Prompt
from runner.tui.help import help_content
from runner.tui.wings import GROUPS
from runner.tui.wings.built_in import built_in

ACTIONS = [action for group in GROUPS for action in group.actions]
COMMANDS = by_command(GROUPS)


@pytest.mark.parametrize(
    ("text", "command", "args"),
    [
        ("/image  my cat.png ", "image", "my cat.png"),
        ("/HELP", "help", ""),
        ("/effort low", "effort", "low"),
    ],
)
def test_a_command_is_found(text, command, args):
    typed = parse_command(text, COMMANDS)
    assert typed is not None
    assert (typed[0].command, typed[1]) == (command, args)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("/hepl", "Did you mean /help?"),
        ("/imgae", "Did you mean /image?"),
        ("/undo", "/help lists the commands."),
        ("/äää", "/help lists the commands."),
    ],
)
def test_only_a_typing_error_has_a_suggestion(text, hint):
    with pytest.raises(UsageError) as raised:
        parse_command(text, COMMANDS)
    assert raised.value.next.startswith(hint)


@pytest.mark.parametrize("text", ["hello", "/usr/bin", " /help", "/help\nme", "/", "/1", "a /help"])
def test_what_is_no_command(text):
    assert parse_command(text, COMMANDS) is None


def test_each_action_is_there_once():
    for names in (
        [action.id for action in ACTIONS],
        [action.command for action in ACTIONS if action.command],
        [key for action in ACTIONS for key in action.keys],
    ):
        assert [name for name, count in Counter(names).items() if count > 1] == []


def test_the_app_binds_the_keys_of_the_registry_and_no_others():
    bound = {
        key
        for binding in ChatApp.BINDINGS
        if isinstance(binding, Binding)
        for key in binding.key.split(",")
    }
    assert bound == {key for action in ACTIONS if action.run for key in action.keys}


def test_the_keys_of_the_composer_are_in_the_help():
    bound = {
        key
        for binding in Prompt.BINDINGS
        if isinstance(binding, Binding)
        for key in binding.key.split(",")
    }
    assert bound <= {key for action in ACTIONS for key in action.keys}


def test_an_action_of_a_widget_needs_its_binding():
    with pytest.raises(ValueError, match=r"composer\.gone"):
        built_in(Prompt.BINDINGS, "composer.gone", does="nothing")


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100])
def test_the_help_has_every_action_and_fits(width):
    content = help_content(GROUPS, width)
    text = content.plain
    words = " ".join(text.split())
    for action in ACTIONS:
        assert action.names in text
        assert action.does in words
    if width >= 40:
        assert max(line.cell_length for line in content.split()) <= width - 2


@pytest.mark.parametrize(
    ("key", "text"),
    [("ctrl+t", "Ctrl+T"), ("escape", "Esc"), ("shift+enter", "Shift+Enter"), ("f1", "F1")],
)
def test_keys_have_the_names_that_people_use(key, text):
    assert key_text(key) == text
