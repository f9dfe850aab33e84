"""Permission in plain lines: a call of a tool that is not the chat's own waits for an answer."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from runner.base.text import clean
from runner.chat.tools.mcp.arguments import one_line, visible, written_out
from runner.chat.tools.mcp.permissions import Answer
from runner.tui.plain.keyboard import Keyboard
from runner.tui.plain.output import PlainOutput

if TYPE_CHECKING:
    from runner.chat.tools.mcp.box import AskedCall

ARGUMENT_CHARS: Final = 400  # a few lines; all of it is read out with v
PROMPT: Final = "Allow it? "
CHOICES: Final = (
    "Type y for once, a for always, n for never, v to see all of it; Enter alone: not this time."
)
# As the keys of the window, and the words for them.
_ANSWERS: Final[Mapping[str, Answer]] = {
    "y": Answer.ONCE,
    "yes": Answer.ONCE,
    "once": Answer.ONCE,
    "a": Answer.ALWAYS,
    "always": Answer.ALWAYS,
    "n": Answer.NEVER,
    "never": Answer.NEVER,
    "": Answer.NOT_NOW,
}
_ALL: Final = frozenset({"v", "view", "all"})


def call_lines(asked: "AskedCall") -> list[str]:
    """Return what there is to know of a call before it is decided on. Pure.

    What is invisible in its arguments is written out; long ones are cut, and that is said.
    """
    text = one_line(asked.arguments) if asked.arguments else "(no arguments)"
    more = len(text) - ARGUMENT_CHARS
    shown = f"{text[:ARGUMENT_CHARS]} … {more:,} more characters: v shows all" if more > 0 else text
    lines = [f"{asked.offer.tool.name}, of the MCP server {asked.server}, wants to run.", shown]
    if asked.changed:
        lines.append("It is not the tool that you allowed: it describes itself otherwise now.")
    return lines


def whole_call(asked: "AskedCall") -> list[str]:
    """Return all of a call, and what the server says of the tool. Pure."""
    says = visible(clean(asked.offer.tool.description)) or "(nothing)"
    return [written_out(asked.arguments), "The server says of this tool:", says]


def ask_permission(asked: "AskedCall", keyboard: Keyboard, out: PlainOutput) -> Answer:
    """Ask whether a call may run. Blocks; raises what Ctrl+C raises.

    Only a whole answer counts: what was typed before the question was no answer to it.
    """
    keyboard.take_waiting()
    out.show(*call_lines(asked), CHOICES)
    while True:
        try:
            word = keyboard.answer(PROMPT).strip().lower()
        except EOFError:
            return Answer.NOT_NOW
        if word in _ALL:
            out.show(*whole_call(asked))
        elif (answer := _ANSWERS.get(word)) is not None:
            return answer
        out.show(CHOICES)


def nobody_to_ask(asked: "AskedCall") -> str:
    """Return a sentence about a call that is refused as nobody can be asked. Pure."""
    if asked.changed:
        why = "it describes itself otherwise than when you allowed it"
    else:
        why = "it needs your permission, and nobody types here"
    return f"{asked.offer.tool.name} was not run: {why}."
