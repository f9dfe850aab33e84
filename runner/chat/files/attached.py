"""A file as it goes with a question: what is sent for it, shown of it and saved. Pure.

What is sent of a question is the text of its files, then the user's own words, a blank line between
two of them: another question about the same files begins with the same text, and that is not read
again. What is saved is what was sent, so that a chat that is resumed sends the same bytes.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from runner.base.text import clean_name
from runner.base.units import duration
from runner.chat.files.mentions import mention_of, mentions
from runner.chat.inert import from_others, inert
from runner.chat.untrusted import integer, mapping
from runner.chat.wire import Picture

GAP: Final = "\n\n"
PICTURES: Final = 16  # of one message, pages of PDFs included
NAME_CHARS: Final = 255  # of a saved name; a path that is typed is no longer in practice
LABEL_CHARS: Final = 60
_TICKS: Final = re.compile(r"`{3,}")
_LANGUAGE: Final = re.compile(r"[A-Za-z0-9+#]{1,12}")


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """A file of a question.

    `name`: the path as it was typed. `text`: all that is sent for it; empty for a picture.
    `tokens` of that text, as the engine counted them (`exact`) or estimated. `pictures`: how many
    pictures of the message are of it; the pictures of files follow the user's own, in the order of
    the files. `files`: of a folder, how many files the text has; 0 for a file.
    """

    name: str
    text: str
    tokens: int = 0
    exact: bool = False
    pictures: int = 0
    files: int = 0


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells one state of a file from another."""

    size: int
    changed_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that was read. `notes`: what to know of it.

    `lines`: of how many parts some can be taken: lines, or pages of a PDF; 0 for others. `as_text`:
    what is put behind their numbers.
    """

    file: AttachedFile
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()
    lines: int = 0
    as_text: str = ""
    stamp: Stamp | None = None

    def counted(self, tokens: int) -> "Attachment":
        """Return it with the tokens that the engine has counted."""
        return replace(self, file=replace(self.file, tokens=tokens, exact=True))


def fenced(title: str, text: str, suffix: str = "") -> str:
    """Return a text under a title, in a fence that nothing in it ends. `suffix`: of its file.

    What is a control token to an engine is broken up: a file does not speak as the model.
    """
    text = "".join(map(inert, text.splitlines(keepends=True))) if "<" in text else text
    ticks = _TICKS.findall(text) if "```" in text else ()  # the search alone is ten times as fast
    fence = "`" * (1 + max([2, *map(len, ticks)]))
    language = suffix.removeprefix(".").lower()
    language = language if _LANGUAGE.fullmatch(language) else ""
    body = text if text.endswith("\n") or not text else f"{text}\n"
    return f"{inert(title)}\n{fence}{language}\n{body}{fence}"


def title_of(name: str, detail: str = "") -> str:
    """Return the line that names a file to the model."""
    return inert(f"File: {clean_name(name, NAME_CHARS)}{f' ({detail})' if detail else ''}")


def sent_text(files: Iterable[AttachedFile], text: str) -> str:
    """Return a question as it is sent."""
    return GAP.join(part for part in (*(file.text for file in files), text) if part)


def own_pictures(pictures: Sequence[Picture], files: Iterable[AttachedFile]) -> tuple[Picture, ...]:
    """Return a question's pictures without those that are of its files."""
    return tuple(pictures[: max(0, len(pictures) - sum(file.pictures for file in files))])


def kept_of(
    files: tuple[AttachedFile, ...], pictures: tuple[Picture, ...]
) -> dict[str, Attachment]:
    """Return the files of a question that was sent, by name: what was read of them then."""
    rest = pictures[len(own_pictures(pictures, files)) :]
    kept = {}
    for file in files:
        kept[file.name] = Attachment(file, rest[: file.pictures], ("as it was sent",))
        rest = rest[file.pictures :]
    return kept


def typed_again(text: str, files: Sequence[AttachedFile]) -> str:
    """Return a question's words so that they mention all of its files."""
    there = {mention.name for mention in mentions(text)}
    missing = [mention_of(file.name) for file in files if file.name not in there]
    return "\n".join(part for part in (" ".join(missing), text) if part)


def label(file: AttachedFile, *, rate: float = 0) -> str:
    """Return the line that stands for a file: `[File] src/ · 2 files · 3,120 tokens · ~2 s`.

    `rate`: tokens of a prompt that are read in a second, 0 where unknown.
    """
    parts = [f"[File] {clean_name(file.name, LABEL_CHARS)}"]
    if file.files:
        parts.append(f"{file.files:,} file{'' if file.files == 1 else 's'}")
    if file.tokens:
        parts.append(f"{'' if file.exact else '~'}{file.tokens:,} tokens")
        if rate:
            parts.append(f"~{duration(max(1, file.tokens / rate))}")
    return " · ".join(parts)


def labels(files: Iterable[AttachedFile], *, rate: float = 0) -> list[str]:
    """Return the lines that stand for files; a picture has one of its own."""
    return [label(file, rate=rate) for file in files if file.text]


# --- on the disk


def file_records(files: Iterable[AttachedFile]) -> list[dict[str, Any]]:
    """Return what a saved question says of its files; their text is in its own (`sent_text`)."""
    return [
        {
            "name": file.name,
            "length": len(file.text),
            "tokens": file.tokens,
            **({"exact": True} if file.exact else {}),
            **({"pictures": file.pictures} if file.pictures else {}),
            **({"files": file.files} if file.files else {}),
        }
        for file in files
    ]


def split_text(sent: str, records: object) -> tuple[tuple[AttachedFile, ...], str]:
    """Return the files of a saved question and the user's own words. Nothing of it is trusted.

    Where the records do not fit the text, all of it counts as words: what is sent stays the same.
    """
    files: list[AttachedFile] = []
    at = 0
    for record in map(mapping, records if isinstance(records, list) else ()):
        length, name = integer(record.get("length")), record.get("name")
        end = at + length
        if not isinstance(name, str) or end > len(sent):
            return (), sent
        files.append(_read(record, name, sent[at:end]))
        if length:
            if end < len(sent) and not sent.startswith(GAP, end):
                return (), sent
            at = min(len(sent), end + len(GAP))
    return tuple(files), sent[at:]


def files_of(records: object) -> tuple[AttachedFile, ...]:
    """Return the files of a question in a document (`as_json`). Nothing of it is trusted."""
    return tuple(
        _read(record, str(record.get("name") or ""), from_others(str(record.get("text") or "")))
        for record in map(mapping, records if isinstance(records, list) else ())
    )


def _read(record: Mapping[str, Any], name: str, text: str) -> AttachedFile:
    return AttachedFile(
        name[:NAME_CHARS],
        text,
        integer(record.get("tokens")),
        record.get("exact") is True,
        integer(record.get("pictures")),
        integer(record.get("files")),
    )
