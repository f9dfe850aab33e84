"""Switches: what of a chat can be changed while it goes: the temperature, the system prompt."""

from runner.base.errors import UsageError
from runner.tui.costs import reading_again
from runner.tui.shared import SYSTEM, TEMPERATURE
from runner.tui.typed_choices import NONE, temperature_text, temperature_typed
from runner.tui.wings.composing import Composing
from runner.tui.wings.wing import Wing


class Switches(Wing):
    """Changes the chat's own settings, which are saved with it."""

    title = "Settings"

    def set_temperature(self, typed: str) -> None:
        """Set the sampling temperature of this chat; say how it is now."""
        chat = self.chat
        try:
            if typed:
                self._choose(temperature=temperature_typed(typed))
        except UsageError as error:
            chat.composer.give_back(f"/temperature {typed}", ())
            chat.problem(error)
            return
        chosen = chat.conversation.chosen.temperature
        chat.hint(temperature_text(chosen, chat.options.temperature))

    def set_system(self, typed: str) -> None:
        """Set the system prompt of this chat, or edit it."""
        if typed:
            self._set_text("" if typed.lower() == NONE else typed)
        else:
            self.chat.wing(Composing).edit(self.chat.conversation.chosen.system, self._set_text)

    def _set_text(self, text: str) -> None:
        chat, text = self.chat, text.strip()
        if text == chat.conversation.chosen.system:
            chat.hint("The system prompt is as it was." if text else "There is no system prompt.")
            return
        self._choose(system=text)
        what = "The system prompt is changed." if text else "There is no system prompt any more."
        chat.hint(f"{what}{reading_again(chat)}")

    def _choose(self, **settings: str | float | None) -> None:
        self.chat.conversation.choose(**settings)
        self.chat.unsent.save_soon()

    actions = (TEMPERATURE.by(set_temperature), SYSTEM.by(set_system))
