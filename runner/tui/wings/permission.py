"""Permission: a call of a tool that is not the chat's own waits here for the user's answer.

A letter picks an answer and Enter gives it. So whoever begins a message in this moment answers
nothing: with its second letter a word goes to the composer, whole.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from rich.cells import cell_len, chop_cells
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Log, Static

from runner.base.text import clean
from runner.chat.tools.mcp.arguments import one_line, visible, written_out
from runner.chat.tools.mcp.permissions import Answer
from runner.chat.turn import TurnState
from runner.tui.actions import Action
from runner.tui.composer import Prompt
from runner.tui.fit import ROOMY
from runner.tui.overlay import Overlay
from runner.tui.wings.wing import Hear, Wing

if TYPE_CHECKING:
    from runner.chat.tools.mcp.box import AskedCall
    from runner.tui.app import ChatApp

# A key so soon after the panel came was meant for something else. A person takes about 0.2 s to
# press a key at a light, and longer to read (Card, Moran and Newell 1983: 0.24 s).
QUIET_S: Final = 0.3
ROWS, ROWS_COMPACT = 6, 2  # of the arguments
NARROW: Final = 60  # cells; below, the choices are called by fewer words
ANSWER_KEY: Final = "alt+p"
_KEYS: Final[Mapping[str, Answer]] = {
    "y": Answer.ONCE,
    "a": Answer.ALWAYS,
    "n": Answer.NEVER,
    "escape": Answer.NOT_NOW,
}
_SHOW: Final = "v"
_LABELS: Final = (
    ("y", "Once (y)", "Once (y)"),
    ("a", "Always for this tool (a)", "Always (a)"),
    ("n", "Never (n)", "Never (n)"),
    ("escape", "Not this time (Esc)", "Not now (Esc)"),
    (_SHOW, "Show all (v)", "All (v)"),
)


def folded(arguments: Mapping[str, object], width: int, rows: int) -> list[str]:
    """Return the arguments in lines of `width` cells, `rows` at most. Pure.

    Where they are longer, the last line says how much is not shown: `rows` are two at least.
    """
    text = one_line(arguments)
    lines = cell_lines(text[: width * rows + 1], width)
    if len(lines) <= rows and len(text) <= width * rows:
        return lines
    shown = lines[: rows - 1]
    more = len(text) - sum(map(len, shown))
    return [*shown, f"… {more:,} more characters: v and Enter show all"]


def choices(*, focused: bool, narrow: bool, picked: str = "") -> list[tuple[str, str]]:
    """Return what can be answered: keys and texts; without a key, what to press. Pure.

    That stands last and keeps its room: no answer moves under a mouse that is about to click.
    `picked`: the key of what Enter would answer.
    """
    first = "(Alt+P first)" if narrow else "(press Alt+P first)"
    hint = first if not focused else "(press Enter)" if picked else "(then Enter)"
    shown = [(key, short if narrow else text) for key, text, short in _LABELS]
    return [*shown, ("", hint.ljust(len(first)))]


def cell_lines(text: str, width: int) -> list[str]:
    """Return a text in lines of at most `width` cells. Pure."""
    return [
        piece for line in text.split("\n") for piece in (chop_cells(line, max(width, 1)) or [""])
    ]


class Choices(Static):
    """What can be answered, each by its key or a click."""

    @dataclass
    class Chosen(Message):
        """An answer was clicked on."""

        key: str

    def show(self, width: int, *, focused: bool, narrow: bool, picked: str = "") -> None:
        """Show the answers in `width` cells, and how to come to them if the keys go elsewhere.

        `picked`: the key of what Enter would answer.
        """
        lines, room = [Content()], 0
        for key, text in choices(focused=focused, narrow=narrow, picked=picked):
            size = cell_len(text)
            if room < size:
                lines.append(Content())
                room = width
            action = (
                f"[@click=choose('{key}')]{text}[/]" if key else f"[$foreground-muted]{text}[/]"
            )
            content = Content.from_markup(action)
            lines[-1] += content.stylize("bold reverse") if key and key == picked else content
            lines[-1] += Content("  ")
            room -= size + 2
        self.update(Content("\n").join(lines[1:]))

    def action_choose(self, key: str) -> None:
        """Tell the panel."""
        self.post_message(self.Chosen(key))


class PermissionPanel(Vertical, can_focus=True):
    """Shows a call that wants to run. Posts `Answered` once the user has answered."""

    FOCUS_ON_CLICK = False  # a click answers; whoever writes goes on writing
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup", "app.page(-1)", "Scroll up", id="permission.up", show=False),
        Binding("pagedown", "app.page(1)", "Scroll down", id="permission.down", show=False),
    ]

    DEFAULT_CSS = """
    PermissionPanel {
        display: none; height: auto; margin: 0 1; padding: 0 1;
        border: round $warning 60%; background: $background;
    }
    PermissionPanel:focus { border: round $warning; }
    PermissionPanel Static { height: auto; }
    PermissionPanel #asked-arguments { color: $text-accent; text-wrap: nowrap; }
    PermissionPanel.-compact, PermissionPanel.-compact:focus {
        border: none; border-left: outer $warning; margin: 0; padding: 0 0 0 1;
    }
    """

    @dataclass
    class Answered(Message):
        """The user has answered."""

        answer: Answer

    class Typed(Message):
        """What was typed is no answer: the user is writing."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self) -> None:
        super().__init__(id="permission")
        self._asked: AskedCall | None = None
        self._since = float("inf")  # when it was first seen
        self._has_keys = False
        self._picked = ""  # the letter of an answer, as it was typed; Enter gives it
        self._head, self._arguments = Static(), Static(id="asked-arguments")
        self._choices = Choices()

    def compose(self) -> ComposeResult:
        """Mount the parts."""
        yield self._head
        yield self._arguments
        yield self._choices

    def ask(self, asked: "AskedCall", *, focus: bool) -> None:
        """Show a call. `focus`: the keys go to the panel."""
        self._asked, self._since, self._picked = asked, float("inf"), ""
        self.display = True
        self._draw()
        if focus:
            self.focus()
        self.call_after_refresh(self._seen)

    def _seen(self) -> None:
        self._since = time.monotonic()

    def leave(self) -> None:
        """Show nothing any more. A letter that answers nothing any more was the user's."""
        self._write("")
        self._asked = None
        self.display = False

    def on_resize(self) -> None:
        """Fit it to the new width."""
        self._draw()

    def on_focus(self) -> None:
        """Say which keys answer. They do so only after a moment."""
        self._since, self._has_keys = time.monotonic(), True
        self._draw()

    def on_blur(self) -> None:
        """Say how to come back."""
        self._has_keys, self._picked = False, ""
        self._draw()

    def _draw(self) -> None:
        if (asked := self._asked) is None:
            return
        size = self.app.size
        self.set_class(self.app.screen_stack[0].has_class("-compact"), "-compact")
        tool = asked.offer.tool
        head = Content.assemble((tool.name, "bold"), " wants to run")
        if asked.changed:
            note = "It is not the tool that you allowed: it describes itself otherwise now."
            head += Content.styled(f"\n{note}", "$text-warning")
        self._head.update(head)
        rows = ROWS if size.height >= ROOMY else ROWS_COMPACT
        width = self.content_size.width or size.width - 4
        lines = folded(asked.arguments, width, rows) if asked.arguments else ["(no arguments)"]
        self._arguments.update(Content("\n".join(lines)))
        focused, narrow, picked = self._has_keys, size.width < NARROW, self._picked.lower()
        self._choices.show(width, focused=focused, narrow=narrow, picked=picked)

    def _pick(self, letter: str) -> None:
        self._picked = letter
        self._draw()

    def _write(self, text: str) -> None:
        """Hand over what is typed, and the letter before it: that was no answer."""
        text, self._picked = self._picked + text, ""
        if text:
            self.post_message(self.Typed(text))

    def on_key(self, event: events.Key) -> None:
        """Pick an answer, or give it; what else is typed is the user's message."""
        key = event.key.lower()  # with Caps Lock, too
        if "+" in key:  # Alt with a letter is neither an answer nor text
            return
        armed = time.monotonic() - self._since >= QUIET_S
        if armed and key == "escape":
            self._choose(key)
        elif armed and key == "enter" and self._picked:
            self._choose(self._picked.lower())
        elif key == "backspace" and self._picked:
            self._pick("")
        elif armed and not self._picked and (key in _KEYS or key == _SHOW):
            self._pick(event.character or key)
        elif event.is_printable and event.character:
            self._since = float("inf")  # the rest of the word may be here before the focus is there
            self._write(event.character)
        elif key not in {"escape", "enter"}:  # others (scrolling, quitting) do what they always do
            return
        event.stop()
        event.prevent_default()

    def on_paste(self, event: events.Paste) -> None:
        """Hand a paste to the composer: it is part of a message."""
        event.stop()
        self._write("")
        prompt = self.screen.query_one(Prompt)
        prompt.focus()
        prompt.post_message(events.Paste(event.text))

    def on_choices_chosen(self, message: Choices.Chosen) -> None:
        """Take an answer that was clicked on."""
        message.stop()
        if time.monotonic() - self._since >= QUIET_S:
            self._choose(message.key)

    def _choose(self, key: str) -> None:
        if self._asked is None:
            return
        self._pick("")
        if key == _SHOW:
            self.app.push_screen(CallScreen(self._asked))
        else:
            self.post_message(self.Answered(_KEYS[key]))


