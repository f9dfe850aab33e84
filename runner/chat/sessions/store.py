"""Chats on disk: one JSON line a question or answer, written before it can be lost.

A session is `sessions/ID.jsonl` in the data folder; its images are stored beside it, named by their
content, so that an image sent twice is kept once. While an answer grows it is in `ID.part.jsonl`,
and what is typed in `ID.draft.json`. A file is not trusted when it is loaded: it may be cut short
by a crash, edited by hand, or made by somebody else. `entries` says what the lines hold; a chat
that an earlier version began is continued in its own file.
"""

import contextlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from runner.base import paths
from runner.base.errors import BadFile, Refused
from runner.base.files import cannot_write, make_private_dir, write_private
from runner.chat.sessions.appending import FILE_BYTES, append_lines
from runner.chat.sessions.entries import (
    SCHEMA,
    Draft,
    SessionEntry,
    line,
    record_of,
    text_of,
    to_record,
    version,
)
from runner.chat.sessions.parts import read_part
from runner.chat.sessions.pictures import PictureShelf
from runner.chat.sessions.tree import ChatTree, read_tree
from runner.chat.steps import steps_of
from runner.chat.wire import Picture

DRAFT_SCHEMA = "steprun.draft/1"
FORMAT = version({"schema": SCHEMA})
HEAD_BYTES = 64 << 10  # more than any first line has
LATEST = "latest"  # not an ID: what a bare --resume means
# Earlier versions gave four hexadecimal digits: too few for scripts that ask in parallel.
_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}(?:[0-9a-f]{4})?")


class InUse(Refused):
    """The chat is open elsewhere."""


def sessions_dir() -> Path:
    """Return the folder of the sessions, which may not exist yet."""
    return paths.data_dir() / "sessions"


def new_id() -> str:
    """Return an ID for a question or an answer."""
    return secrets.token_hex(6)


