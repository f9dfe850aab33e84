"""Attaches what a mention names: a text file, a folder, a PDF or a picture."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from runner.base.errors import BadFile, SteprunError
from runner.chat.files.attached import AttachedFile, Attachment, fenced, title_of
from runner.chat.files.folders import read_folder
from runner.chat.files.mentions import AS_TEXT, Mention, Reading
from runner.chat.files.pdf import read_pdf
from runner.chat.files.pricing import estimate
from runner.chat.files.reading import AS_TEXT as SPACE_AFTER
from runner.chat.files.reading import bad, read_bytes, stamp_of, text_of
from runner.chat.files.secret_names import looks_secret
from runner.chat.images.formats import SUFFIXES
from runner.chat.images.load import load_picture

_PDF: Final = b"%PDF-"
_HEAD: Final = 1024  # PDFium looks for the mark there, too


def located(mention: Mention, folder: Path) -> tuple[Path, Reading] | None:
    """Return the file that a mention means, None where there is none. Blocks."""
    for reading in mention.readings:
        try:
            path = folder / os.path.expanduser(reading.path)  # noqa: PTH111 - Path raises for `~nobody`
            if path.exists():
                return path, reading
        except (OSError, ValueError):
            continue
    return None


async def attach(name: str, path: Path, part: str = "", *, sees: bool, pictures: int) -> Attachment:
    """Read a file, a folder, a PDF or a picture. `name`: as it was typed.

    `sees`: pictures can be sent, `pictures` more of them. Raises `SteprunError`.
    """
    stamp = await asyncio.to_thread(stamp_of, path)
    read = await _read(name, path, part, sees=sees, pictures=pictures)
    return replace(read, stamp=stamp)


async def _read(name: str, path: Path, part: str, *, sees: bool, pictures: int) -> Attachment:
    if await asyncio.to_thread(path.is_dir):
        found = await asyncio.to_thread(read_folder, path, name)
        folder = replace(await _priced(name, found.text), files=found.files)
        return Attachment(folder, notes=found.notes())
    if path.suffix.lower() in SUFFIXES:
        if not sees:
            raise bad(name, "It is a picture, and this chat cannot take any.")
        picture = await asyncio.to_thread(load_picture, path)
        return Attachment(AttachedFile(name, "", pictures=1), (picture,))
    data = await asyncio.to_thread(read_bytes, path)
    if _PDF in data[:_HEAD]:
        whole = name.removesuffix(f"#{part}")
        document = await read_pdf(whole, data, part, sees=sees, most=pictures)
        drawn = tuple(picture for _, picture in document.pictures)
        file = replace(await _priced(name, document.sent()), pictures=len(drawn))
        pages = 0 if part or drawn else document.count
        return Attachment(file, drawn, document.notes(), pages, AS_TEXT)
    read = await asyncio.to_thread(text_of, name, data, part)
    shown = name.removesuffix(f"#{part}")
    sent = await asyncio.to_thread(fenced, title_of(shown, read.taken), read.text, path.suffix)
    secret = ("may hold secrets",) if looks_secret(path.name) else ()
    return Attachment(
        await _priced(name, sent),
        notes=(*filter(None, [read.taken]), *read.notes, *secret),
        lines=0 if part else read.lines,
    )


async def _priced(name: str, text: str) -> AttachedFile:
    return AttachedFile(name, text, await asyncio.to_thread(estimate, text))


async def attach_all(
    paths: tuple[Path, ...], *, sees: bool, pictures: int
) -> tuple[Attachment, ...]:
    """Read the files that a command line names. Raises `SteprunError` for the first that fails."""
    found: list[Attachment] = []
    for path in paths:
        mention = Mention(str(path), str(path), (Reading(str(path)), *_parts(str(path))))
        place = await asyncio.to_thread(located, mention, Path())
        if place is None:
            raise bad(path, "There is no such file.", next="Check the path.")
        room = pictures - sum(len(each.pictures) for each in found)
        try:
            found.append(await attach(str(path), place[0], place[1].part, sees=sees, pictures=room))
        except BadFile as error:
            after = "Leave it out." if error.next == SPACE_AFTER else error.next
            raise BadFile(error.what, why=error.why, next=after) from error
    if sum(len(each.pictures) for each in found) > pictures:
        raise SteprunError(
            "These files have too many pictures.",
            why=f"A message can have {pictures} more.",
            next="Send fewer at once.",
        )
    return tuple(found)


def _parts(path: str) -> tuple[Reading, ...]:
    name, sign, part = path.rpartition("#")
    return (Reading(name, part),) if sign and part[:1].isdigit() else ()
