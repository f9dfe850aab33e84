"""The conversation on the screen: one widget, which lays out no more than what is in view.

A turn that was never in view has an expected height; where the real one differs, what is in view
stays in its place. So a long chat opens as fast as a short one, and all of it can be scrolled.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate, groupby, takewhile, zip_longest
from operator import is_
from typing import Final

from textual.content import Content
from textual.events import Click
from textual.geometry import Offset, Region, Size
from textual.scroll_view import ScrollView
from textual.scrollbar import ScrollBar
from textual.selection import Selection
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget

from runner.chat.turn import Turn
from runner.tui.block import ROWS, Block, Brush, Remark, dipped, selected_text
from runner.tui.fit import Space, compact, expected_rows, thumb_at
from runner.tui.found import FoundWords
from runner.tui.rows import MUTED
from runner.tui.thumbnails import thumbnails_of
from runner.tui.turnview import TurnView, VersionOf

CATCH_UP_S: Final = 0.05  # between two steps of a text that came all at once
KEPT: Final = 60  # turns whose layout is kept
LAST: Final = 1 << 30  # the number of the block below the turns


class Transcript(ScrollView):
    """The turns of a conversation, followed at the end until the user scrolls away.

    Its blocks are the greeting, the turns, and the notice.
    """

    can_focus = False
    DEFAULT_CSS = "Transcript { overflow-x: hidden; overflow-y: scroll; }"

    def __init__(
        self, greeting: Content, version: VersionOf, *, prices: bool, context: int
    ) -> None:
        super().__init__(id="transcript")
        self._version = version
        self._prices = prices
        self._room = context
        self._turns: Sequence[Turn] = ()
        self._opened = False
        self._greeting = Remark(0, Content(" "), MUTED, above=True)
        self._greeting.show(greeting)
        self._notice = Remark(LAST, Content.styled("▌", "$warning") + Content(" "))
        self._views: OrderedDict[Turn, TurnView] = OrderedDict()  # those of late use, the last last
        self._shown: list[Turn] = []  # the turns that `_heights` are of
        self._heights: list[int] = [0, 0]  # of all blocks, laid out or expected
        self._width = 0  # that they are of
        self._following = True
        # The block at the top, and the first of its rows: negative from its end.
        self._held = (0, 0)
        self._seen: list[tuple[Block, int]] = []
        self._strips: list[Strip] = []
        self._brush: Brush | None = None
        self._blank = Strip([])
        self._found: FoundWords | None = None
        self._thumb = (0, 0)
        self._timer: Timer | None = None

    # --- what is shown -----------------------------------------------------------------------

    def know(self, greeting: Content, *, prices: bool, context: int) -> None:
        """Take over what was not known of the model when the chat began."""
        self._prices, self._room = prices, context
        self._greeting.show(greeting)
        for view in self._views.values():
            view.know(prices=prices, context=context)
        self._place()

    def notice(self, content: Content | None) -> None:
        """Show a message under the last turn, or take it away."""
        self._notice.show(content or Content(""))
        self._place()

    @property
    def views(self) -> Sequence[TurnView]:
        """What shows the turns that were in view of late; the others are made anew."""
        return tuple(self._views.values())

    def renew(self) -> None:
        """Lay out and draw anew what is in view: what turns show beside their text has changed."""
        for view in self._views.values():
            view.forget()
        self._place()

    async def show_turns(self, turns: Sequence[Turn], *, opened: bool) -> None:
        """Show a conversation, or another branch of it, from its end."""
        self._turns = turns
        self._following = True
        await self.set_opened(opened=opened, live=None)
        self.renew()  # how many versions there are may have changed

    async def added(self) -> None:
        """Show the turn that was appended to the conversation, and follow it."""
        self.follow()

    async def set_opened(self, *, opened: bool, live: Turn | None) -> None:
        """Open or close the thinking of every turn; `live` follows its own rule."""
        self._opened = opened
        for turn, view in self._views.items():
            if turn is not live:
                view.show(opened=opened)
        self._place()

    def sync(self, turn: Turn, *, opened: bool, follows: bool = True) -> None:
        """Show how far a turn is, about ten times a second at most; `follows`: see `TurnView`."""
        view = self._views.get(turn)
        if view is not None:
            view.show(opened=opened, follows=follows)
            if not view.behind:  # else the next step shows it in a moment
                view.lay_out()
                self._heights[view.number] = view.height
        self._place()

    # --- where it is scrolled to -------------------------------------------------------------

    @property
    def following(self) -> bool:
        """Whether new text is scrolled into view: the user has not scrolled away."""
        return self._following

    def follow(self) -> None:
        """Go to the end and stay there."""
        self._following = True
        self._place()

    def reach(self, index: int) -> TurnView:
        """Scroll so that a turn of the conversation is the first in view; return what shows it."""
        self._following = False
        self._held = (1 + index, 0)
        self._place()
        return self._views[self._turns[index]]

    def show_rows(self, view: TurnView, row: int, count: int = 1) -> None:
        """Scroll rows of a turn into view, unless they are, with a third of the view above them."""
        if not {(view, row), (view, row + count - 1)} <= set(self._seen):
            self._following = False
            self._held = (view.number, row)
            index, at = self._moved(-(self.container_size.height // 3))
            # From the top: the rest of an answer may still be laid out below these rows.
            self._held = (index, at + self._heights[index] if at < 0 else at)
        self._place()

    def find(self, found: FoundWords | None) -> None:
        """Mark in all turns what is looked for; None: nothing is."""
        self._found = found
        for view in self._views.values():
            view.find(found)
        self._place()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Take over where the user has scrolled to."""
        super().watch_scroll_y(old_value, new_value)
        y = round(new_value)
        if y == round(old_value):
            return
        self._following = new_value >= self.max_scroll_y
        moved = y - round(old_value)
        if y > 0 and abs(moved) <= self.container_size.height:
            self._held = self._moved(moved)
        else:
            tops = [0, *accumulate(self._heights)]
            index = max(0, bisect_right(tops, y, hi=len(self._heights)) - 1)
            self._held = (index, y - tops[index])
        self._place()

    def _moved(self, rows: int) -> tuple[int, int]:
        """Return what is at the top some rows further: real ones, not those that are expected."""
        space = self._space()
        index, row = self._held
        height = self._fitted(index, space)
        row += rows if row >= 0 else height + rows
        while row < 0 and index:
            index -= 1
            height = self._fitted(index, space)
            row += height
        while row >= height and index < len(self._heights) - 1:
            row -= height
            index += 1
            height = self._fitted(index, space)
        # One of which more is to be laid out grows at its end, and the view is there.
        return index, max(0, row) - (height if rows < 0 and self._block(index).behind else 0)

    def _size_updated(
        self,
        size: Size,
        virtual_size: Size,
        container_size: Size,
        layout: bool = True,  # noqa: FBT001, FBT002 - Textual's
    ) -> bool:
        changed = super()._size_updated(size, virtual_size, container_size, layout)
        if changed:
            self._place()
        return changed

    # --- laying out --------------------------------------------------------------------------

    def _space(self) -> Space:
        screen = self.app.size
        small = compact(*screen)
        width = self._outer() - self.scrollbar_size_vertical - (0 if small else 2)
        return Space(max(1, width), screen.height, small)

    def _outer(self) -> int:
        return self.container_size.width

    def _block(self, index: int) -> Block:
        if index == 0:
            return self._greeting
        if index > len(self._shown):
            return self._notice
        turn = self._shown[index - 1]
        view = self._views.get(turn)
        if view is None:
            view = TurnView(
                turn,
                self._version,
                opened=self._opened,
                prices=self._prices,
                context=self._room,
                number=index,
                thumbnails=thumbnails_of(self.app),
            )
            view.find(self._found)
            self._views[turn] = view
        self._views.move_to_end(turn)
        return view

    def _expect(self, width: int) -> None:
        """Expect a height of each turn that was not laid out."""
        known = self._shown if width == self._width else []
        alike = [*map(is_, self._turns, known)]  # at each tick: of a long chat, too
        if width == self._width and len(self._turns) == len(known) and all(alike):
            return
        same = sum(takewhile(bool, alike))
        self._width = width
        self._shown = list(self._turns)
        for turn, view in [*self._views.items()]:
            if self._shown[view.number - 1 : view.number] != [turn]:
                del self._views[turn]
        expected = (expected_rows(turn, width) for turn in self._shown[same:])
        self._heights = [*self._heights[: 1 + same], *expected, self._heights[-1]]

    def _fitted(self, index: int, space: Space) -> int:
        """Lay a block out; return its height."""
        block = self._block(index)
        block.fit(space)
        self._heights[index] = block.height
        return block.height

    def _place(self) -> None:
        """Lay out what is in view, with what was at the top (or at the end) in its place."""
        room = self.container_size.height
        if not room or not self.is_attached:
            return
        space = self._space()
        self._expect(space.width)
        self._fitted(0, space)
        last = len(self._heights) - 1
        index, row = (last, self._fitted(last, space)) if self._following else self._held
        index = min(index, last)
        height = self._fitted(index, space)
        from_end = row < 0
        row = max(0, height + row) if from_end else min(row, height)
        below = height - row
        for each in range(index + 1, last + 1):
            if below >= room:
                break
            below += self._fitted(each, space)
        first = index
        while below < room and (row or first):
            if not row:
                first -= 1
                row = self._fitted(first, space)
            up = min(row, room - below)
            row -= up
            below += up
        self._held = (first, row - self._heights[first] if from_end and first == index else row)
        top, total = sum(self._heights[:first]) + row, sum(self._heights)
        self._following = top >= total - room
        self._scrolled(top, Size(space.width, total), room)
        self._look(first, row, room)
        while len(self._views) > max(KEPT, room):
            self._views.popitem(last=False)
        if self._timer is None and any(view.behind for view in self._views.values()):
            self._timer = self.set_timer(CATCH_UP_S, self._catch_up)

    def _catch_up(self) -> None:
        """Lay out more of a text that came all at once."""
        self._timer = None
        views = reversed(self._views.values())
        if (view := next((view for view in views if view.behind), None)) is not None:
            view.lay_out()
            self._heights[view.number] = view.height
        self._place()

    def _scrolled(self, top: int, size: Size, room: int) -> None:
        """Tell Textual where this is scrolled to, without a layout of the whole screen."""
        if size != self.virtual_size:
            self.set_reactive(Widget.virtual_size, size)
        if top != round(self.scroll_y):
            self.set_reactive(Widget.scroll_y, float(top))
            self.set_reactive(Widget.scroll_target_y, float(top))
        bar = self.vertical_scrollbar
        bar.set_reactive(ScrollBar.window_virtual_size, size.height)
        bar.set_reactive(ScrollBar.window_size, room)
        bar.set_reactive(ScrollBar.position, top)
        if (thumb := thumb_at(top, size.height, room)) != self._thumb:
            self._thumb = thumb
            bar.refresh()

    # --- drawing -----------------------------------------------------------------------------

    def _look(self, first: int, row: int, room: int) -> None:
        """Take over which rows are in view, and draw those that look different."""
        self._seen = []
        for index in range(first, len(self._heights)):
            block = self._block(index)
            stop = min(block.height, row + room - len(self._seen))
            self._seen += [(block, y) for y in range(row, stop)]
            row = 0
            if len(self._seen) >= room:
                break
        before = self._strips
        self._draw(dipped(self, self._outer()))
        rows = enumerate(zip_longest(self._strips, before[: len(self._strips)]))
        fresh = [y for y, (strip, old) in rows if strip is not old]
        self.refresh_rows(fresh)

    def refresh_rows(self, fresh: list[int]) -> None:
        """Have rows of the screen written again: no others are."""
        groups = groupby(enumerate(fresh), lambda pair: pair[1] - pair[0])
        runs = [[y for _, y in group] for _, group in groups]
        if runs:
            self.refresh(*(Region(0, run[0], self._outer(), len(run)) for run in runs))

    def _draw(self, brush: Brush) -> None:
        if brush != self._brush:  # the same one as long as nothing changes
            self._brush, self._blank = brush, Strip.blank(brush.width, brush.style.rich_style)
        brush = self._brush or brush
        strips = [block.strip(y, brush) for block, y in self._seen]
        self._strips = strips + [self._blank] * (self.container_size.height - len(strips))

    def rows_in_view(self) -> list[Strip]:
        """Return the rows in view, the same ones as long as they look the same."""
        brush = dipped(self, self._outer())
        if brush != self._brush:  # else they are drawn: what changes one places it
            self._draw(brush)
        return self._strips

    def render_lines(self, crop: Region) -> list[Strip]:
        """Return rows in view: drawn as they are, Textual's own way styles each anew."""
        strips, span = self.rows_in_view()[crop.y : crop.bottom], crop.column_span
        return strips if span == (0, self._outer()) else [strip.crop(*span) for strip in strips]

    def render_line(self, y: int) -> Strip:
        """Return a row in view."""
        return self._strips[y] if y < len(self._strips) else Strip.blank(self._outer())

    # --- the mouse ---------------------------------------------------------------------------

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """Return what is selected, without the blanks that fill a row; to its ends what is seen."""
        if not self._seen:
            return None
        (above, top), (below, bottom) = self._seen[0], self._seen[-1]
        start = selection.start or Offset(0, above.number * ROWS + top)
        end = selection.end or Offset(self._outer(), below.number * ROWS + bottom)
        numbers = [*range(len(self._heights) - 1), LAST]
        within = [i for i, n in enumerate(numbers) if start.y // ROWS <= n <= end.y // ROWS]
        blocks = [self._block(index) for index in within]
        for block in blocks:
            block.fit(self._space())
        return selected_text(blocks, start, end), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        """Draw what is selected."""
        del selection
        self.refresh()

    def on_click(self, event: Click) -> None:
        """Hand over what a click on a row wants."""
        if event.y < len(self._seen):
            block, y = self._seen[event.y]
            edge = 0 if compact(*self.app.size) else 1
            if (message := block.clicked(event, event.x - edge, y)) is not None:
                self.post_message(message)
