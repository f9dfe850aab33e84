"""Looks: the theme, remembered; a light one where the terminal is light and none was chosen."""

from typing import Final

from textual.theme import Theme

from runner.base.text import clean_name
from runner.tui.actions import Action
from runner.tui.wings.wing import Wing

LIGHT: Final = "textual-light"


class Looks(Wing):
    """Chooses the theme."""

    title = "Looks"

    def started(self) -> None:
        """Take the remembered theme, or else the one that fits the terminal."""
        chat = self.chat
        chosen = chat.settings.now.theme
        if chosen in chat.available_themes:
            chat.theme = chosen
        elif chat.background.light:
            chat.theme = LIGHT
        self._shown = chat.theme
        chat.theme_changed_signal.subscribe(chat, self._changed)

    def _changed(self, theme: Theme) -> None:
        if theme.name != self._shown:
            self._shown = theme.name
            self.chat.remember(theme=theme.name)

    def choose(self, name: str) -> None:
        """Change the theme, or choose from a list."""
        if not name:
            self.chat.action_change_theme()
        elif name.lower() in self.chat.available_themes:
            self.chat.theme = name.lower()
        else:
            self.chat.hint(f"No theme is called {clean_name(name)}: /theme lists them.")

    actions = (Action("looks.theme", "change the colors", choose, "theme", "[NAME]"),)
