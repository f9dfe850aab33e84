"""Thinking: whether the reasoning is shown, and how much of it the model does."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from textual.message import Message

from runner.base.errors import SteprunError, UsageError
from runner.tui.costs import reading_again
from runner.tui.shared import EFFORT, MAX_THINKING, THINK
from runner.tui.turnview import ThoughtToggled
from runner.tui.typed_choices import DEFAULT, effort_typed, limit_text, limit_typed
from runner.tui.wings.wing import Hear, Wing


class Thinking(Wing):
    """Shows and hides the reasoning, and sets the effort. Both are remembered."""

    title = "Reasoning"

    async def toggle(self, _: object) -> None:
        """Show or hide the reasoning."""
        await self.chat.action_toggle_thinking()
        self.chat.remember(thinking=self.chat.thinking)

    def set_effort(self, effort: str) -> None:
        """Set the reasoning effort, from the next question on; the next one without a name."""
        try:
            chosen = effort_typed(effort, self.chat.options.effort)
        except UsageError as error:
            self.chat.composer.give_back(f"/effort {effort}", ())
            self.chat.problem(error)
            return
        sent = "" if chosen == DEFAULT else chosen
        self.chat.options = replace(self.chat.options, effort=sent or None)
        self.chat.remember(effort=sent)
        self.chat.show_status()
        # Step's template says it at the beginning of the prompt.
        price = reading_again(self.chat) if self.chat.setup.prices else ""
        self.chat.hint(f"Reasoning effort: {chosen}, from the next question on.{price}")

    def limit(self, typed: str) -> None:
        """Limit the tokens of the thinking, from the next question on; say how it is now."""
        chat = self.chat
        if not typed:
            chat.hint(limit_text(chat.options.thinking_cap))
            return
        try:
            cap = limit_typed(typed, chat.options.dialect)
        except SteprunError as error:
            if isinstance(error, UsageError):
                chat.composer.give_back(f"/thinking {typed}", ())
            chat.problem(error)
            return
        chat.options = replace(chat.options, thinking_cap=cap)
        chat.remember(max_thinking="" if cap is None else str(cap))
        chat.hint(limit_text(cap))

    actions = (
        THINK.by(toggle, keys=("ctrl+t",), priority=True),
        EFFORT.by(set_effort, keys=("shift+tab",), priority=True),
        MAX_THINKING.by(limit),
    )
    hears: ClassVar[Mapping[type[Message], Hear]] = {ThoughtToggled: toggle}
