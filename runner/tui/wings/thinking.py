"""Thinking: whether the reasoning is shown, and how much of it the model does."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from textual.message import Message

from runner.base.errors import UsageError
from runner.chat.wire import EFFORTS
from runner.tui.shared import DEFAULT_EFFORT, EFFORT, THINK
from runner.tui.turnview import ThoughtToggled
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
        efforts = (DEFAULT_EFFORT, *EFFORTS)
        now = efforts.index(self.chat.options.effort or DEFAULT_EFFORT)
        chosen = effort.lower() or efforts[(now + 1) % len(efforts)]
        if chosen not in efforts:
            self.chat.composer.give_back(f"/effort {effort}", ())
            self.chat.problem(
                UsageError(f"{effort[:40]!r} is not a reasoning effort.", next="/effort low")
            )
            return
        sent = "" if chosen == DEFAULT_EFFORT else chosen
        self.chat.options = replace(self.chat.options, effort=sent or None)
        self.chat.remember(effort=sent)
        self.chat.show_status()
        self.chat.hint(f"Reasoning effort: {chosen}, from the next question on.")

    actions = (
        THINK.by(toggle, keys=("ctrl+t",), priority=True),
        EFFORT.by(set_effort, keys=("shift+tab",), priority=True),
    )
    hears: ClassVar[Mapping[type[Message], Hear]] = {ThoughtToggled: toggle}
