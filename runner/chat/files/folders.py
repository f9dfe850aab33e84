"""Reads a folder: a listing of it within bounds, and the text files in it. Blocks: in a thread."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runner.base.errors import BadFile
from runner.base.text import clean_name
from runner.chat.files.attached import GAP, fenced, title_of
from runner.chat.files.reading import bad, read_bytes, text_of
from runner.chat.files.secret_names import looks_secret
from runner.chat.files.walking import Walk, WalkedFile

LISTED: Final = 400  # names; more say little about a folder, and each costs some ten tokens
FILES: Final = 200
FILE_BYTES: Final = 128 << 10  # a text that people write by hand is shorter
TEXT_CHARS: Final = 1 << 20  # of all files: more than any context of this program takes
NAMED: Final = 3  # of what is left out, to people


@dataclass(frozen=True, slots=True)
class FolderText:
    """A folder as text. `files`: how many of its files are in it; `left_out`: names and why."""

    text: str
    files: int
    left_out: tuple[tuple[str, str], ...] = ()
    more: bool = False

    def notes(self) -> tuple[str, ...]:
        """Return what to know of it beside the number of its files, in words."""
        notes = []
        if self.left_out:
            named = [f"{clean_name(name)} ({why})" for name, why in self.left_out[:NAMED]]
            rest = len(self.left_out) - NAMED
            notes.append(
                f"left out: {', '.join([*named, *([f'{rest:,} more'] if rest > 0 else [])])}"
            )
        if self.more:
            notes.append("not all of it was listed")
        return tuple(notes)


def read_folder(path: Path, name: str) -> FolderText:
    """Return a folder as text; `name`: as it was typed. Raises `BadFile` where it has nothing."""
    walk = Walk(path)
    found: list[WalkedFile] = []
    more = False
    for each in walk:
        if len(found) == LISTED:
            more = True
            break
        found.append(each)
    # Folder by folder, as a tree is read.
    found.sort(key=lambda each: each.path.split("/"))
    texts: list[str] = []
    left_out: list[tuple[str, str]] = []
    lines: list[str] = []
    room = TEXT_CHARS
    for each in found:
        why = ""
        if not each.folder:
            why, text = _read(path, each, room, len(texts))
            if why:
                left_out.append((each.path, why))
            else:
                texts.append(text)
                room -= len(text)
        shown = clean_name(each.path, 200)
        lines.append(f"{shown}{'/' if each.folder else ''}{f'  ({why}, left out)' if why else ''}")
    if not lines:
        raise bad(name, "The folder is empty, or everything in it is hidden or ignored by Git.")
    if more or walk.cut:
        lines.append("(and more)")
    title = f"Folder: {clean_name(name, 200)}"
    whole = GAP.join([fenced(title, "\n".join(lines)), *texts])
    return FolderText(whole, len(texts), tuple(left_out), more or walk.cut)


def _read(root: Path, found: WalkedFile, room: int, files: int) -> tuple[str, str]:
    """Return why a file is left out, or its text as it is sent."""
    path = root / found.path
    if found.link:
        return "a link", ""
    if looks_secret(path.name):
        return "may hold secrets", ""
    if files >= FILES:
        return f"more than {FILES} files", ""
    try:
        if path.stat().st_size > FILE_BYTES:
            return "large", ""
        read = text_of(path.name, read_bytes(path, FILE_BYTES))
    except BadFile as error:
        short = {"It is empty.": "empty"}.get(error.why, "binary" if "binary" in error.why else "")
        return short or "cannot be read", ""
    except (OSError, ValueError):
        return "cannot be read", ""
    if len(read.text) > room:
        return "too much text", ""
    return "", fenced(title_of(found.path), read.text, path.suffix)