@dataclass(slots=True)
class Session:
    """One chat. Nothing is written before there is something to keep."""

    id: str
    title: str = ""
    created: str = ""
    tree: ChatTree = field(default_factory=ChatTree)
    warnings: list[str] = field(default_factory=list)
    pictures: PictureShelf = field(default_factory=lambda: PictureShelf(sessions_dir()))
    folder: Path = field(default_factory=sessions_dir)  # a thread may outlive the environment
    _lock: FileLock | None = None

    @classmethod
    def create(cls, title: str = "") -> Self:
        """Return a new session with `title`, the model's name; its first message makes the file."""
        now = datetime.now(UTC)
        local = now.astimezone()
        return cls(
            f"{local:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}",
            title,
            now.isoformat(timespec="seconds"),
        )

    @classmethod
    def load(cls, session_id: str = "") -> Self:
        """Return a saved session, the last used one by default.

        Raises `Refused` as `find_session` does, `BadFile` where the file is not a session.
        """
        (session := cls(find_session(session_id))).read()
        return session

    @property
    def path(self) -> Path:
        """The session's file."""
        return self.folder / f"{self.id}.jsonl"

    @property
    def draft_path(self) -> Path:
        """The file of what was typed and not sent."""
        return self.folder / f"{self.id}.draft.json"

    @property
    def part_path(self) -> Path:
        """The file of an answer that is still growing."""
        return self.folder / f"{self.id}.part.jsonl"

    @property
    def entries(self) -> list[SessionEntry]:
        """The questions and answers of the current branch."""
        return self.tree.branch()

    def claim(self) -> None:
        """Keep other chats out of this session. Raises `InUse` where one is in it."""
        path = make_private_dir(self.folder) / f"{self.id}.lock"
        lock = FileLock(path, mode=0o600, thread_local=False)  # released in another thread
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise InUse(
                f"The chat {self.id} is open in another window or command.",
                why="Two chats writing into one file would mix their turns.",
                next="Close the other one or wait for it, or start a new chat: steprun chat",
            ) from None
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        self._lock = lock

    def release(self) -> None:
        """Let other chats in again; safe to call twice."""
        if self._lock is not None:
            self._lock.release()
            # Another chat may be about to take the lock of a saved one, so that file stays.
            if not (self.path.exists() or self.draft_path.exists()):
                with contextlib.suppress(OSError):
                    Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock = None

    def add(self, entry: SessionEntry) -> None:
        """Append what follows the current branch's last entry, and wait until it is on the disk."""
        parents = self.tree.ancestors(self.tree.current)
        made = [] if entry.asks else steps_of(entry.message.reasoning, entry.message.text)
        steps = entry.steps or tuple(made)
        entry = replace(entry, id=entry.id or new_id(), parents=parents, steps=steps)
        self.write(entry)
        self.tree.add(entry)

    def write(self, entry: SessionEntry) -> None:
        """Append a question or an answer and wait until it is on the disk. Pictures go first."""
        self.append(to_record(entry, _now(), self.pictures.keep))

    def append(self, record: Mapping[str, Any]) -> None:
        """Append a record and wait until it is on the disk. Raises `Refused`."""
        header = {"schema": SCHEMA, "id": self.id, "created": self.created, "title": self.title}
        append_lines(self.path, line(record), line(header))

    def append_part(self, data: bytes, *, begin: bool) -> None:
        """Append lines of a growing answer and wait until they are on the disk."""
        if begin:
            self.drop_part()
        append_lines(self.part_path, data)

    def drop_part(self) -> None:
        """Delete the growing answer: it is whole, and saved."""
        with contextlib.suppress(OSError):
            self.part_path.unlink(missing_ok=True)

    def part(self) -> SessionEntry | None:
        """Return an answer that the end of a program cut off, if it was not saved otherwise."""
        with contextlib.suppress(OSError):
            if self.part_path.stat().st_size <= FILE_BYTES:
                lines = self.part_path.read_bytes().split(b"\n")
                found = read_part(lines, self._load)
                if found is not None and found.id not in self.tree.entries:
                    hangs = found.parents[:1] and found.parents[0] in self.tree.entries
                    return found if hangs else None
        return None

    def save_draft(self, text: str, pictures: Sequence[Picture] = ()) -> None:
        """Keep what was typed and not sent."""
        draft = {
            "schema": DRAFT_SCHEMA,
            "title": self.title,
            "text": text,
            "pictures": [self.pictures.keep(picture) for picture in pictures],
        }
        write_private(self.draft_path, json.dumps(draft) + "\n")

    def draft(self) -> Draft | None:
        """Return what was typed and not sent, if anything."""
        record = self._draft_record()
        draft = Draft(text_of(record, "text"), self._load(record.get("pictures")))
        return draft if draft.text or draft.pictures else None

    def draft_text(self) -> str:
        """Return the text that was typed and not sent."""
        return text_of(self._draft_record(), "text")

    def _draft_record(self) -> dict[str, Any]:
        with contextlib.suppress(OSError):
            if self.draft_path.stat().st_size <= FILE_BYTES:
                record = record_of(self.draft_path.read_bytes())
                return record if record.get("schema") == DRAFT_SCHEMA else {}
        return {}

    def drop_draft(self) -> None:
        """Delete the draft: it was sent, or it is empty."""
        with contextlib.suppress(OSError):
            self.draft_path.unlink(missing_ok=True)

    def format(self) -> int:
        """Return the format of its file, or of what this version would write where it is a draft.

        0 where it is neither.
        """
        try:
            with self.path.open("rb") as file:
                header = record_of(file.readline(HEAD_BYTES))
                damaged = not header and bool(record_of(file.readline(FILE_BYTES)))
                return FORMAT if damaged else version(header)
        except FileNotFoundError:
            return FORMAT if self._draft_record() else 0
        except OSError:
            return 0

    def read(self, *, pictures: bool = True) -> None:
        """Read the entries from the file, if there is one; `pictures`: theirs, too.

        Raises `BadFile`.
        """
        if not self.path.is_file():
            return
        try:
            if self.path.stat().st_size > FILE_BYTES:
                raise self._bad("is not a chat", f"It is longer than {FILE_BYTES >> 20} MiB.")
            lines = self.path.read_bytes().split(b"\n")
        except OSError as error:
            raise self._bad("cannot be read", f"{error.strerror or error}.") from error
        header = record_of(lines[0])
        if (made := version(header)) > FORMAT:
            raise self._newer(made)
        self.tree, unreadable = read_tree(lines[1:], self._load if pictures else lambda _: ())
        if not made and ("schema" in header or not (self.tree.entries or _cut_header(lines))):
            found = repr(text_of(header, "schema")[:40]) if header else "not a header"
            raise self._bad(
                "is not a chat that this steprun can read",
                f"Its first line is {found}, where {SCHEMA!r} was expected.",
            )
        self.title, self.created = text_of(header, "title"), text_of(header, "created")
        for place in [*([] if made else [1]), *unreadable]:
            cut = " (cut short)" if place == len(lines) else ""
            self.warnings.append(f"Line {place} of the chat cannot be read{cut}; left out.")

    def _newer(self, made: int) -> BadFile:
        return BadFile(
            f"The chat {self.id} was made by a newer version of steprun.",
            why=f"It has format {made}; this version reads formats up to {FORMAT}.",
            next="Update steprun, then resume the chat.",
        )

    def _bad(self, what: str, why: str) -> BadFile:
        return BadFile(f"{self.path} {what}.", why=why, next="Start a new chat: steprun chat")

    def _load(self, references: object) -> tuple[Picture, ...]:
        pictures, lost = self.pictures.load(references)
        warnings = (f"Image {name!r} is missing or has changed; left out." for name in lost)
        self.warnings += [text for text in warnings if text not in self.warnings]
        return pictures


