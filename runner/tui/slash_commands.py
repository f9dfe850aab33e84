"""The slash commands: one table that the composer, the palette, /help and the docs read. Pure."""

import difflib
from dataclasses import dataclass

from runner.base.errors import UsageError
from runner.chat.wire import EFFORTS


@dataclass(frozen=True, slots=True)
class Command:
    """One slash command. `args` as the help shows them; `needs_args`: useless without."""

    name: str
    args: str
    help: str
    needs_args: bool = False

    @property
    def usage(self) -> str:
        """The command as it is typed."""
        return f"/{self.name} {self.args}".rstrip()

    @property
    def sentence(self) -> str:
        """The help with a capital letter."""
        return self.help[:1].upper() + self.help[1:]


# `ChatApp` runs each by its method `slash_NAME`.
COMMANDS: tuple[Command, ...] = (
    Command("image", "PATH", "attach an image", needs_args=True),
    Command("detach", "[N]", "remove image N, or the last"),
    Command("effort", "|".join(EFFORTS), "set the reasoning effort", needs_args=True),
    Command("think", "", "show or hide the reasoning"),
    Command("retry", "", "ask the last question again"),
    Command("new", "", "start a new chat"),
    Command("copy", "", "copy the last answer"),
    Command("save", "PATH", "save the chat to a new Markdown file", needs_args=True),
    Command("help", "", "commands and keys"),
    Command("quit", "", "end the chat"),
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


def parse_command(text: str) -> tuple[Command, str] | None:
    """Return the command that a message is, with its arguments; None where it is a message.

    A command is one line that starts with a slash and a word: `/usr/bin` is not one, and a blank
    before the slash makes it a message. Raises `UsageError` where that word is not a command.
    """
    text = text.rstrip()
    word, _, args = text.partition(" ")
    name = word[1:]
    if not word.startswith("/") or "\n" in text or not name.isalpha():
        return None
    commands = {command.name: command for command in COMMANDS}
    if (command := commands.get(name.lower())) is not None:
        return command, args.strip()
    [nearest] = difflib.get_close_matches(name.lower(), commands, n=1, cutoff=0.0)
    raise UsageError(
        f"/{name[:40]} is not a command.",
        next=f"Did you mean /{nearest}? A space before the / makes it a message.",
    )
