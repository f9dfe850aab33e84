"""The chat as the user drives it: typing, pictures, slash commands, keys."""

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from textual import on
from textual.message import Message
from textual.widgets import TextArea

from runner.base.errors import Refused, SteprunError, UsageError
from runner.base.files import write_private
from runner.chat.images.load import load_picture
from runner.chat.turn import to_markdown
from runner.chat.wire import EFFORTS, Picture
from runner.tui.clipboard import copy_by_program
from runner.tui.composer import PASTE_BYTES, PICTURES, Prompt
from runner.tui.paste import picture_paths
from runner.tui.slash_commands import Command, parse_command
from runner.tui.talking import ChatTalk
from runner.tui.turnview import Thought

TWICE_S = 3.0  # two presses of Ctrl+C within it quit


class ChatApp(ChatTalk):
    """The chat. `ChatApp(setup).run()`; then `return_code`, `failure` and `farewell`."""

    @dataclass
    class PicturesRead(Message):
        """Pictures were read, or could not be. `typed`: what to give back on an error."""

        pictures: list[Picture]
        errors: list[SteprunError]
        typed: str

    _asked_to_quit_at = float("-inf")
    _send_when_read = False

    async def on_mount(self) -> None:
        """Attach the pictures that the command line named. The rest is `ChatTalk`'s."""
        if self.setup.pictures:
            self._read([str(path) for path in self.setup.pictures])

    # --- the composer ------------------------------------------------------------------------

    @on(Prompt.Sent)
    async def _sent(self) -> None:
        text = self.composer.text
        if self.composer.empty:
            return
        typed = parse_command(text)
        if typed is not None and typed.command is None:
            error = UsageError(
                f"There is no command /{typed.name}.",
                next=f"The nearest is /{typed.nearest}; a blank before the / makes it a message",
            )
            self.problem(error)
        elif typed is not None and typed.command is not None:
            self.composer.prompt.clear()
            self.run_command(typed.command, typed.args)
        elif paths := self._paths(text):
            self.composer.prompt.clear()
            self._read(paths, typed=text)
        elif self._reading:
            self._send_when_read = True
            self.hint("Sent as soon as the picture is read.")
        elif self.busy:
            self.hint("Still answering: Esc stops it.")
        else:
            await self._send()

    async def _send(self) -> None:
        if self.composer.empty or self.busy:
            return
        turn = self.conversation.append(*self.composer.take())
        self.conversation.keep_draft("", ())
        await self.transcript.added()
        await self.ask(turn)

    @on(TextArea.Changed)
    def _typed(self) -> None:
        self.unsent_changed()

    @on(Prompt.Emptied)
    def _emptied(self) -> None:
        self.composer.detach()

    @on(Prompt.Pasted)
    def _pasted(self, message: Prompt.Pasted) -> None:
        size = len(message.text.encode("utf-8", "replace"))
        if size > PASTE_BYTES:
            self.problem(
                Refused(
                    "The pasted text is too long.",
                    why=f"It has {size:,} bytes; {PASTE_BYTES:,} is the most.",
                    next="Paste a part of it",
                )
            )
        elif self.setup.sees and (paths := self._paths(message.text)):
            self._read(paths)
        else:
            if self._paths(message.text):
                self.problem(self._blind())
            self.composer.insert(message.text)

    def _paths(self, text: str) -> list[str]:
        return picture_paths(text, _is_file, windows=sys.platform == "win32", home=str(Path.home()))

    # --- pictures ----------------------------------------------------------------------------

    def _blind(self) -> SteprunError:
        return Refused(
            "This chat takes no pictures.",
            why=self.setup.blind_why or "The model does not see.",
            next="Go on with text",
        )

    def _read(self, paths: Sequence[str], *, typed: str = "") -> None:
        """Read pictures in a thread, or say why not."""
        if not self.setup.sees:
            self.problem(self._blind())
            if typed:
                self.composer.give_back(typed, ())
            return
        self._reading += 1
        self.show_status()
        self.run_worker(self._read_pictures(paths, typed), group="pictures", exit_on_error=False)

    async def _read_pictures(self, paths: Sequence[str], typed: str) -> None:
        result = self.PicturesRead([], [], typed)
        for path in paths[:PICTURES]:
            try:
                result.pictures.append(await asyncio.to_thread(load_picture, Path(path)))
            except SteprunError as error:
                result.errors.append(error)
        self.post_message(result)

    @on(PicturesRead)
    async def _pictures_read(self, message: PicturesRead) -> None:
        self._reading -= 1
        errors = list(message.errors)
        left_out = sum(not self.composer.attach(picture) for picture in message.pictures)
        if left_out:
            errors.append(
                Refused(
                    f"A message takes {PICTURES} pictures.",
                    why=f"{left_out} more were left out.",
                    next="Send these, then the others",
                )
            )
        if errors:
            self._send_when_read = False
            self.problem(*errors)
            if message.typed and not message.pictures:
                self.composer.give_back(message.typed, ())
        elif self._send_when_read and not self._reading:
            self._send_when_read = False
            await self._send()
        self.unsent_changed()
        self.show_status()

    # --- commands (see commands.py) ----------------------------------------------------------

    def run_command(self, command: Command, args: str) -> None:
        """Carry a slash command out."""
        if command.needs_args and not args:
            self.composer.give_back(f"/{command.name} ", ())
            self.problem(UsageError(f"Type {command.usage}", why=f"{command.sentence}."))
            return
        command.handler(self, args)

    def attach(self, path: str) -> None:
        """Attach a picture file, or several."""
        paths = self._paths(path) or [str(Path(path).expanduser())]
        self._read(paths, typed=f"/image {path}")

    def detach(self, number: str) -> None:
        """Take a picture off again."""
        which = int(number) if number.isdecimal() else 0
        if (number and not which) or not self.composer.detach(which):
            self.hint("There is no such picture.")
        self.unsent_changed()

    def set_effort(self, effort: str) -> None:
        """Think less or more, from the next question on."""
        if effort.lower() not in EFFORTS:
            self.composer.give_back(f"/effort {effort}", ())
            self.problem(UsageError(f"There is no effort {effort[:40]!r}.", next="/effort low"))
            return
        self.options = replace(self.options, effort=effort.lower())
        self.hint(f"Effort is {effort.lower()} from the next question on.")

    def toggle_thinking(self) -> None:
        """Show or hide the thinking."""
        self.call_later(self.action_toggle_thinking)

    @on(Thought.Toggled)
    async def _thought_clicked(self) -> None:
        await self.action_toggle_thinking()

    def start_new(self) -> None:
        """Begin a new conversation; the old one can be resumed."""
        self.call_later(self._start_new)

    async def _start_new(self) -> None:
        if self.busy:
            self.hint("Still answering: Esc stops it.")
            return
        old = self.conversation.session.id if self.conversation.saved else ""
        self.conversation.start_new()
        self.transcript.notice(None)
        await self.transcript.show_turns(self.conversation.turns, opened=False)
        self.hint(f"New. The old one: --resume {old}" if old else "New.")

    def retry(self) -> None:
        """Ask the last question again; start the engine again where it is gone."""
        self.call_later(self._retry)

    async def _retry(self) -> None:
        if self.busy:
            self.hint("Still answering: Esc stops it.")
        elif (turn := self.conversation.retriable()) is not None:
            self.transcript.follow()
            await self.ask(turn, again=True)
        elif not self.keeper.alive() and not self.keeper.loading:
            self.transcript.notice(None)
            await self.keeper.restart()
            self.show_status()
        else:
            self.hint("There is nothing to ask again.")

    def copy_answer(self) -> None:
        """Copy the last answer as it was written, in Markdown."""
        answer = self.conversation.last_answer()
        if answer:
            self.copy(answer)
        else:
            self.hint("There is no answer to copy.")

    def copy(self, text: str) -> None:
        """Copy by the terminal and, where there is one, by the system's program."""
        self.copy_to_clipboard(text)
        self.run_worker(copy_by_program(text), group="copy", exit_on_error=False)
        self.hint(f"Copied {len(text):,} characters.")

    def save_as(self, path: str) -> None:
        """Write the conversation to a new Markdown file."""
        try:
            target = _write_new(path, to_markdown(self.conversation.turns, self.setup.title))
        except Refused as error:
            self.composer.give_back(f"/save {path}", ())
            self.problem(Refused(error.what, why=error.why, next="Name another file"))
        else:
            self.hint(f"Saved to {target}")

    def leave(self) -> None:
        """End the chat."""
        self.call_later(self.action_quit)

    # --- keys --------------------------------------------------------------------------------

    async def action_stop_answer(self) -> None:
        """Stop the answer, or take a waiting message back."""
        turn = self._queued
        if turn is not None and not self._queued_again:
            self._queued = None
            await self._take_back(turn)
            self.show_status()
        elif not await self.stop_answer():
            self.screen.clear_selection()

    async def action_interrupt(self) -> None:
        """Copy what is selected; else stop the answer; else ask. Twice in a row quits."""
        now = time.monotonic()
        prompt = self.composer.prompt
        selected = prompt.selected_text or self.screen.get_selected_text() or ""
        if selected:
            self.copy(selected)
            self.screen.clear_selection()
            prompt.selection = type(prompt.selection).cursor(prompt.cursor_location)
            return
        if now - self._asked_to_quit_at < TWICE_S:
            await self.action_quit()
            return
        self._asked_to_quit_at = now
        if await self.stop_answer():
            self.hint("Stopped. Ctrl+C again quits.")
        elif self.composer.empty:
            self.hint("Ctrl+C again quits.")
        else:
            self.hint("Ctrl+C again quits; what you typed is kept.")


def _write_new(typed: str, text: str) -> Path:
    """Write a file that is not there yet; return where. Raises `Refused`."""
    try:
        path = Path(typed).expanduser()
        if os.path.lexists(path):  # a link that leads nowhere is there too
            raise Refused(f"{typed} exists already.")
        if not path.parent.is_dir():  # a mistyped folder is not to be made
            raise Refused(f"{typed} cannot be written.", why=f"There is no folder {path.parent}.")
        write_private(path, text)
    except (OSError, ValueError, RuntimeError) as error:  # no home, an impossible name
        raise Refused(f"{typed} cannot be written.", why=str(error)) from error
    return path


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False
