"""The chat as the user drives it: typing, pictures, slash commands, keys."""

import asyncio
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from textual import on
from textual.app import SystemCommand
from textual.message import Message
from textual.screen import Screen
from textual.widgets import TextArea

from runner.base.errors import Refused, SteprunError, UsageError
from runner.base.files import write_private
from runner.chat.export import to_markdown
from runner.chat.images.load import load_picture
from runner.chat.wire import EFFORTS, Picture
from runner.tui.clipboard import copy_by_program
from runner.tui.composer import PASTE_BYTES, PICTURES, Prompt
from runner.tui.paste import find_pictures
from runner.tui.slash_commands import COMMANDS, Command, parse_command
from runner.tui.talking import ChatTalk
from runner.tui.turnview import CopyWanted, ThoughtToggled

TWICE_S = 3.0  # two presses of Ctrl+C within it quit


class ChatApp(ChatTalk):
    """The chat. `ChatApp(setup).run()`; then `return_code`, `failure` and `farewell`."""

    @dataclass
    class PicturesLoaded(Message):
        """Images were loaded, or could not be. `typed`: what to give back on an error."""

        pictures: list[Picture]
        errors: list[SteprunError]
        typed: str

    _asked_to_quit_at = float("-inf")
    _send_when_loaded = False

    async def on_mount(self) -> None:
        """Attach the pictures that the command line named. The rest is `ChatTalk`'s."""
        if self.setup.pictures:
            self._load([str(path) for path in self.setup.pictures])

    # --- the composer ------------------------------------------------------------------------

    @on(Prompt.Sent)
    async def _sent(self) -> None:
        text = self.composer.text
        if self.composer.empty:
            return
        try:
            typed = parse_command(text)
        except UsageError as error:
            self.problem(error)
            return
        if typed is not None:
            self.composer.prompt.clear()
            self.run_command(*typed)
        elif paths := self._paths(text):
            self.composer.prompt.clear()
            self._load(paths, typed=text)
        elif self._loading_pictures:
            self._send_when_loaded = True
            self.hint("Will be sent as soon as the image is loaded.")
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
                    why=f"It has {size:,} bytes; the limit is {PASTE_BYTES:,}.",
                    next="Paste a part.",
                )
            )
        elif self.setup.sees and (paths := self._paths(message.text)):
            self._load(paths)
        else:
            if self._paths(message.text):
                self.problem(self._blind())
            self.composer.insert(message.text)

    def _paths(self, text: str) -> list[str]:
        return find_pictures(text)

    # --- pictures ----------------------------------------------------------------------------

    def _blind(self) -> SteprunError:
        return Refused(
            "This chat cannot take images.",
            why=self.setup.blind_why or "The model has no vision encoder.",
            next="Continue with text.",
        )

    def _load(self, paths: Sequence[str], *, typed: str = "") -> None:
        """Load images in a thread, or show why not."""
        if not self.setup.sees:
            self.problem(self._blind())
            if typed:
                self.composer.give_back(typed, ())
            return
        self._loading_pictures += 1
        self.show_status()
        self.run_worker(self._load_pictures(paths, typed), group="pictures", exit_on_error=False)

    async def _load_pictures(self, paths: Sequence[str], typed: str) -> None:
        result = self.PicturesLoaded([], [], typed)
        for path in paths[:PICTURES]:
            try:
                result.pictures.append(await asyncio.to_thread(load_picture, Path(path)))
            except SteprunError as error:
                result.errors.append(error)
        self.post_message(result)

    @on(PicturesLoaded)
    async def _pictures_loaded(self, message: PicturesLoaded) -> None:
        self._loading_pictures -= 1
        errors = list(message.errors)
        left_out = sum(not self.composer.attach(picture) for picture in message.pictures)
        if left_out:
            errors.append(
                Refused(
                    f"A message can have {PICTURES} images.",
                    why=f"{left_out} more were left out.",
                    next="Send these first, then the others.",
                )
            )
        if errors:
            self._send_when_loaded = False
            self.problem(*errors)
            if message.typed and not message.pictures:
                self.composer.give_back(message.typed, ())
        elif self._send_when_loaded and not self._loading_pictures:
            self._send_when_loaded = False
            await self._send()
        self.unsent_changed()
        self.show_status()

    # --- commands (see slash_commands.py) ----------------------------------------------------

    def run_command(self, command: Command, args: str) -> None:
        """Run a slash command."""
        if command.needs_args and not args:
            self.composer.give_back(f"/{command.name} ", ())
            self.problem(UsageError(f"Type {command.usage}.", why=f"{command.sentence}."))
            return
        self.call_later(getattr(self, f"slash_{command.name}"), args)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Put the slash commands on the palette, and the choice of a theme."""
        del screen
        for command in COMMANDS:
            yield SystemCommand(
                f"/{command.name}", command.sentence, partial(self._choose, command)
            )
        yield SystemCommand("Theme", "Change the colours", self.action_change_theme)

    def _choose(self, command: Command) -> None:
        if command.needs_args:  # the user types the rest
            self.composer.insert(f"/{command.name} ")
            self.composer.prompt.focus()
        else:
            self.run_command(command, "")

    def slash_image(self, path: str) -> None:
        """Attach an image file, or several."""
        paths = self._paths(path) or [os.path.expanduser(path)]  # noqa: PTH111 - Path raises for `~nobody`
        self._load(paths, typed=f"/image {path}")

    def slash_detach(self, number: str) -> None:
        """Remove an image."""
        which = int(number) if number.isdecimal() else 0
        if (number and not which) or not self.composer.detach(which):
            self.hint("No such image.")
        self.unsent_changed()

    def slash_effort(self, effort: str) -> None:
        """Set the reasoning effort, from the next question on."""
        if effort.lower() not in EFFORTS:
            self.composer.give_back(f"/effort {effort}", ())
            self.problem(
                UsageError(f"{effort[:40]!r} is not a reasoning effort.", next="/effort low")
            )
            return
        self.options = replace(self.options, effort=effort.lower())
        self.hint(f"Reasoning effort: {effort.lower()}, from the next question on.")

    @on(CopyWanted)
    def _copy_wanted(self, message: CopyWanted) -> None:
        self.copy(message.text)

    @on(ThoughtToggled)
    async def slash_think(self, _: object) -> None:
        """Show or hide the reasoning."""
        await self.action_toggle_thinking()

    async def slash_new(self, _: str) -> None:
        """Start a new chat; the previous one can be resumed."""
        if self.busy:
            self.hint("Still answering: Esc stops it.")
            return
        old = self.conversation.session.id if self.conversation.saved else ""
        self.conversation.start_new()
        self.transcript.notice(None)
        await self.transcript.show_turns(self.conversation.turns, opened=False)
        self.hint(f"New chat. The previous one: --resume {old}" if old else "New chat.")

    async def slash_retry(self, _: str) -> None:
        """Ask the last question again; start the engine again where it is gone."""
        if self.busy:
            self.hint("Still answering: Esc stops it.")
        elif (turn := self.conversation.retriable()) is not None:
            self.transcript.follow()
            await self.ask(turn, again=True)
        elif not self.host_task.alive() and not self.host_task.loading:
            self.transcript.notice(None)
            await self.host_task.restart()
            self.show_status()
        else:
            self.hint("Nothing to ask again.")

    def slash_copy(self, _: str) -> None:
        """Copy the last answer as it was written, in Markdown."""
        answer = self.conversation.last_answer()
        if answer:
            self.copy(answer)
        else:
            self.hint("No answer to copy.")

    def copy(self, text: str) -> None:
        """Copy by the terminal and, where there is one, by the system's program."""
        self.copy_to_clipboard(text)
        copy = partial(copy_by_program, text)
        self.run_worker(copy, thread=True, group="copy", exit_on_error=False)
        self.hint(f"Copied {len(text):,} characters.")

    def slash_save(self, path: str) -> None:
        """Write the conversation to a new Markdown file."""
        try:
            target = _write_new(path, to_markdown(self.conversation.turns, self.setup.title))
        except Refused as error:
            self.composer.give_back(f"/save {path}", ())
            self.problem(Refused(error.what, why=error.why, next="Choose another file."))
        else:
            self.hint(f"Saved to {target}")

    def slash_help(self, _: str) -> None:
        """Show commands and keys."""
        self.action_show_help()

    async def slash_quit(self, _: str) -> None:
        """End the chat."""
        await self.action_quit()

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
            self.hint("Ctrl+C again quits; your text is kept.")


def _write_new(typed: str, text: str) -> Path:
    """Write a new file; return its path. Raises `Refused`, also where one exists."""
    try:
        path = Path(typed).expanduser()
        if os.path.lexists(path):  # a dangling link exists, too
            raise Refused(f"{typed} already exists.")
        if not path.parent.is_dir():  # a mistyped folder is not to be made
            raise Refused(
                f"{typed} cannot be written.", why=f"The folder {path.parent} does not exist."
            )
        write_private(path, text)
    except (OSError, ValueError, RuntimeError) as error:  # no home, an impossible name
        raise Refused(f"{typed} cannot be written.", why=f"{error}.") from error
    return path
