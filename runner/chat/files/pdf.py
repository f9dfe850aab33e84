"""A PDF as text by page, and as pictures of those pages that have none. See `pdf_process`."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from runner.base.errors import BadFile, Refused
from runner.base.text import clean
from runner.chat.files.attached import fenced as in_fence
from runner.chat.files.attached import title_of
from runner.chat.files.mentions import AS_TEXT as PAGES_AS_TEXT
from runner.chat.files.mentions import ranges
from runner.chat.files.pdf_process import PAGES
from runner.chat.files.reading import AS_TEXT, bad
from runner.chat.images.load import picture_from_bytes
from runner.chat.untrusted import integer, mapping
from runner.chat.wire import Picture

MODULE: Final = "runner.chat.files.pdf_process"
READ_S: Final = 30.0
END_S: Final = 5.0  # of a process that has said all
RESULT_BYTES: Final = 64 << 20  # of one page: a picture of 1,512 pixels has 7 MB unpacked
_PIECE: Final = 256 << 10
_CREATE_NO_WINDOW: Final = 0x08000000  # subprocess.CREATE_NO_WINDOW, on Windows only
_WHY: Final = {
    "encrypted": "It is encrypted: open it, save it without a password, and attach that.",
    "broken": "It is damaged, or no PDF.",
    "long": "It has more text than any context takes.",
}


@dataclass(slots=True)
class PdfText:
    """What was read of a PDF. `scans`: pages that are pictures and were left out."""

    name: str
    count: int = 0
    texts: list[tuple[int, str]] = field(default_factory=list)
    pictures: list[tuple[int, Picture]] = field(default_factory=list)
    scans: list[int] = field(default_factory=list)
    last: int = 0  # of the pages that were looked at

    @property
    def pages(self) -> str:
        """How many pages it has, in words."""
        return f"{self.count:,} page{'' if self.count == 1 else 's'}"

    def sent(self) -> str:
        """Return the text that is sent for it."""
        parts = [title_of(self.name, f"PDF, {self.pages}")]
        parts += [in_fence(f"Page {page:,}:", text) for page, text in self.texts]
        if self.pictures:
            pages = _listed([page for page, _ in self.pictures])
            parts.append(f"Shown as pictures above, in this order: {pages} of this PDF.")
        if self.scans:
            parts.append(f"Left out, as pictures without text: {_listed(self.scans)}.")
        if self.cut:
            parts.append(f"Left out: all pages after page {self.last:,}.")
        return "\n".join(parts)

    @property
    def cut(self) -> bool:
        """Whether there are pages after those that one file may have."""
        return self.last >= PAGES and self.last < self.count

    def notes(self) -> tuple[str, ...]:
        """Return what to know of it, in words."""
        notes = []
        if self.pictures:
            count = len(self.pictures)
            notes.append("1 page as a picture" if count == 1 else f"{count} pages as pictures")
        if self.scans:
            notes.append(f"left out: {_listed(self.scans)}, without text")
        if self.cut:
            notes.append(f"left out: all after page {self.last:,}")
        return tuple(notes)


def _listed(pages: Sequence[int]) -> str:
    """Return pages in words: `pages 1-4, 7`."""
    spans: list[list[int]] = []
    for page in pages:
        if spans and page == spans[-1][1] + 1:
            spans[-1][1] = page
        else:
            spans.append([page, page])
    spans_text = [f"{first}-{last}" if last > first else f"{first}" for first, last in spans[:10]]
    more = ", …" if len(spans) > 10 else ""
    return f"page{'s' if len(pages) > 1 else ''} {', '.join(spans_text)}{more}"


async def read_pdf(name: str, data: bytes, part: str = "", *, sees: bool, most: int) -> PdfText:
    """Return a PDF as it is sent; `part`: the pages that are wanted, as pictures or as text.

    `sees`: pictures can be sent, `most` at most. Raises `BadFile`, or `Refused` where the library
    is not installed.
    """
    _check_installed()
    pages = [list(each) for each in ranges(part)] if part else []
    draw = sees and not part.endswith(PAGES_AS_TEXT)
    wanted = {"pages": pages, "draw": draw, "sees": sees, "most": most}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", MODULE),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        limit=1 << 20,
        start_new_session=os.name == "posix",  # Ctrl-C in the terminal is for the chat
        creationflags=_CREATE_NO_WINDOW if os.name == "nt" else 0,
    )
    found = PdfText(name)
    sending = asyncio.create_task(_send(process, json.dumps(wanted).encode() + b"\n", data))
    try:
        async with asyncio.timeout(READ_S):
            while (record := await _record(process)) is not None:
                await _take(found, *record)
    except TimeoutError:
        why = f"It takes longer than {READ_S:.0f} s to read."
        raise bad(name, why, next=AS_TEXT if part else _FEWER) from None
    except (OSError, EOFError, ValueError) as error:
        raise bad(name, "It cannot be read: it is damaged, or takes too much memory.") from error
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await _ended(process)
    if not found.count:
        raise bad(name, "It cannot be read: it is damaged, or takes too much memory.")
    if not (found.texts or found.pictures or found.scans):
        why = f"It has {found.pages}" if part else "None of its pages has any text"
        raise bad(f"{name}#{part}" if part else name, f"{why}.")
    return found


_FEWER: Final = "Take a few of its pages, as pictures: put #1-4 behind its name."


def _check_installed() -> None:
    from importlib.util import find_spec  # noqa: PLC0415

    if find_spec("pypdfium2") is None:
        raise Refused(
            "PDFs cannot be read here.",
            why="The package pypdfium2 is not installed.",
            next="Install pypdfium2, 5.15 or later, beside steprun.",
        )


async def _send(process: Process, head: bytes, data: bytes) -> None:
    if process.stdin is None:
        raise AssertionError
    with suppress(ConnectionError):
        process.stdin.write(head)
        for at in range(0, len(data), _PIECE):
            process.stdin.write(data[at : at + _PIECE])
            await process.stdin.drain()
        process.stdin.close()


async def _record(process: Process) -> tuple[Mapping[str, Any], bytes] | None:
    """Return the next result and the bytes behind it, None at the end."""
    if process.stdout is None:
        raise AssertionError
    line = await process.stdout.readline()
    if not line:
        return None
    record = mapping(json.loads(line))
    size = integer(record.get("size"))
    if size > RESULT_BYTES:
        raise EOFError
    return record, await process.stdout.readexactly(size)


async def _take(found: PdfText, record: Mapping[str, Any], data: bytes) -> None:
    if why := record.get("error"):
        raise bad(found.name, _WHY.get(str(why), _WHY["broken"]))
    found.count = found.count or integer(record.get("count"))
    page, kind = integer(record.get("page")), record.get("kind")
    found.last = max(found.last, page)
    if kind == "text":
        found.texts.append((page, clean(data.decode("utf-8", "replace"))))
    elif kind == "picture":
        label = f"{os.path.basename(found.name)} page {page}"  # noqa: PTH119 - a name is no Path
        try:
            picture = await asyncio.to_thread(picture_from_bytes, data, label)
        except BadFile:
            found.scans.append(page)
        else:
            found.pictures.append((page, picture))
    elif kind == "scan" or record.get("broken"):
        found.scans.append(page)


async def _ended(process: Process) -> None:
    """Return when nothing of the process is left; kill it where it has more to say, or no end."""
    # To kill one that has just ended would take its end from asyncio, which then complains.
    if process.stdout is not None and process.stdout.at_eof():
        with suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await process.wait()
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
    if process.stdout is not None:
        with suppress(OSError, ValueError):
            await process.stdout.read()
    await process.wait()
