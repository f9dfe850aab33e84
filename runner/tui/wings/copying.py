"""Copying: answers, their code blocks and reasoning, or what is selected."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import ClassVar, Final

from textual.message import Message

from runner.base.errors import UsageError
from runner.chat.fences import fenced_code
from runner.tui.actions import Action
from runner.tui.chooser import Choice, Chooser
from runner.tui.clipboard import copy_by_program
from runner.tui.turnview import CopyWanted
from runner.tui.wings.wing import Hear, Wing

SEARCHED_CHARS: Final = 300_000  # of the newest answers, for code: parsing takes some 0.2 s then
KINDS: Final = ("answer", "code", "thinking")


class Copying(Wing):
    """Puts texts of the conversation on the clipboard."""

    title = "Copying"

    def copy_last(self, what: str) -> None:
        """Copy the last answer as it was written, its last code block, or its reasoning."""
        kind = what.lower() or "answer"
        if kind not in KINDS:
            self.chat.composer.give_back(f"/copy {what}", ())
            self.chat.problem(
                UsageError(
                    f"{what[:40]!r} cannot be copied.",
                    next="Type /copy answer, /copy code or /copy thinking.",
                )
            )
            return
        found = next((each.value for each in self._texts() if each.detail.startswith(kind)), None)
        if found is not None:
            self.copy(found)
        else:
            nothing = {"answer": "answer", "code": "code block", "thinking": "reasoning"}[kind]
            self.chat.hint(f"No {nothing} to copy.")

    def choose(self, _: str) -> None:
        """Choose from all answers, code blocks and reasoning what to copy."""
        if texts := list(self._texts()):
            self.chat.push_screen(Chooser("Copy", texts), self._chosen)
        else:
            self.chat.hint("Nothing to copy yet.")

    def _chosen(self, text: str | None) -> None:
        if text is not None:
            self.copy(text)

    def _texts(self) -> Iterator[Choice]:
        """Yield what can be copied, the newest first; of an answer its last code block first."""
        left = SEARCHED_CHARS
        for turn in reversed(self.chat.conversation.turns):
            if turn.answered:
                yield Choice(turn.answer.strip(), turn.answer.strip(), "answer")
                left -= len(turn.answer)
                for block in reversed(fenced_code(turn.answer) if left > 0 else []):
                    count = block.text.count("\n") + 1
                    lines = f"{count:,} lines" if count > 1 else "1 line"
                    detail = " · ".join(filter(None, ("code", block.language[:20], lines)))
                    yield Choice(block.text, block.text, detail)
            if turn.reasoning.strip():
                yield Choice(turn.reasoning.strip(), turn.reasoning.strip(), "thinking")

    def copy_selected(self) -> bool:
        """Copy what is selected, in the composer or on the screen. False: nothing is."""
        prompt, screen = self.chat.composer.prompt, self.chat.screen
        selected = prompt.selected_text or screen.get_selected_text() or ""
        if selected:
            self.copy(selected)
            screen.clear_selection()
            prompt.selection = type(prompt.selection).cursor(prompt.cursor_location)
        return bool(selected)

    def copy(self, text: str) -> None:
        """Copy by the terminal and, where there is one, by the system's program."""
        self.chat.copy_to_clipboard(text)
        copy = partial(copy_by_program, text)
        self.chat.run_worker(copy, thread=True, group="copy", exit_on_error=False)
        self.chat.hint(f"Copied {len(text):,} characters.")

    def clicked(self, message: CopyWanted) -> None:
        """Copy what the user clicked on."""
        self.copy(message.text)

    actions = (
        Action(
            "copy.last",
            "copy the last answer, code block or reasoning",
            copy_last,
            *("copy", "[answer|code|thinking]"),
        ),
        Action(
            "copy.choose",
            "choose an answer, a code block or reasoning to copy",
            choose,
            keys=("f2",),
        ),
    )
    hears: ClassVar[Mapping[type[Message], Hear]] = {CopyWanted: clicked}