def _cut_header(lines: Sequence[bytes]) -> bool:
    """Whether a file holds no more than the beginning of a header, or nothing."""
    begin = b'{"schema": "steprun.session/'
    return len(lines) == 1 and (lines[0].startswith(begin) or begin.startswith(lines[0]))


def list_sessions(newer: list[str] | None = None) -> Iterator[str]:
    """Yield the IDs of the saved chats, also of those that are only a draft, last used first.

    A file is opened only when its ID is due: scripts can leave thousands of chats. `newer` takes
    the IDs of those that are left out as a newer version of steprun made them.
    """
    for name in by_last_use():
        made = Session(name).format()
        if made > FORMAT and newer is not None:
            newer.append(name)
        if 0 < made <= FORMAT:
            yield name


def by_last_use() -> dict[str, tuple[float, int]]:
    """Return when each chat was used last, in seconds since the epoch, and its bytes.

    The last used one is first. No file is opened.
    """
    used: dict[str, tuple[float, int]] = {}
    with contextlib.suppress(OSError):
        for name, kind, stat in scan_sessions():
            before = used.get(name, (0.0, 0))
            size = stat.st_size if kind == "jsonl" else before[1]
            used[name] = max(before[0], stat.st_mtime), size
    # An ID begins with the time: of two used at once, the younger one is first.
    newest_first = sorted(used, key=lambda name: (used[name][0], name), reverse=True)
    return {name: used[name] for name in newest_first}


def scan_sessions() -> Iterator[tuple[str, str, os.stat_result]]:
    """Yield the ID, the kind (`jsonl` or `draft.json`) and the state of each chat's files."""
    with os.scandir(sessions_dir()) as files:
        for file in files:
            name, _, kind = file.name.partition(".")
            if kind in ("jsonl", "draft.json") and _ID.fullmatch(name):
                with contextlib.suppress(OSError):  # deleted meanwhile
                    yield name, kind, file.stat()


def is_session_id(text: str) -> bool:
    """Return whether a text may be the ID of a chat: nothing else becomes a file name."""
    return _ID.fullmatch(text) is not None


def is_deleted(session_id: str) -> bool:
    """Return whether a chat of this ID is not on the disk any more. Other names are never."""
    session = Session(session_id)
    if not is_session_id(session_id):
        return False
    try:
        return not (session.path.is_file() or session.draft_path.is_file())
    except OSError:
        return False  # a disk that fails deletes nothing


def find_session(session_id: str = "", newer: list[str] | None = None) -> str:
    """Return the ID of a saved chat; of the last used one for `LATEST` and for no ID.

    `newer`: as for `list_sessions`. Raises `Refused` where there is none.
    """
    if session_id in ("", LATEST):
        newer = [] if newer is None else newer
        newest = next(list_sessions(newer), None)
        if newest is None:
            raise Refused(
                "No saved chat to resume.",
                why=skipped(newer) if newer else f"{sessions_dir()} holds none.",
                next="Update steprun." if newer else "Start one: steprun chat",
            )
        return newest
    session = Session(session_id) if is_session_id(session_id) else None
    if session is None or not (session.path.is_file() or session.draft_path.is_file()):
        raise Refused(
            f"No saved chat has the ID {session_id[:60]!r}.",
            why=f"It was not found in {sessions_dir()}.",
            next="Resume the last one: steprun chat --resume",
        )
    return session_id


def skipped(newer: Sequence[str]) -> str:
    """Return in words that these chats are left out."""
    which = f"The chat {newer[0]} was" if len(newer) == 1 else f"{len(newer):,} chats were"
    return f"{which} made by a newer version of steprun, and skipped."


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
