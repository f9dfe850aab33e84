"""The slash commands: one table that the composer, the palette, /help and the docs read. Pure."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from runner.chat.wire import EFFORTS


class Chat(Protocol):
    """What a command may call in the chat."""

    def attach(self, path: str) -> None:
        """Attach an image file."""

    def detach(self, number: str) -> None:
        """Remove an image."""

    def set_effort(self, effort: str) -> None:
        """Set the reasoning effort."""

    def toggle_thinking(self) -> None:
        """Show or hide the reasoning."""

    def start_new(self) -> None:
        """Start a new chat."""

    def retry(self) -> None:
        """Ask the last question again."""

    def copy_answer(self) -> None:
        """Copy the last answer."""

    def save_as(self, path: str) -> None:
        """Write the conversation to a Markdown file."""

    def action_show_help(self) -> None:
        """Show commands and keys."""

    def leave(self) -> None:
        """End the chat."""


@dataclass(frozen=True, slots=True)
class Command:
    """One slash command. `args` as the help shows them; `needs_args`: useless without."""

    name: str
    args: str
    help: str
    handler: Callable[[Chat, str], None]
    needs_args: bool = False

    @property
    def usage(self) -> str:
        """The command as it is typed."""
        return f"/{self.name} {self.args}".rstrip()

    @property
    def sentence(self) -> str:
        """The help with a capital letter."""
        return self.help[:1].upper() + self.help[1:]


COMMANDS: tuple[Command, ...] = (
    Command("image", "PATH", "attach an image", lambda c, a: c.attach(a), needs_args=True),
    Command("detach", "[N]", "remove image N, or the last", lambda c, a: c.detach(a)),
    Command(
        "effort",
        "|".join(EFFORTS),
        "set the reasoning effort",
        lambda c, a: c.set_effort(a),
        needs_args=True,
    ),
    Command("think", "", "show or hide the reasoning", lambda c, _: c.toggle_thinking()),
    Command("retry", "", "ask the last question again", lambda c, _: c.retry()),
    Command("new", "", "start a new chat", lambda c, _: c.start_new()),
    Command("copy", "", "copy the last answer", lambda c, _: c.copy_answer()),
    Command(
        "save",
        "PATH",
        "save the chat to a new Markdown file",
        lambda c, a: c.save_as(a),
        needs_args=True,
    ),
    Command("help", "", "commands and keys", lambda c, _: c.action_show_help()),
    Command("quit", "", "end the chat", lambda c, _: c.leave()),
)

# What the app binds, as the help and the docs show it.
KEYS: tuple[tuple[str, str], ...] = (
    ("Enter", "send"),
    ("Shift+Enter, Ctrl+J", "new line"),
    ("Esc", "stop the answer; take a waiting message back"),
    ("Ctrl+C", "copy the selection, stop the answer, or (twice) quit"),
    ("Ctrl+T", "show or hide the reasoning"),
    ("Up, Down", "earlier messages, while nothing is typed"),
    ("Backspace", "at the very start: remove the last image"),
    ("PgUp, PgDn", "scroll; PgUp at the top loads earlier turns"),
    ("Ctrl+End", "follow the answer again"),
    ("Ctrl+P", "every command by name"),
    ("F1", "this help"),
    ("Ctrl+Q", "quit"),
)


@dataclass(frozen=True, slots=True)
class Typed:
    """A message that is a command: which one with which arguments, or the nearest one's name."""

    command: Command | None
    args: str
    name: str
    nearest: str = ""


def parse_command(text: str) -> Typed | None:
    """Return the command that a message is, None where it is just a message.

    A command is one line that starts with a slash and a word: `/usr/bin` is not one, and a blank
    before the slash makes it a message.
    """
    text = text.rstrip()
    word, _, args = text.partition(" ")
    name = word[1:]
    if not word.startswith("/") or "\n" in text or not name.isalpha():
        return None
    for command in COMMANDS:
        if command.name == name.lower():
            return Typed(command, args.strip(), command.name)
    names = [command.name for command in COMMANDS]
    nearest = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.0)
    return Typed(None, args.strip(), name, nearest[0] if nearest else "help")
