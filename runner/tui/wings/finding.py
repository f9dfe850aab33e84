"""Finding: words in this chat, one hit after the other."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static
from textual.worker import Worker

from runner.chat.finding import MOST, WORDS_CHARS, Hit, HitPlace, Needle, find_in, needle
from runner.tui.actions import Action
from runner.tui.found import FoundWords, locate
from runner.tui.shared import FIND
from runner.tui.talking import ChatTalk
from runner.tui.turnview import TurnView, VersionWanted
from runner.tui.wings.wing import Hear, Wing

if TYPE_CHECKING:
    from runner.tui.app import ChatApp

PAUSE_S: Final = 0.08  # after a key: who types on is not searched for in between
LAID_OUT_S: Final = 10.0  # a turn that takes longer to lay out is gone to as far as it is


class FindInput(Input):
    """What is looked for."""

    # Shift+F3 comes by the Kitty protocol: the older code is that of a report of the cursor, too.
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,f3,down", "go(1)", "Next", id="find.next", priority=True),
        Binding("shift+f3,up", "go(-1)", "Previous", id="find.previous", priority=True),
        Binding("escape", "close", "Close", id="find.close", priority=True),
        Binding("pageup", "app.page(-1)", "Scroll up", id="find.up", show=False),
        Binding("pagedown", "app.page(1)", "Scroll down", id="find.down", show=False),
    ]

    class Closed(Message):
        """The user wants no more of it."""

    class Moved(Message):
        """The user wants the hit that is `step` after this one."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    def action_go(self, step: int) -> None:
        """Go to another hit."""
        self.post_message(self.Moved(step))

    def action_close(self) -> None:
        """Leave the search."""
        self.post_message(self.Closed())


class FindLine(Horizontal):
    """The line above the composer: what is looked for, and which of how many hits is shown."""

    SCOPED_CSS = False  # the screen's class counts
    DEFAULT_CSS = """
    FindLine { height: 1; padding: 0 3; display: none; }
    FindLine > .label { width: auto; color: $text-accent; }
    FindLine > Input { width: 1fr; border: none; padding: 0; height: 1; background: $surface; }
    FindLine > .count { width: auto; padding: 0 0 0 1; color: $foreground-muted; }
    .-compact FindLine { padding: 0; }
    .-tiny FindLine { display: none; }
    """

    class Typed(Message):
        """Other words are looked for."""

    class Resized(Message):
        """The window has another width."""

    def __init__(self) -> None:
        super().__init__(id="find")
        self.input = FindInput(placeholder="words", max_length=WORDS_CHARS, compact=True)
        self._count = Static(classes="count")

    def compose(self) -> ComposeResult:
        """Mount the field and the count."""
        yield Static("Find ", classes="label")
        yield self.input
        yield self._count

    def say(self, text: str) -> None:
        """Show the count, or why there is none."""
        self._count.update(Content(text))

    def on_resize(self) -> None:
        """Say so: what is shown may be elsewhere now."""
        self.post_message(self.Resized())

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Typed())


