"""Switches: what of a chat can be changed while it goes: the temperature, the system prompt."""

from typing import Final

from runner.base.errors import UsageError
from runner.chat.sessions.choices import HOTTEST
from runner.tui.actions import Action
from runner.tui.costs import reading_again
from runner.tui.wings.composing import Composing
from runner.tui.wings.wing import Wing

DEFAULT: Final = "default"
NONE: Final = "none"


class Switches(Wing):
    """Changes the chat's own settings, which are saved with it."""

    title = "Settings"

    def set_temperature(self, typed: str) -> None:
        """Set the sampling temperature of this chat; say how it is now."""
        chat, word = self.chat, typed.lower()
        if word == DEFAULT:
            self._choose(temperature=None)
        elif word:
            try:
                value = float(word.replace(",", "."))
            except ValueError:
                value = -1.0
            if not 0 <= value <= HOTTEST:
                chat.composer.give_back(f"/temperature {typed}", ())
                chat.problem(
                    UsageError(
                        f"{typed[:40]!r} is not a temperature.",
                        why=f"It is a number from 0 to {HOTTEST:g}; 0 always takes the likeliest.",
                        next="/temperature 0.7",
                    )
                )
                return
            self._choose(temperature=value)
        chosen = chat.conversation.chosen.temperature
        now = chat.options.temperature if chosen is None else chosen
        chat.hint(f"Temperature: {'the default' if now is None else f'{now:g}'}, in this chat.")

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

    actions = (
        Action(
            "chat.temperature",
            f"set the sampling temperature of this chat; 0 always takes the likeliest word, "
            f"{DEFAULT} is the server's own",
            set_temperature,
            *("temperature", f"[X|{DEFAULT}]"),
        ),
        Action(
            "chat.system",
            "set the system prompt of this chat, or write it in your own editor",
            set_system,
            *("system", f"[TEXT|{NONE}]"),
        ),
    )
