"""Images and files of a plain chat: attached by command, by path, or by a mention."""

import asyncio
import os
from importlib import import_module
from pathlib import Path
from typing import Any

from runner.base.errors import SteprunError
from runner.base.text import clean_name
from runner.chat.export import picture_label
from runner.chat.files.attached import PICTURES, Attachment, label
from runner.chat.files.mentions import Mention, mention_of, mentions
from runner.chat.images.load import load_picture
from runner.chat.reading import read_rate
from runner.tui import shared
from runner.tui.paste import PATHS, find_pictures
from runner.tui.plain.wing import PlainWing


class PlainAttaching(PlainWing):
    """Attaches images and files, each with its price."""

    title = "Images and files"

    # --- images ------------------------------------------------------------------------------

    async def attach(self, path: str) -> None:
        """Attach an image, or several."""
        await self.load(find_pictures(path) or [_expanded(path)])

    async def load(self, paths: list[str]) -> None:
        """Attach images; say of each that it is, or why not."""
        talk = self.talk
        if not talk.setup.sees:
            self.out.say(f"This model cannot see images. {talk.setup.blind_why}".strip())
            return
        for path in paths:
            if len(talk.unsent.pictures) >= PATHS:
                self.out.say(f"A message can have {PATHS} images. Send these first: /send")
                break
            try:
                picture = await asyncio.to_thread(load_picture, Path(path))
            except SteprunError as error:
                self.out.say(str(error))
                continue
            talk.unsent.pictures.append(picture)
            number = len(talk.unsent.pictures)
            labelled = picture_label(number, picture, prices=talk.setup.prices)
            self.out.say(f"{labelled}, sent with the next message.")
        await talk.save()

    async def detach(self, number: str) -> None:
        """Remove an image."""
        pictures = self.talk.unsent.pictures
        which = int(number) if number.isdecimal() and len(number) < 4 else len(pictures)
        if (number and not number.isdecimal()) or not 1 <= which <= len(pictures):
            self.out.say("There is no such image.")
        else:
            self.out.say(f"Removed {clean_name(pictures.pop(which - 1).name)}.")
            await self.talk.save()

    # --- files -------------------------------------------------------------------------------

    async def attach_file(self, path: str) -> None:
        """Attach a text file, a folder or a PDF."""
        name = path.removeprefix("@")
        quoted = len(name) > 1 and name[0] == name[-1] and name[0] in "'\""
        await self.load_files((Path(_expanded(name[1:-1] if quoted else name)),))

    async def load_files(self, paths: tuple[Path, ...]) -> None:
        """Attach files. Raises `SteprunError` for the first that fails."""
        attaching = await _reader()
        for each in await attaching.attach_all(
            paths, sees=self.talk.setup.sees, pictures=self._room()
        ):
            self._add(await self._counted(each), "sent with the next message")

    async def take_mentioned(self, text: str, *, pasted: bool) -> None:
        """Attach the files that a message mentions. Raises where one cannot be sent with it.

        A name that is no file stays text. `pasted`: the text may be somebody else's.
        """
        there = {each.file.name for each in self.talk.unsent.files}
        found = [each for each in mentions(text) if each.name not in there] if "@" in text else []
        for mention in found:
            await self._take(mention, pasted=pasted)
        await self._check_fit()

    async def _take(self, mention: Mention, *, pasted: bool) -> None:
        attaching = await _reader()
        place = await asyncio.to_thread(attaching.located, mention, Path())
        if place is None:
            return
        if pasted:
            name = mention_of(mention.name).removeprefix("@")
            self.out.say(f"{name} was pasted, and is not attached. /attach {name} attaches it.")
            return
        path, reading = place
        attached = await attaching.attach(
            mention.name, path, reading.part, sees=self.talk.setup.sees, pictures=self._room()
        )
        self._add(await self._counted(attached), "sent with this message")

    def _room(self) -> int:
        unsent = self.talk.unsent
        drawn = sum(len(each.pictures) for each in unsent.files)
        return max(0, PICTURES - len(unsent.pictures) - drawn)

    async def _counted(self, attached: Attachment) -> Attachment:
        """Return a file with its tokens, counted by the engine where that is there."""
        host = self.talk.host
        if host is None or attached.file.exact or not attached.file.text:
            return attached
        pricing = await asyncio.to_thread(import_module, "runner.chat.files.pricing")
        dialect = self.talk.options.dialect
        tokens = await pricing.count_tokens(host.endpoint, dialect, attached.file.text)
        return attached if tokens is None else attached.counted(tokens)

    def _add(self, attached: Attachment, when: str) -> None:
        self.talk.unsent.files.append(attached)
        rates = (read_rate(turn.usage) for turn in reversed(self.talk.conversation.turns))
        rate = next(filter(None, rates), self.talk.setup.expected_rate)
        parts = (label(attached.file, rate=rate), *attached.notes)
        self.out.say(f"{' · '.join(parts)}, {when}.")

    async def _check_fit(self) -> None:
        talk = self.talk
        if not talk.unsent.files or not talk.setup.context:
            return
        counting = await asyncio.to_thread(import_module, "runner.chat.files.counting")
        own = sum(each.tokens for each in talk.unsent.pictures) if talk.setup.prices else 0
        refusal = await counting.why_too_long(
            talk.unsent.files,
            talk.setup.context - talk.conversation.context_used() - own,
            talk.host.endpoint if talk.host is not None else None,
            talk.options.dialect,
            prices=talk.setup.prices,
        )
        if refusal is not None:
            raise refusal

    actions = (
        shared.ATTACH.by(attach),
        shared.DETACH.by(detach),
        shared.ATTACH_FILE.by(attach_file),
    )


def _expanded(path: str) -> str:
    return os.path.expanduser(path)  # noqa: PTH111 - Path raises for `~nobody`


async def _reader() -> Any:
    """Return what reads files: it is loaded with the first one."""
    return await asyncio.to_thread(import_module, "runner.chat.files.attaching")
