"""Thinking: whether the reasoning is shown, and how much of it the model does."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from textual.message import Message

from runner.base.errors import UsageError
from runner.chat.wire import EFFORTS
from runner.tui.actions import Action
from runner.tui.turnview import Thought
from runner.tui.wings.wing import Hear, Wing


class Thinking(Wing):
    """Shows and hides the reasoning, and sets the effort."""

    title = "Reasoning"

    async def toggle(self, _: object) -> None:
        """Show or hide the reasoning."""
        await self.chat.action_toggle_thinking()

    def set_effort(self, effort: str) -> None:
        """Set the reasoning effort, from the next question on."""
        if effort.lower() not in EFFORTS:
            self.chat.composer.give_back(f"/effort {effort}", ())
            self.chat.problem(
                UsageError(f"{effort[:40]!r} is not a reasoning effort.", next="/effort low")
            )
            return
        self.chat.options = replace(self.chat.options, effort=effort.lower())
        self.chat.hint(f"Reasoning effort: {effort.lower()}, from the next question on.")

    actions = (
        Action(
            *("chat.thinking", "show or hide the reasoning", toggle, "think"),
            keys=("ctrl+t",),
            priority=True,
        ),
        Action(
            "chat.effort",
            f"set the reasoning effort: {', '.join(EFFORTS)}",
            set_effort,
            *("effort", "LEVEL"),
            needs_args=True,
        ),
    )
    hears: ClassVar[Mapping[type[Message], Hear]] = {Thought.Toggled: toggle}