class CallScreen(Overlay[None]):
    """Shows all of a call that wants to run. Nothing is answered here."""

    DEFAULT_CSS = """
    CallScreen { align: center middle; background: $background 70%; }
    CallScreen Log {
        width: 100%; max-width: 100; height: 90%; padding: 0 1;
        border: round $primary 60%; background: $background; scrollbar-size: 1 1;
    }
    CallScreen.-compact Log { border: none; height: 100%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,v", "dismiss", "Close", id="call.close"),
    ]

    def __init__(self, asked: "AskedCall") -> None:
        super().__init__()
        self._asked = asked
        self._log = Log(auto_scroll=False)

    def compose(self) -> ComposeResult:
        """Mount the text, which scrolls."""
        yield self._log

    def on_mount(self) -> None:
        """Fit it to the terminal."""
        self.set_class(self.app.screen_stack[0].has_class("-compact"), "-compact")
        self._log.focus()

    def on_resize(self) -> None:
        """Break the lines anew."""
        asked, tool = self._asked, self._asked.offer.tool
        width = max(min(self.app.size.width, 100) - 5, 10)
        text = "\n".join(
            [
                f"{tool.name}, of the MCP server {asked.server}. Esc closes this.",
                "",
                written_out(asked.arguments),
                "",
                "The server says of this tool:",
                visible(clean(tool.description)) or "(nothing)",
            ]
        )
        self._log.clear()
        self._log.write_lines(cell_lines(text, width))
        self._log.scroll_home(animate=False)


class Permission(Wing):
    """Asks the user whether a call may run."""

    title = "Permission"

    def __init__(self, chat: "ChatApp") -> None:
        super().__init__(chat)
        self._panel = PermissionPanel()
        self._answer: asyncio.Future[Answer] | None = None

    def panels(self) -> Iterable[Widget]:
        """Return the panel of the call that waits."""
        return (self._panel,)

    async def ask(self, asked: "AskedCall") -> Answer:
        """Show a call, and wait for the answer; cancelling takes the question away.

        Whoever is writing goes on writing: the panel takes the keys only over an empty composer.
        """
        chat, turn = self.chat, self.chat.live
        self._answer = asyncio.get_running_loop().create_future()
        if turn is not None:
            turn.phase = TurnState.ASKING
        try:
            writing = bool(chat.composer.prompt.text)
            self._panel.ask(asked, focus=not writing)
            return await self._answer
        finally:
            self._answer = None
            if turn is not None and turn.phase is TurnState.ASKING:
                turn.phase = TurnState.CALLING
            had_keys = self._panel.has_focus
            self._panel.leave()
            if had_keys:
                chat.composer.prompt.focus()

    def answered(self, message: PermissionPanel.Answered) -> None:
        """Hand the answer over."""
        if self._answer is None or self._answer.done():
            return
        self._answer.set_result(message.answer)
        if message.answer in {Answer.ALWAYS, Answer.NEVER}:
            self.chat.hint(f"{str(message.answer).capitalize()} from now on. /mcp takes it back.")

    def typed(self, message: PermissionPanel.Typed) -> None:
        """Let the user write on."""
        self.chat.composer.insert(message.text)
        self.chat.composer.prompt.focus()

    def answer(self, _: str) -> None:
        """Let the keys answer."""
        if self._panel.display:
            self._panel.focus()
        else:
            self.chat.hint("No tool asks for permission.")

    actions = (
        Action(
            "permission.answer",
            "answer a tool that wants to run: y once, a always, n never, then Enter; Esc not this "
            "time",
            answer,
            keys=(ANSWER_KEY,),
            priority=True,  # terminals send a letter with it, which the composer would take
        ),
    )
    hears: ClassVar[Mapping[type[Message], Hear]] = {
        PermissionPanel.Answered: answered,
        PermissionPanel.Typed: typed,
    }
