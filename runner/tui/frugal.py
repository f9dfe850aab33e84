"""The chat's screen: Textual's own, which draws and styles no more widgets than have changed.

At each update Textual renders every widget that is in view, for a tick of an answer the composer,
the status line and the panels as well, and when the terminal gets or loses the focus it matches
every widget with every rule of the stylesheet. Both cost more than what has changed.
"""

from collections.abc import Iterable
from typing import Any, Final

from textual._compositor import ChopsUpdate, Compositor, LayoutUpdate
from textual.app import App
from textual.dom import NoScreen
from textual.geometry import Region
from textual.reactive import Reactive
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from runner.tui.scrolled import ScrolledUpdate, Shown, find_move
from runner.tui.transcript import Transcript

NOWHERE: Final = Region(0, 0, 0, 0)


class ChangedOnly(Compositor):
    """Renders the widgets that a changed region touches; rows of the transcript may move.

    It knows which of them the terminal shows, as long as nothing lies above the transcript.
    """

    def __init__(self, transcript: Transcript | None = None) -> None:
        super().__init__()
        self._transcript = transcript
        self._region = NOWHERE  # of the transcript, with its scrollbar
        self._rows: Shown = ()  # that the terminal shows there
        self._bar: Shown = ()  # of the scrollbar

    def _get_renders(
        self, crop: Region | None = None
    ) -> Iterable[tuple[Region, Region, list[Strip]]]:
        for widget, (region, clip) in self.visible_widgets.items():
            shown = region.intersection(clip)
            if shown and (crop is None or crop.overlaps(shown)):
                yield region, clip, widget.render_lines(shown.translate(-region.offset))

    def forget(self) -> None:
        """Take it that the terminal may show anything."""
        self._region = NOWHERE

    def render_full_update(self, simplify: bool = False) -> LayoutUpdate:  # noqa: FBT001, FBT002 - Textual's
        """Return what writes the whole screen."""
        if (region := self._alone()) is not None:
            self._region, (self._rows, self._bar) = region, self._wanted()
        return super().render_full_update(simplify)

    def render_partial_update(self) -> ChopsUpdate | None:
        """Return what writes the changed regions, after rows have moved that only moved."""
        region = self._alone()
        if region is None or region != self._region:
            return super().render_partial_update()
        rows, bar = self._wanted()
        if move := find_move(self._rows, rows):
            inside = {each for each in self._dirty_regions if region.contains_region(each)}
            shown, thumb = move.applied(self._rows), move.applied(self._bar)
            self._dirty_regions -= inside
            for y, now in enumerate(zip(shown, rows, thumb, bar, strict=True)):
                if now[0] is not now[1]:
                    self._dirty_regions.add(Region(region.x, region.y + y, region.width, 1))
                elif now[2] != now[3]:
                    self._dirty_regions.add(Region(region.right - 1, region.y + y, 1, 1))
            self._rows, self._bar = rows, bar
        update = super().render_partial_update()
        if move and update is not None:
            return ScrolledUpdate(move.sequence(region.y), update)
        self._written(update, rows, bar)
        return update

    def _alone(self) -> Region | None:
        """Return where the transcript is; None where something else may be there, too."""
        transcript = self._transcript
        place = self.visible_widgets.get(transcript) if transcript is not None else None
        if transcript is not None and place is not None and place[1].contains_region(place[0]):
            own = {transcript, transcript.vertical_scrollbar, *transcript.ancestors}
            others = (at for widget, (at, _) in self.visible_widgets.items() if widget not in own)
            high, wide = len(transcript.rows_in_view()), transcript.scrollbar_size_vertical
            if (high, wide) == (place[0].height, 1) and not any(map(place[0].overlaps, others)):
                return place[0]
        self.forget()
        return None

    def _wanted(self) -> tuple[list[Strip], list[Strip]]:
        """Return the rows that are to be in view, and those of the scrollbar."""
        assert self._transcript is not None  # noqa: S101 - asked only then
        rows = self._transcript.rows_in_view()
        bar = self._transcript.vertical_scrollbar.render_lines(Region(0, 0, 1, len(rows)))
        return [*rows], [*bar]

    def _written(self, update: ChopsUpdate | None, rows: list[Strip], bar: list[Strip]) -> None:
        """Note which rows an update writes."""
        region, shown, thumb = self._region, [*self._rows], [*self._bar]
        for y, left, right in update.spans if update is not None else ():
            if 0 <= (row := y - region.y) < len(rows):
                whole = left <= region.x and right >= region.right - 1
                if left < region.right - 1:
                    shown[row] = rows[row] if whole else None
                if right >= region.right:
                    thumb[row] = bar[row]
        self._rows, self._bar = shown, thumb


class ChatScreen(Screen[None]):
    """The screen that the conversation is on. A widget draws itself when it gets the focus."""

    focused: Reactive[Widget | None] = Reactive(None, repaint=False)  # Textual's draws all

    def __init__(self, transcript: Transcript | None = None) -> None:
        super().__init__(id="_default")  # as Textual calls it
        self._compositor: ChangedOnly = ChangedOnly(transcript)

    def _update_focus_styles(
        self, focused: Widget | None = None, blurred: Widget | None = None
    ) -> None:
        """Style what the focus is within; what has it or had it is styled when it hears of that."""
        chains = (widget.ancestors_with_self for widget in (focused, blurred) if widget is not None)
        within = {node for chain in chains for node in chain if node._has_focus_within}  # noqa: SLF001
        if within:
            self.app.stylesheet.update_nodes(within)

    def on_screen_suspend(self) -> None:
        """Forget what the terminal shows: another screen writes to it."""
        self._compositor.forget()


class FrugalApp(App[None]):
    """An app whose styles do not ask whether the terminal has the focus: `test_frugal` sees to it.

    Nor does the style of a widget ask whether one above it has the focus within.
    What has the focus in it is still styled by that, and draws itself.
    """

    app_focus = Reactive(True, compute=False, repaint=False)

    def get_default_screen(self) -> Screen[Any]:
        """Return the screen below all others."""
        return ChatScreen()

    def _watch_app_focus(self, focus: bool) -> None:  # noqa: FBT001 - Textual's
        """Take the focus from the widget that has it, or give it back. No other changes."""
        last, self._last_focused_on_app_blur = self._last_focused_on_app_blur, None
        if not focus:
            self._last_focused_on_app_blur = self.screen.focused
            self.screen.set_focus(None)
        elif last is not None and self.screen.focused is None:
            try:
                there = last.screen is self.screen
            except NoScreen:  # it is gone
                return
            if there:  # it need not come into view
                self.screen.set_focus(last, scroll_visible=False, from_app_focus=True)
