"""What the user can do in the chat: each thing once, with its command and its keys. Pure.

Each wing (`runner.tui.wings`) has a table of its actions. The bindings, the composer's commands,
the palette, /help and the reference all read these tables and nothing else.
"""

import difflib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from runner.base.errors import UsageError

# What runs an action: a method of its wing, called with the wing and what was typed after the
# command (nothing after a key).
Run = Callable[[Any, str], Awaitable[None] | None]

NEAR: Final = 0.6  # a typing error; less alike is another word (difflib's own cutoff)

_KEY_NAMES: Final = {
    "escape": "Esc",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "backspace": "Backspace",
}


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that the user can do, by a command, by keys, or by both.

    `id`: for Textual's key maps. `does`: as the help says it. `run` is None where a widget does it
    itself. `command` is without the slash; `args` as the help shows them; `needs_args`: the command
    is useless without. `keys` by Textual's names; `priority`: they work wherever the focus is.
    """

    id: str
    does: str
    run: Run | None = None
    command: str = ""
    args: str = ""
    needs_args: bool = False
    keys: tuple[str, ...] = ()
    priority: bool = False

    def by(self, run: Run, *, keys: tuple[str, ...] = (), priority: bool = False) -> "Action":
        """Return it with what carries it out, and with its keys."""
        return replace(self, run=run, keys=keys, priority=priority)

    @property
    def usage(self) -> str:
        """The command as it is typed, empty where there is none."""
        return f"/{self.command} {self.args}".rstrip() if self.command else ""

    @property
    def keys_text(self) -> str:
        """The keys as people know them: `Shift+Enter, Ctrl+J`."""
        return ", ".join(map(key_text, self.keys))

    @property
    def names(self) -> str:
        """The command and the keys: `/think · Ctrl+T`."""
        return " · ".join(filter(None, (self.usage, self.keys_text)))

    @property
    def sentence(self) -> str:
        """What it does, with a capital letter."""
        return self.does[:1].upper() + self.does[1:]


@dataclass(frozen=True, slots=True)
class ActionGroup:
    """The actions of one wing, under the title that the help gives them."""

    title: str
    actions: tuple[Action, ...]


def key_text(key: str) -> str:
    """Return a key of Textual's as people know it: `ctrl+t` is Ctrl+T."""
    parts = (_KEY_NAMES.get(part, part.capitalize()) for part in key.split("+"))
    return "+".join(parts)


def by_command(groups: Iterable[ActionGroup]) -> dict[str, Action]:
    """Return the actions that have a command, by its name."""
    return {each.command: each for group in groups for each in group.actions if each.command}


def looks_like_command(text: str) -> bool:
    """Whether a line is meant as a command, known or not: it starts with a slash and a word."""
    word = text.rstrip().partition(" ")[0]
    return word.startswith("/") and word[1:].isalpha()


def parse_command(text: str, commands: Mapping[str, Action]) -> tuple[Action, str] | None:
    """Return the command that a message is, with its arguments; None where it is a message.

    A command is one line that starts with a slash and a word: `/usr/bin` is not one, and a space
    before the slash makes it a message. Raises `UsageError` where that word is not a command.
    """
    text = text.rstrip()
    word, _, args = text.partition(" ")
    name = word[1:]
    if "\n" in text or not looks_like_command(text):
        return None
    if (command := commands.get(name.lower())) is not None:
        return command, args.strip()
    near = difflib.get_close_matches(name.lower(), commands, n=1, cutoff=NEAR)
    hint = f"Did you mean /{near[0]}?" if near else "/help lists the commands."
    raise UsageError(
        f"/{name[:40]} is not a command.", next=f"{hint} A space before the / makes it a message."
    )
