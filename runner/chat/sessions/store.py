"""Chats on disk: one JSON line a message, written before it can be lost.

A session is `sessions/ID.jsonl` in the data folder; its images are stored beside it, named by their
content, so that an image sent twice is kept once. A file is not trusted when it is loaded: it may
be cut short by a crash, edited by hand, or made by somebody else.
"""

import contextlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from runner.base import paths
from runner.base.errors import BadFile, Refused
from runner.base.files import cannot_write, make_private_dir, write_private
from runner.chat.events import Usage
from runner.chat.sessions.pictures import NAME_CHARS, keep, stored
from runner.chat.untrusted import integer, mapping, number
from runner.chat.wire import Message, Picture

SCHEMA = "steprun.session/1"
DRAFT_SCHEMA = "steprun.draft/1"
FILE_BYTES = 64 << 20  # a chat of 256K tokens is about 1 MB: more is not one of ours
HEAD_BYTES = 64 << 10  # more than any first line has
LATEST = "latest"  # not an ID: what a bare --resume means
# Earlier versions gave four hexadecimal digits: too few for scripts that ask in parallel.
_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}(?:[0-9a-f]{4})?")


@dataclass(frozen=True, slots=True)
class SessionEntry:
    """One message as it was saved.

    `stopped`: the user ended the answer; `failed`: the text of the error that did; `finish`: why
    the model ended it.
    """

    message: Message
    stopped: bool = False
    failed: str = ""
    finish: str = ""
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """What was typed and not sent."""

    text: str
    pictures: tuple[Picture, ...] = ()


class InUse(Refused):
    """The chat is open elsewhere."""


def sessions_dir() -> Path:
    """Return the folder of the sessions, which may not exist yet."""
    return paths.data_dir() / "sessions"


@dataclass(slots=True)
class Session:
    """One chat. Nothing is written before there is something to keep."""

    id: str
    title: str = ""
    created: str = ""
    entries: list[SessionEntry] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
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
        session = cls(find_session(session_id))
        session.read()
        return session

    @property
    def path(self) -> Path:
        """The session's file."""
        return sessions_dir() / f"{self.id}.jsonl"

    @property
    def draft_path(self) -> Path:
        """The file of what was typed and not sent."""
        return sessions_dir() / f"{self.id}.draft.json"

    def claim(self) -> None:
        """Keep other chats out of this session. Raises `InUse` where one is in it."""
        make_private_dir(sessions_dir())
        lock = FileLock(sessions_dir() / f"{self.id}.lock", mode=0o600)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise InUse(
                f"The chat {self.id} is open in another window or command.",
                why="Two chats writing into one file would mix their turns.",
                next="Close the other one or wait for it, or start a new chat: steprun chat",
            ) from None
        except OSError as error:
            raise cannot_write(sessions_dir(), error) from error
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
        """Append a message and wait until it is on the disk. Pictures go first."""
        message = entry.message
        record: dict[str, Any] = {"role": message.role, "text": message.text, "at": _now()}
        if message.pictures:
            record["pictures"] = [keep(sessions_dir(), picture) for picture in message.pictures]
        if message.reasoning:
            record["reasoning"] = message.reasoning
        marks = {"stopped": entry.stopped, "failed": entry.failed, "finish": entry.finish}
        record |= {name: value for name, value in marks.items() if value}
        if entry.usage is not None:
            record["usage"] = asdict(entry.usage)
        self._append(record)
        self.entries.append(entry)

    def retry(self) -> None:
        """Take the last answer back, so that another can take its place."""
        if self.entries and self.entries[-1].message.role == "assistant":
            self._append({"retry": True, "at": _now()})
            self.entries.pop()

    def save_draft(self, text: str, pictures: Sequence[Picture] = ()) -> None:
        """Keep what was typed and not sent."""
        draft = {
            "schema": DRAFT_SCHEMA,
            "title": self.title,
            "text": text,
            "pictures": [keep(sessions_dir(), picture) for picture in pictures],
        }
        write_private(self.draft_path, json.dumps(draft) + "\n")

    def draft(self) -> Draft | None:
        """Return what was typed and not sent, if anything."""
        record = self._draft_record()
        draft = Draft(_text(record, "text"), self._pictures(record))
        return draft if draft.text or draft.pictures else None

    def _draft_record(self) -> dict[str, Any]:
        with contextlib.suppress(OSError):
            if self.draft_path.stat().st_size <= FILE_BYTES:
                record = _record(self.draft_path.read_bytes())
                return record if record.get("schema") == DRAFT_SCHEMA else {}
        return {}

    def drop_draft(self) -> None:
        """Delete the draft: it was sent, or it is empty."""
        with contextlib.suppress(OSError):
            self.draft_path.unlink(missing_ok=True)

    def resumable(self) -> bool:
        """Whether its file is a chat, or a draft where nothing was sent yet."""
        try:
            with self.path.open("rb") as file:
                return _record(file.readline(HEAD_BYTES)).get("schema") == SCHEMA
        except FileNotFoundError:
            return bool(self._draft_record())
        except OSError:
            return False

    def _append(self, record: Mapping[str, Any]) -> None:
        make_private_dir(self.path.parent)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        try:
            with os.fdopen(os.open(self.path, flags, 0o600), "r+b") as file:
                size = file.seek(0, os.SEEK_END)
                header = {"schema": SCHEMA, "id": self.id, "created": self.created}
                header["title"] = self.title
                data = _line(record) if size else _line(header) + _line(record)
                if size + len(data) > FILE_BYTES:
                    raise Refused(
                        "The chat has grown too long to be saved.",
                        why=f"{self.path} may hold at most {FILE_BYTES >> 20} MiB.",
                        next="Start a new chat: /new",
                    )
                if size:
                    # A crash can leave half a line behind: it must not swallow this one.
                    file.seek(-1, os.SEEK_END)
                    data = data if file.read(1) == b"\n" else b"\n" + data
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def read(self) -> None:
        """Read the entries from the file, if there is one. Raises `BadFile`."""
        if not self.path.is_file():
            return
        try:
            if self.path.stat().st_size > FILE_BYTES:
                raise self._bad("is not a chat", f"It is longer than {FILE_BYTES >> 20} MiB.")
            lines = self.path.read_bytes().split(b"\n")
        except OSError as error:
            raise self._bad("cannot be read", f"{error.strerror or error}.") from error
        header = _record(lines[0])
        if header.get("schema") != SCHEMA:
            found = repr(_text(header, "schema")[:40]) if header else "not a header"
            raise self._bad(
                "is not a chat that this steprun can read",
                f"Its first line is {found}, where {SCHEMA!r} was expected.",
            )
        self.title, self.created = _text(header, "title"), _text(header, "created")
        for place, line in enumerate(lines[1:], 2):
            if not line.strip():
                continue
            record = _record(line)
            if record.get("retry") is True:
                if self.entries and self.entries[-1].message.role == "assistant":
                    self.entries.pop()
            elif (entry := self._entry(record)) is not None:
                self.entries.append(entry)
            else:
                cut = " (cut short)" if place == len(lines) else ""
                self.warnings.append(f"Line {place} of the chat cannot be read{cut}; left out.")

    def _bad(self, what: str, why: str) -> BadFile:
        return BadFile(f"{self.path} {what}.", why=why, next="Start a new chat: steprun chat")

    def _entry(self, record: Mapping[str, Any]) -> SessionEntry | None:
        role = record.get("role")
        if role not in ("user", "assistant") or not isinstance(record.get("text"), str):
            return None
        return SessionEntry(
            Message(
                role, record["text"], self._pictures(record), reasoning=_text(record, "reasoning")
            ),
            stopped=record.get("stopped") is True,
            failed=_text(record, "failed"),
            finish=_text(record, "finish"),
            usage=_usage(record.get("usage")),
        )

    def _pictures(self, record: Mapping[str, Any]) -> tuple[Picture, ...]:
        references = record.get("pictures")
        pictures: list[Picture] = []
        for reference in references if isinstance(references, list) else ():
            if (picture := stored(sessions_dir(), mapping(reference))) is not None:
                pictures.append(picture)
            else:
                name = _text(mapping(reference), "name")[:NAME_CHARS]
                self.warnings.append(f"Image {name!r} is missing or has changed; left out.")
        return tuple(pictures)


