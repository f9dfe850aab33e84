"""Copying: the last answer, or what is selected."""

from functools import partial

from runner.tui.actions import Action
from runner.tui.clipboard import copy_by_program
from runner.tui.wings.wing import Wing


class Copying(Wing):
    """Puts texts of the conversation on the clipboard."""

    title = "Copy"

    def copy_answer(self, _: str) -> None:
        """Copy the last answer as it was written, in Markdown."""
        answer = self.chat.conversation.last_answer()
        if answer:
            self.copy(answer)
        else:
            self.chat.hint("No answer to copy.")

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

    actions = (Action("copy.answer", "copy the last answer", copy_answer, command="copy"),)