class FindWing(Wing):
    """Walks through the hits of some words in this chat."""

    title = "Finding"

    def __init__(self, chat: "ChatApp") -> None:
        super().__init__(chat)
        self._line = FindLine()
        self._wanted: Needle | None = None
        self._hits: list[Hit] = []
        self._at = 0
        self._pause, self._stay = 0.0, False  # before a search, and whether it goes nowhere
        self._worker: Worker[None] | None = None
        self._target: tuple[TurnView, Hit, Needle] | None = None
        self._aim: tuple[int, HitPlace | None] = (-1, None)  # the turn and the part to go to

    def panels(self) -> Iterable[Widget]:
        """Return the line of the search."""
        return (self._line,)

    @property
    def open(self) -> bool:
        """Whether something is looked for."""
        return bool(self._line.display)

    # --- opening and closing -----------------------------------------------------------------

    def find(self, typed: str) -> None:
        """Open the line; with words, go to the last place that has them."""
        if len(self.chat.screen_stack) > 1:  # a list is in front of the chat
            return
        self._line.display = True
        field = self._line.input
        if typed:
            with field.prevent(Input.Changed):
                field.value = typed
            field.cursor_position = len(typed)
        self.chat.screen.set_focus(field)  # at once: `focus` would let the next keys pass by
        if field.value:
            self._search()

    async def again(self, _: str) -> None:
        """Go to the next hit; where nothing is looked for, open the line."""
        if self.open:
            await self._step(1)
        else:
            self.find("")

    async def go_to(self, entry_id: str, place: HitPlace, words: str) -> None:
        """Go to what was found in the texts of all chats: words of a question or an answer."""
        chat = self.chat
        last = chat.conversation.turns[-1:]
        turn = chat.conversation.go_to(entry_id)
        if chat.conversation.turns[-1:] != last:  # it is in another version
            await chat.show_branch()
            chat.unsent.changed()
        wanted = needle(words)
        if wanted is not None:
            self._aim = turn, place
            self.find(words)

    def close(self, _: Message) -> None:
        """Look for nothing any more; the chat stays where it is."""
        self.leave()
        self.chat.composer.prompt.focus()

    def leave(self) -> None:
        """Look for nothing any more: another chat is about to be shown."""
        self._line.display = False
        self._hits, self._wanted, self._aim, self._target = [], None, (-1, None), None
        self._mark_all()

    # --- searching ---------------------------------------------------------------------------

    def typed(self, _: Message) -> None:
        """Look for what is typed now."""
        self._search(pause=PAUSE_S)

    def changed(self, _: Message) -> None:
        """Look again: the chat has grown, or another version stands."""
        if self.open and self._wanted is not None:
            self._search(stay=True)

    def _search(self, *, pause: float = 0.0, stay: bool = False) -> None:
        self._pause, self._stay = pause, stay
        self._worker = self.chat.run_worker(
            self._found, group="find", exclusive=True, exit_on_error=False
        )

    async def _found(self) -> None:
        await asyncio.sleep(self._pause)
        wanted = needle(self._line.input.value)
        turns = tuple(self.chat.conversation.turns)
        hits = await asyncio.to_thread(find_in, turns, wanted) if wanted else []
        before = self._hits[self._at] if self._stay and self._at < len(self._hits) else None
        self._wanted, self._hits = wanted, hits
        if not hits or not self.open:
            self._mark_all()
            self._line.say("" if wanted is None else "not found")
        elif before in hits:
            self._at = hits.index(before)
            self._say()
        else:
            self._at, self._aim = _first(hits, *self._aim), (-1, None)
            self.chat.call_later(self._go)

    # --- walking -----------------------------------------------------------------------------

    async def moved(self, message: FindInput.Moved) -> None:
        """Go to the hit that is wanted."""
        await self._step(message.step)

    async def _step(self, step: int) -> None:
        if self._hits:
            self._at = (self._at + step) % len(self._hits)
            self._go()
        else:
            self._search()

    def _say(self, note: str = "") -> None:
        count = f"{len(self._hits):,}" + ("+" if len(self._hits) >= MOST else "")
        self._line.say(f"{note}{self._at + 1:,} of {count}")

    def _go(self) -> None:
        """Have the turn of the hit laid out."""
        if not self.open or self._wanted is None or self._at >= len(self._hits):
            return
        hit = self._hits[self._at]
        if hit.turn >= len(self.chat.conversation.turns):
            return
        self._say()
        view = self.chat.transcript.reach(hit.turn)
        if hit.place is HitPlace.THINKING and not view.shows_thinking:
            view.show(opened=True)
            self._say("in hidden thinking, opened · ")
        self._mark_all()
        self._target = view, hit, self._wanted
        self._worker = self.chat.run_worker(
            self._show, group="find", exclusive=True, exit_on_error=False
        )

    async def _show(self) -> None:
        """Scroll to the hit, once its turn is laid out as far as there."""
        if self._target is None:
            return
        view, hit, wanted = self._target
        before: object = None
        # A scrollbar that comes with the line breaks the rows anew: looked at until it stays.
        for _ in range(int(LAID_OUT_S / PAUSE_S)):
            row, here = found = locate(view.parts, hit, wanted)
            if before == found and view.settled:
                return
            before = found
            if here or view.settled:
                view.find(FoundWords(wanted, here))
                self.chat.transcript.show_rows(view, row, len(here) or 1)
            await asyncio.sleep(PAUSE_S)

    def resized(self, _: Message) -> None:
        """Show the hit again: rows are broken in other places now."""
        if self._target is not None and self.open:
            self._worker = self.chat.run_worker(
                self._show, group="find", exclusive=True, exit_on_error=False
            )

    def _mark_all(self) -> None:
        found = FoundWords(self._wanted) if self._wanted is not None else None
        self.chat.transcript.find(found)

    actions = (
        FIND.by(find, keys=("ctrl+f",), priority=True),
        Action("find.again", "go to the next place that has the words", again, keys=("f3",)),
    )
    hears: ClassVar[Mapping[type[Message], Hear]] = {
        FindInput.Closed: close,
        FindInput.Moved: moved,
        FindLine.Typed: typed,
        FindLine.Resized: resized,
        ChatTalk.Ended: changed,
        VersionWanted: changed,
    }


def _first(hits: Sequence[Hit], turn: int, place: HitPlace | None) -> int:
    """Return which hit to begin with: the one that is aimed at, else the last.

    As one remembers a talk: the last time that it was said.
    """
    in_turn = [n for n, hit in enumerate(hits) if hit.turn == turn]
    there = [n for n in in_turn if hits[n].place is place]
    return (there or in_turn or [len(hits) - 1])[0]
