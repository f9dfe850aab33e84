"""The chat's screen: Textual's own, which draws and styles no more widgets than have changed.

At each update Textual renders every widget that is in view, for a tick of an answer the composer,
the status line and the panels as well, and when the terminal gets or loses the focus it matches
every widget with every rule of the stylesheet. Both cost more than what has changed.
"""

from collections.abc import Iterable
from typing import Any

from textual._compositor import Compositor
from textual.app import App
from textual.dom import NoScreen
from textual.geometry import Region
from textual.screen import Screen
from textual.strip import Strip


class ChangedOnly(Compositor):
    """Renders the widgets that a changed region touches."""

    def _get_renders(
        self, crop: Region | None = None
    ) -> Iterable[tuple[Region, Region, list[Strip]]]:
        for widget, (region, clip) in self.visible_widgets.items():
            shown = region.intersection(clip)
            if shown and (crop is None or crop.overlaps(shown)):
                yield region, clip, widget.render_lines(shown.translate(-region.offset))


class ChatScreen(Screen[None]):
    """The screen that the conversation is on."""

    def __init__(self) -> None:
        super().__init__(id="_default")  # as Textual calls it
        self._compositor = ChangedOnly()


class FrugalApp(App[None]):
    """An app whose styles do not ask whether the terminal has the focus: `test_frugal` sees to it.

    What has the focus in it is still styled by that.
    """

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