def list_sessions() -> Iterator[str]:
    """Yield the IDs of the saved chats, also of those that are only a draft, last used first.

    A file is opened only when its ID is due: scripts can leave thousands of chats.
    """
    used: dict[str, float] = {}
    with contextlib.suppress(OSError), os.scandir(sessions_dir()) as files:
        for file in files:
            name, _, kind = file.name.partition(".")
            if kind in ("jsonl", "draft.json") and _ID.fullmatch(name):
                used[name] = max(used.get(name, 0.0), file.stat().st_mtime)
    # An ID begins with the time: of two used at once, the younger one is first.
    newest_first = sorted(used, key=lambda name: (used[name], name), reverse=True)
    return (name for name in newest_first if Session(name).resumable())


def is_deleted(session_id: str) -> bool:
    """Return whether a chat of this ID is not on the disk any more. Other names are never."""
    session = Session(session_id)
    if not _ID.fullmatch(session_id):
        return False
    try:
        return not (session.path.is_file() or session.draft_path.is_file())
    except OSError:
        return False  # a disk that fails deletes nothing


def find_session(session_id: str = "") -> str:
    """Return the ID of a saved chat; of the last used one for `LATEST` and for no ID.

    Raises `Refused` where there is none.
    """
    if session_id in ("", LATEST):
        newest = next(list_sessions(), None)
        if newest is None:
            raise Refused(
                "No saved chat to resume.",
                why=f"{sessions_dir()} holds none.",
                next="Start one: steprun chat",
            )
        return newest
    # The ID becomes a file name: nothing but an ID may pass.
    session = Session(session_id) if _ID.fullmatch(session_id) else None
    if session is None or not (session.path.is_file() or session.draft_path.is_file()):
        raise Refused(
            f"No saved chat has the ID {session_id[:60]!r}.",
            why=f"It was not found in {sessions_dir()}.",
            next="Resume the last one: steprun chat --resume",
        )
    return session_id


def _line(record: Mapping[str, Any]) -> bytes:
    # ASCII only: a lone surrogate in a model's answer must not fail the write.
    return json.dumps(record).encode("ascii") + b"\n"


def _record(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _text(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    return value if isinstance(value, str) else ""


def _usage(value: object) -> Usage | None:
    figures = mapping(value)
    if not figures:
        return None
    return Usage(
        prompt_tokens=integer(figures.get("prompt_tokens")),
        cached_tokens=integer(figures.get("cached_tokens")),
        completion_tokens=integer(figures.get("completion_tokens")),
        prefill_tps=number(figures.get("prefill_tps")),
        decode_tps=number(figures.get("decode_tps")),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
