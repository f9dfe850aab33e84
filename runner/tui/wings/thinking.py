"""Thinking: whether the reasoning is shown, and how much of it the model does."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from textual.message import Message

from runner.base.errors import Refused, UsageError
from runner.chat.wire import EFFORTS
from runner.tui.actions import Action
from runner.tui.costs import reading_again
from runner.tui.settings import THINKING_DIGITS
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
        # Step's template says it at the beginning of the prompt.
        price = reading_again(self.chat) if self.chat.setup.prices else ""
        self.chat.hint(f"Reasoning effort: {chosen}, from the next question on.{price}")

    def limit(self, typed: str) -> None:
        """Limit the tokens of the thinking, from the next question on; say how it is now."""
        chat, word = self.chat, typed.lower()
        if not word:
            chat.hint(_limit_text(chat.options.thinking_cap))
        elif word != DEFAULT_EFFORT and not (word.isdecimal() and len(word) <= THINKING_DIGITS):
            chat.composer.give_back(f"/thinking {typed}", ())
            chat.problem(
                UsageError(f"{typed[:40]!r} is not a number of tokens.", next="/thinking 4096")
            )
        elif word != DEFAULT_EFFORT and not chat.options.dialect.thinking_cap:
            chat.problem(
                Refused(
                    "This server takes no limit on thinking.",
                    why=f"It is {chat.options.dialect.name}.",
                    next="/effort low",
                )
            )
        else:
            cap = None if word == DEFAULT_EFFORT else int(word)
            chat.options = replace(chat.options, thinking_cap=cap)
            chat.remember(max_thinking="" if cap is None else str(cap))
            chat.hint(_limit_text(cap))

    actions = (
        THINK.by(toggle, keys=("ctrl+t",), priority=True),
        EFFORT.by(set_effort, keys=("shift+tab",), priority=True),
        Action(
            "chat.max-thinking",
            "limit the thinking to so many tokens, 0 for none, or default for no limit",
            limit,
            *("thinking", f"[N|{DEFAULT_EFFORT}]"),
        ),
    )
    hears: ClassVar[Mapping[type[Message], Hear]] = {ThoughtToggled: toggle}


def _limit_text(cap: int | None) -> str:
    if cap is None:
        return "The thinking has no limit: /thinking N sets one."
    return f"The thinking ends after {cap:,} tokens, from the next question on."
