"""Files: those that a message mentions are read and priced in the background, and sent along.

A message mentions its files (`@notes.txt`): taking the mention out takes the file out, and a name
that is no file stays text. What was pasted is not trusted to name files: it may be somebody else's.
"""

import asyncio
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from textual.message import Message
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import TextArea

from runner.base.errors import Refused, SteprunError
from runner.base.text import clean_name
from runner.chat.files.attached import PICTURES, Attachment
from runner.chat.files.fitting import needs_count, too_long
from runner.chat.files.mentions import Mention, mention_of, mentions, typed_path
from runner.chat.host_task import HostKnown, HostReady
from runner.tui.composer import Prompt
from runner.tui.mentioned import FileChips, MentionedFile
from runner.tui.paste import PATH_CHARS, find_files
from runner.tui.shared import ATTACH_FILE
from runner.tui.talking import ChatTalk
from runner.tui.wings.versions import Versions
from runner.tui.wings.wing import Hear, Wing

if TYPE_CHECKING:
    from runner.tui.app import ChatApp

LOOK_S: Final = 0.2  # after a key: each letter of a name would be another file
READERS: Final = 2  # files read at once


class Files(Wing):
    """Attaches the files that a message mentions."""

    title = "Files"

    def __init__(self, chat: "ChatApp") -> None:
        super().__init__(chat)
        self._chips = FileChips()
        self._files: dict[str, MentionedFile] = {}
        self._pasted: set[str] = set()
        self._timer: Timer | None = None
        self._readers = asyncio.Semaphore(READERS)
        self._ready: str | None = None  # the text whose files are ready to be sent

    def panels(self) -> Iterable[Widget]:
        """Return the lines of the files."""
        return (self._chips,)

    def started(self) -> None:
        """Attach the files that the command line named."""
        if self.chat.setup.files:
            self._mention([str(path) for path in self.chat.setup.files])

    @property
    def _prompt(self) -> Prompt:
        return self.chat.composer.prompt

    # --- mentioning --------------------------------------------------------------------------

    def changed(self, message: TextArea.Changed) -> None:
        """Look for mentions soon."""
        del message
        self.look_soon()

    def look_soon(self) -> None:
        """Look for mentions once the user has stopped typing for a moment."""
        if self._timer is None:
            self._timer = self.chat.set_timer(LOOK_S, self._look_now)

    def pasted(self, message: Prompt.Pasted) -> None:
        """Note what a pasted text mentions: that attaches nothing."""
        if "@" in message.text:
            self._pasted |= {each.name for each in mentions(message.text)}

    def dropped(self, text: str) -> bool:
        """Attach the files that a pasted or dropped text consists of. False: it is just text."""
        paths = find_files(text)
        if paths:
            self._mention(paths)
            self.chat.hint("Attached. To keep a path as text, take its @ away.")
        return bool(paths)

    def trust(self, name: str) -> None:
        """Attach what is mentioned by this name, also where it was pasted before."""
        self._pasted.discard(name)
        if (known := self._files.get(name)) is not None and known.pasted:
            del self._files[name]

    def attach(self, path: str) -> None:
        """Attach a file or a folder that is named."""
        self.chat.run_worker(self._attach(path), group="files", exit_on_error=False)

    async def _attach(self, path: str) -> None:
        name = path.strip().removeprefix("@")
        quoted = len(name) > 1 and name[0] == name[-1] and name[0] in "'\""
        name = name[1:-1] if quoted else name
        found = mentions(mention_of(name))
        place = None
        if len(name) <= PATH_CHARS and found:  # in a thread: a disk far away may not answer
            place = await asyncio.to_thread(lambda: _reader().located(found[0], Path()))
        if place is None:
            self.chat.composer.give_back(f"/attach {path}", ())
            self.chat.problem(
                Refused(f"There is no file {clean_name(name, 80)}.", next="Check the path.")
            )
            return
        self._mention([name])

    def _mention(self, names: Iterable[str]) -> None:
        """Put mentions where the cursor is."""
        prompt = self._prompt
        row, column = prompt.cursor_location
        before = prompt.document.get_line(row)[:column]
        names = [_short(name) for name in names]
        for name in names:
            self.trust(name)
        there = {each.name for each in mentions(prompt.text)}
        text = " ".join(mention_of(name) for name in names if name not in there)
        if text:
            gap = "" if not before or before[-1].isspace() else " "
            self.chat.composer.insert(f"{gap}{text} ")
        self._look()

    # --- reading -----------------------------------------------------------------------------

    def _look_now(self) -> None:
        """Look for mentions, but for the one that is typed now: `@/` may become `@/etc/hosts`."""
        typed = None
        if self._prompt.chooses is not None:
            row, column = self._prompt.cursor_location
            typed = typed_path(self._prompt.document.get_line(row)[:column])
        self._look(typed.path if typed is not None else "")

    def _look(self, typing: str = "") -> None:
        """Begin to read what is mentioned now, and forget what is not any more."""
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        if "@" not in self._prompt.text and not self._files:
            self._pasted.clear()
            self._chips.show([])
            return
        found = {each.name: each for each in mentions(self._prompt.text)}
        self._pasted &= found.keys()
        before, self._files = self._files, {}
        for name, mention in found.items():
            known = before.get(name)
            if known is None and name == typing:
                continue
            if known is None or not known.read.is_set() or known.path is not None:
                self._files[name] = known or self._begin(mention)
            else:
                self._files[name] = self._begin(mention)  # the file may be there by now
        self._show()

    def _begin(self, mention: Mention) -> MentionedFile:
        file = MentionedFile(mention, mention.name in self._pasted)
        self.chat.run_worker(self._read(file), group="files", exit_on_error=False)
        return file

    async def _read(self, file: MentionedFile) -> None:
        name = file.mention.name
        kept = self.chat.composer.kept.get(name)
        file.error = None
        try:
            async with self._readers:
                attaching = await asyncio.to_thread(_reader)
                place = await asyncio.to_thread(attaching.located, file.mention, Path())
                known, file.path = file.path, place[0] if place else None
                self._show()
                if place is None and known is not None:
                    raise attaching.bad(name, "It is gone since it was read.")  # noqa: TRY301 - as below
                if place is None:
                    file.attachment = kept
                elif not file.pasted:
                    sees = self.chat.setup.sees
                    file.attachment = await attaching.attach(
                        name, place[0], place[1].part, sees=sees, pictures=PICTURES
                    )
        except SteprunError as error:
            file.attachment = kept
            file.error = None if kept else error
        except Exception as error:  # noqa: BLE001 - whatever a file does, the message says it
            file.error = SteprunError(
                f"{clean_name(name)} cannot be attached.", why=f"{type(error).__name__}: {error}."
            )
        finally:
            file.read.set()
        self._show()
        self.chat.run_worker(self._count(file), group="files", exit_on_error=False)

    async def _count(self, file: MentionedFile) -> None:
        """Have the engine count the tokens, where there is one that does."""
        found, host = file.attachment, self.chat.host_task.host
        if found is None or host is None or found.file.exact or not found.file.text:
            return
        dialect = self.chat.options.dialect
        pricing = await asyncio.to_thread(import_module, "runner.chat.files.pricing")
        tokens = await pricing.count_tokens(host.endpoint, dialect, found.file.text)
        if tokens is not None and file.attachment is found:
            file.attachment = found.counted(tokens)
            self._show()

    def host_changed(self, message: ChatTalk.HostChanged) -> None:
        """Read anew where it is known now whether the model sees; count where an engine answers."""
        if isinstance(message.event, HostKnown):
            self.chat.call_later(self._read_again)
        elif isinstance(message.event, HostReady):
            for file in self._files.values():
                self.chat.run_worker(self._count(file), group="files", exit_on_error=False)

    def _read_again(self) -> None:
        self._files.clear()
        self._show()
        self._look()

    def _show(self) -> None:
        if not self.chat.is_running or self.chat.leaving:
            return
        rate, prices = self.chat.composer.rate, self.chat.setup.prices
        chips = [file.chip(rate=rate, prices=prices) for file in self._files.values()]
        self._chips.show([chip for chip in chips if chip is not None])

    # --- sending -----------------------------------------------------------------------------

    def holds_back(self) -> bool:
        """Return whether the message has to wait for its files; once they are read it is sent."""
        ready, self._ready = self._ready, None
        composer = self.chat.composer
        if ready == composer.prompt.text:
            self._files.clear()  # it is sent: the same name is read anew in the next message
            self._show()
            return False
        self._look()
        composer.files = composer.file_pictures = ()
        if not self._files:
            return False
        self.chat.run_worker(
            self._settle(), group="files-sent", exclusive=True, exit_on_error=False
        )
        return True

    async def _settle(self) -> None:
        """Wait for the files, read anew what has changed, and send the message or say why not."""
        composer, text = self.chat.composer, self._prompt.text
        files = list(self._files.values())
        if not all(file.read.is_set() for file in files):
            self.chat.hint("Will be sent as soon as its files are read.")
        for file in files:
            await file.read.wait()
            found = file.attachment
            if file.path is not None and found is not None and found.stamp is not None:
                if await asyncio.to_thread(_reader().stamp_of, file.path) != found.stamp:
                    await self._read(file)
            elif file.path is not None and not file.pasted and file.error is not None:
                await self._read(file)  # it may be readable by now
        errors = [file.error for file in files if file.error is not None]
        ready = _attached(files)
        if self._prompt.text != text:  # typed on meanwhile
            self._prompt.action_send()
            return
        errors = errors or [
            each for each in (self._too_many(ready), await self._too_long()) if each
        ]
        if errors:
            self.chat.problem(*errors)
            return
        composer.files = tuple(each.file for each in ready)
        composer.file_pictures = tuple(picture for each in ready for picture in each.pictures)
        self._ready = text
        self._prompt.action_send()

    def _too_many(self, ready: list[Attachment]) -> SteprunError | None:
        own = len(self.chat.composer.pictures)
        drawn = sum(len(each.pictures) for each in ready)
        if own + drawn <= PICTURES:
            return None
        return Refused(
            f"A message can have {PICTURES} images.",
            why=f"This one has {own}, and {drawn} of its files.",
            next="Take some pages of a PDF only: put #1-4 behind its name.",
        )

    async def _too_long(self) -> SteprunError | None:
        """Return why the files do not fit the context, with figures; None where they may."""
        context = self.chat.setup.context
        if not context:
            return None
        prices, own = self.chat.setup.prices, self.chat.composer.pictures
        drawn = sum(picture.tokens for picture in own) if prices else 0
        free = max(0, context - self._used() - drawn)
        files = list(self._files.values())
        if needs_count(_attached(files), free, prices=prices):
            self.chat.hint("Counting the tokens of the files …")
            await asyncio.gather(*map(self._count, files))
        return too_long(_attached(files), free, prices=prices)

    def _used(self) -> int:
        """Return how many tokens of the context stand before the message."""
        turns = self.chat.conversation.turns
        edited = self.chat.wing(Versions).edits
        before = turns[: turns.index(edited)] if edited in turns else turns
        return next((used for turn in reversed(before) if (used := turn.context_used())), 0)

    actions = (
        replace(ATTACH_FILE.by(attach), does=f"{ATTACH_FILE.does}: as typing @ and its name does"),
    )
    hears: ClassVar[Mapping[type[Message], Hear]] = {
        TextArea.Changed: changed,
        Prompt.Pasted: pasted,
        ChatTalk.HostChanged: host_changed,
    }


def _short(path: str) -> str:
    """Return a path as it is typed: relative where it is in the working folder."""
    try:
        here = f"{os.getcwd()}{os.sep}"  # noqa: PTH109 - a text is wanted
    except OSError:  # it was deleted
        return path
    return path.removeprefix(here) if len(path) > len(here) else path


def _reader() -> Any:
    """Return what reads files: it is loaded with the first one."""
    return import_module("runner.chat.files.attaching")


def _attached(files: Iterable[MentionedFile]) -> list[Attachment]:
    return [file.attachment for file in files if file.attachment is not None]
