"""The conversation on the screen: only a window of its turns is mounted."""

from collections.abc import Sequence
from dataclasses import dataclass

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.widgets import Static

from runner.chat.turn import Turn
from runner.tui.fit import BATCH, TAIL, around, earlier, later, tail
from runner.tui.turnview import TurnView, VersionOf


class More(Static):
    """The line that loads more turns when clicked."""

    @dataclass
    class Wanted(Message):
        """The user clicked it. `what`: "earlier" or "later"."""

        what: str

    def __init__(self, what: str) -> None:
        super().__init__(classes="more")
        self._what = what
        self.display = False

    def show(self, count: int) -> None:
        """Say how many turns are not mounted, or hide."""
        self.display = count > 0
        arrow, key = ("↑", "PgUp") if self._what == "earlier" else ("↓", "PgDn")
        self.update(Content(f"{arrow} {count:,} {self._what} turns · {key} or click to load"))

    def on_click(self, event: Click) -> None:
        """Load a batch."""
        event.stop()
        self.post_message(self.Wanted(self._what))


class Transcript(VerticalScroll):
    """The turns of a conversation, followed at the end until the user scrolls away."""

    can_focus = False

    def __init__(
        self, greeting: Content, version: VersionOf, *, prices: bool, context: int
    ) -> None:
        super().__init__(id="transcript")
        self._version = version
        self._prices = prices
        self._room = context
        self._turns: Sequence[Turn] = ()
        self._window = range(0)
        self._opened = False
        self._greeting = Static(greeting, id="greeting")
        self._earlier = More("earlier")
        self._later = More("later")
        self._notice = Static(id="notice")
        # At least as high as the view, or the anchor would push a short chat to the bottom.
        self._body = Vertical(self._greeting, self._earlier, self._later, self._notice, id="turns")

    def compose(self) -> ComposeResult:
        """Mount the frame; turns go between the two lines that load more."""
        self._notice.display = False
        yield self._body

    def know(self, greeting: Content, *, prices: bool, context: int) -> None:
        """Take over what was not known of the model when the chat began."""
        self._prices, self._room = prices, context
        self._greeting.update(greeting)
        for view in self.query(TurnView):
            view.know(prices=prices, context=context)

    def notice(self, content: Content | None) -> None:
        """Show a message under the last turn, or take it away."""
        self._notice.display = content is not None
        self._notice.update(content or Content(""))

    @property
    def following(self) -> bool:
        """Whether new text is scrolled into view: the user has not scrolled away."""
        return not self._anchor_released

    def follow(self) -> None:
        """Go to the end and stay there."""
        self._anchor_released = False
        self.anchor()

    def view_of(self, turn: Turn) -> TurnView | None:
        """Return the widget of a turn, None where it is not mounted."""
        return next((view for view in self.query(TurnView) if view.turn is turn), None)

    async def show_turns(self, turns: Sequence[Turn], *, opened: bool) -> None:
        """Show the end of another conversation."""
        self._turns, self._opened = turns, opened
        await self.query(TurnView).remove()
        self._window = range(len(turns), len(turns))
        await self._move(tail(len(turns)))
        self.follow()

    async def added(self) -> None:
        """Show the turn that was appended to the conversation, and follow it."""
        total = len(self._turns)
        if self._window.stop != total - 1 or len(self._window) >= TAIL + BATCH:
            await self._move(tail(total))
        else:
            await self._move(range(self._window.start, total))
        self.follow()

    async def drop(self, turn: Turn) -> None:
        """Take a turn away that was removed from the conversation's end."""
        if (view := self.view_of(turn)) is not None:
            await view.remove()
            self._window = range(self._window.start, self._window.stop - 1)
            self._count()

    async def set_opened(self, *, opened: bool, live: Turn | None) -> None:
        """Open or close the thinking of every mounted turn; `live` follows its own rule."""
        self._opened = opened
        for view in self.query(TurnView):
            if view.turn is not live:
                await view.sync(opened=opened)

    @on(More.Wanted)
    async def _more_wanted(self, message: More.Wanted) -> None:
        message.stop()
        await (self.load_earlier() if message.what == "earlier" else self.load_later())

    async def load_earlier(self) -> bool:
        """Mount a batch of earlier turns; what is in view stays there. False: no more."""
        window = earlier(self._window)
        if window == self._window:
            return False
        self.release_anchor()
        from_end = self.virtual_size.height - self.scroll_offset.y
        stop = self._window.stop
        await self._move(window)
        if window.stop == stop:
            self.call_after_refresh(
                lambda: self.scroll_to(
                    y=self.virtual_size.height - from_end, animate=False, immediate=True
                )
            )
        return True

    async def load_later(self) -> bool:
        """Mount a batch of later turns. False: the last one is mounted."""
        window = later(self._window, len(self._turns))
        if window == self._window:
            return False
        await self._move(window)
        return True

    async def reach(self, index: int) -> TurnView:
        """Mount a turn that is not, with those around it; return its widget."""
        self.release_anchor()
        if index not in self._window:
            await self._move(around(index, len(self._turns)))
        view = self.view_of(self._turns[index])
        assert view is not None  # noqa: S101 - it is in the window
        return view

    def show_rows(self, view: TurnView, row: int, count: int = 1) -> None:
        """Scroll rows of a turn into view, unless they are, once they have their place."""

        def show() -> None:
            y = self._body.virtual_region.y + view.virtual_region.y + row
            top, height = self.scroll_offset.y, self.size.height
            if not top <= y <= top + height - count:
                self.scroll_to(y=max(0, y - height // 3), animate=False, immediate=True)

        self.release_anchor()
        self.call_after_refresh(show)

    async def _move(self, window: range) -> None:
        """Mount and unmount turns so that those of `window` are mounted."""
        kept = range(max(window.start, self._window.start), min(window.stop, self._window.stop))
        kept = kept or range(window.stop, window.stop)
        stay = {self._turns[index] for index in kept}
        with self.app.batch_update():
            for view in self.query(TurnView):
                if view.turn not in stay:
                    await view.remove()
            above = [self._view(index) for index in range(window.start, kept.start)]
            below = [self._view(index) for index in range(kept.stop, window.stop)]
            await self._body.mount_all(above, after=self._earlier)
            await self._body.mount_all(below, before=self._later)
        self._window = window
        self._count()

    def _view(self, index: int) -> TurnView:
        shown = {"opened": self._opened, "prices": self._prices}
        return TurnView(self._turns[index], self._version, **shown, context=self._room)

    def _count(self) -> None:
        self._earlier.show(self._window.start)
        self._later.show(len(self._turns) - self._window.stop)
        self._greeting.display = self._window.start == 0
