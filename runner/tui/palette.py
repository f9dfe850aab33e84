"""The palette's search: what one types finds the command of that name first."""

from typing import Final

from textual import on
from textual.command import CommandPalette, Hit, Hits
from textual.system_commands import SystemCommandsProvider
from textual.widgets import OptionList

from runner.tui.overlay import Overlay

_BAND: Final = 1000.0  # more than the fuzzy match of any title comes to


def rank(typed: str, title: str, about: str) -> int:
    """Return how well an action answers to what is typed: the greater, the better. Pure.

    `title`: its command with the slash, or what it does; `about`: the help's words. 4: its name, 3:
    begins with it, 2: has it, 1: a word of what it does begins with it, 0: none of these.
    """
    wanted = " ".join(typed.lower().split()).removeprefix("/")
    name = title.lower().removeprefix("/")
    if not wanted:
        return 0
    if name == wanted:
        return 4
    if name.startswith(wanted):
        return 3
    if wanted in name:
        return 2
    return int(f" {wanted}" in f" {about.lower()}")


class ActionPalette(SystemCommandsProvider):
    """Finds the chat's actions by their names, by their descriptions and by letters of a name."""

    async def search(self, query: str) -> Hits:
        """Yield the actions that match."""
        matcher = self.matcher(query)
        for title, about, callback, *_ in self.app.get_system_commands(self.screen):
            score = rank(query, title, str(about)) * _BAND + matcher.match(title)
            if score > 0:
                yield Hit(score, matcher.highlight(title), callback, help=about)


class Palette(CommandPalette, Overlay[None]):
    """The palette: what is chosen is run once, however often Enter is pressed."""

    @on(OptionList.OptionSelected)
    def _chosen_again(self, event: OptionList.OptionSelected) -> None:
        if not self.is_current:
            event.stop()
            event.prevent_default()
