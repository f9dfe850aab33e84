"""The words of all saved chats in one SQLite file, so that a search opens none of them.

The file follows the chats by their size and time, in steps that the caller bounds; only what is
new in a chat is added. It may be deleted at any time: see `word_file`.

Texts are found by trigrams of their folded form (see `runner.chat.finding`), so that any piece of a
word is found, and words of languages that are written without spaces. Candidates are then compared
themselves: the trigrams have no positions, which halves the file. Where Python's SQLite has no FTS5
with trigrams (before 3.34), all texts are scanned. Everything here blocks: call it in a thread.
"""

import contextlib
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runner.base.errors import Refused, SteprunError
from runner.chat.finding import HitPlace, Needle, folded, needle, snippet
from runner.chat.sessions.entries import SessionEntry
from runner.chat.sessions.index import note_chat
from runner.chat.sessions.store import Session, scan_sessions, sessions_dir
from runner.chat.sessions.word_file import WordFile, has_trigrams
from runner.chat.steps import StepKind, words

GRAM: Final = 3  # characters of a trigram
TEXT_CHARS: Final = 1 << 20  # of one text: as much as can be pasted
MOST_CHATS: Final = 100  # that a search returns
SEARCH_S: Final = 2.0  # a search that takes longer returns what it has
COMMIT_S: Final = 0.25  # another window waits no longer than this
_OPS: Final = 10_000  # of SQLite's machine, a few milliseconds, between two looks at the clock
_SECOND: Final = 21  # bits of a row's number below the second that its chat was saved in
_LAST_SECOND: Final = 1 << 34


@dataclass(frozen=True, slots=True)
class ChatHit:
    """A chat that has the words. `entry`: the question or answer that has them, by ID.

    `piece` of its text, on one line; `wanted`: what to look for in the chat to get there.
    """

    chat: str
    entry: str
    place: HitPlace
    piece: str
    wanted: str


@dataclass(frozen=True, slots=True)
class IndexState:
    """How many of all chats have their words in the index."""

    done: int
    total: int


class WordIndex:
    """The index of the chats in the data folder."""

    def __init__(self) -> None:
        self._file = WordFile(sessions_dir() / "words.db")

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._file.path

    def update(self, seconds: float) -> IndexState:
        """Take in what has changed, for about `seconds`; return how far it is.

        Raises `Refused` where the file cannot be written.
        """
        return self._file.do(lambda base: _update(base, time.monotonic() + seconds))

    def search(self, typed: str) -> list[ChatHit]:
        """Return the chats that have all these words in one text, those saved last first."""
        wanted = [each for word in typed.split() if (each := needle(word)) is not None]
        return self._file.do(lambda base: _search(base, typed, wanted)) if wanted else []

    def questions(self, most: int) -> list[str]:
        """Return the user's messages in all chats, the newest first."""
        asked = "SELECT text FROM texts WHERE place = 'question' ORDER BY id DESC LIMIT ?"
        return self._file.do(lambda base: [str(text) for (text,) in base.execute(asked, (most,))])

    def forget(self, chat_ids: Iterable[str]) -> None:
        """Delete the words of chats, so that the file has no trace of them.

        Where that fails the whole file is deleted. Raises `Refused` where that fails, too.
        """
        if not self.path.exists():
            return
        try:
            self._file.do(lambda base: _forget(base, list(chat_ids)))
        except Refused:
            self._file.discard()


def _begin(base: sqlite3.Connection) -> None:
    """Keep other windows from writing between what is read from here on and what is written."""
    base.execute("BEGIN IMMEDIATE")


# --- taking chats in -------------------------------------------------------------------------


def _update(base: sqlite3.Connection, until: float) -> IndexState:
    files = {
        name: (stat.st_size, stat.st_mtime_ns)
        for name, kind, stat in scan_sessions()
        if kind == "jsonl"
    }
    _begin(base)
    known = {
        name: (number, (size, changed))
        for number, name, size, changed in base.execute(
            "SELECT number, id, bytes, changed FROM chats"
        )
    }
    _forget(base, [name for name in known if name not in files])
    due = [name for name, state in files.items() if known.get(name, (0, None))[1] != state]
    due.sort(key=lambda name: files[name][1], reverse=True)
    done = len(files) - len(due)
    commit_at = time.monotonic() + COMMIT_S
    for name in due:
        if not _take_in(base, name, files[name], until):
            break
        done += 1
        if time.monotonic() >= until:
            break
        if time.monotonic() >= commit_at:
            base.commit()
            _begin(base)
            commit_at = time.monotonic() + COMMIT_S
    return IndexState(done, len(files))


def _take_in(base: sqlite3.Connection, name: str, state: tuple[int, int], until: float) -> bool:
    """Take in what is new in a chat. False: there was not the time for all of it."""
    session = Session(name)
    row = base.execute("SELECT number FROM chats WHERE id = ?", (name,)).fetchone()
    with contextlib.suppress(SteprunError):  # a newer version's, or none of ours: without words
        session.read(pictures=False)
        if row is None:
            note_chat(session)  # its title, too, which the list may not have yet
    if row is None:
        made = base.execute("INSERT INTO chats(id, bytes, changed) VALUES (?, -1, 0)", (name,))
        row = (made.lastrowid,)
    (number,) = row
    there = {
        (entry, place): rowid
        for rowid, entry, place in base.execute(
            "SELECT id, entry, place FROM texts WHERE chat = ?", (number,)
        )
    }
    texts = {
        (entry.id, place): text
        for entry in session.tree.entries.values()
        for place, text in _texts(entry)
    }
    _delete(base, [rowid for key, rowid in there.items() if key not in texts])
    second = max(0, min(state[1] // 1_000_000_000, _LAST_SECOND)) << _SECOND
    (last,) = base.execute(
        "SELECT max(id) FROM texts WHERE id >= ? AND id < ?", (second, second + (1 << _SECOND))
    ).fetchone()
    rowid = second if last is None else last + 1
    for (entry, place), text in texts.items():
        if (entry, place) in there:
            continue
        base.execute(
            "INSERT INTO texts VALUES (?, ?, ?, ?, ?)", (rowid, number, entry, place, text)
        )
        if has_trigrams():
            base.execute("INSERT INTO words(rowid, text) VALUES (?, ?)", (rowid, _indexed(text)))
        rowid += 1
        if time.monotonic() >= until:
            return False
    base.execute("UPDATE chats SET bytes = ?, changed = ? WHERE id = ?", (*state, name))
    return True


def _texts(entry: SessionEntry) -> Iterator[tuple[HitPlace, str]]:
    """Yield the texts of a question or an answer, bounded and fit for the file."""
    found = [(HitPlace.QUESTION, entry.message.text)]
    if not entry.asks:
        tools = [
            f"{step.name} {step.text}".strip()
            for step in entry.steps
            if step.kind in (StepKind.CALL, StepKind.RESULT)
        ]
        found = [
            (HitPlace.THINKING, words(entry.steps, StepKind.THINKING)),
            (HitPlace.ANSWER, words(entry.steps, StepKind.TEXT)),
            (HitPlace.TOOL, "\n\n".join(tools)),
        ]
    for place, text in found:
        if text.strip():
            # Half a character, and the end of a text in C, are none that SQLite keeps.
            whole = text[:TEXT_CHARS].encode("utf-8", "replace").decode("utf-8")
            yield place, whole.replace("\0", " ")


def _indexed(text: str) -> str:
    """Return a text as its trigrams are made: what `_grams` returns are pieces of it."""
    return " ".join(folded(text).split())


# --- taking chats out ------------------------------------------------------------------------


def _forget(base: sqlite3.Connection, chat_ids: list[str]) -> None:
    if not base.in_transaction:
        _begin(base)
    for name in chat_ids:
        rows = base.execute(
            "SELECT texts.id FROM texts JOIN chats ON texts.chat = chats.number WHERE chats.id = ?",
            (name,),
        ).fetchall()
        _delete(base, [rowid for (rowid,) in rows])
        base.execute("DELETE FROM chats WHERE id = ?", (name,))


def _delete(base: sqlite3.Connection, rowids: list[int]) -> None:
    if not rowids:
        return
    for rowid in rowids:
        (text,) = base.execute("SELECT text FROM texts WHERE id = ?", (rowid,)).fetchone()
        if has_trigrams():
            base.execute(
                "INSERT INTO words(words, rowid, text) VALUES ('delete', ?, ?)",
                (rowid, _indexed(str(text))),
            )
        base.execute("DELETE FROM texts WHERE id = ?", (rowid,))
    if has_trigrams():
        # FTS5 keeps what is deleted until it merges: the trigrams of a text nearly are the text.
        base.execute("INSERT INTO words(words) VALUES ('optimize')")


# --- searching -------------------------------------------------------------------------------


def _search(base: sqlite3.Connection, typed: str, wanted: list[Needle]) -> list[ChatHit]:
    until = time.monotonic() + SEARCH_S
    base.set_progress_handler(lambda: time.monotonic() >= until, _OPS)
    found: dict[str, ChatHit] = {}
    whole = needle(typed)
    rows = _candidates(base, typed, wanted)
    with _until(until):
        for name, entry, place, text in rows:
            if name not in found and place in list(HitPlace):
                text = str(text)  # noqa: PLW2901 - whatever a damaged file has there
                compared = folded(text)
                if all(each.pattern.search(compared) for each in wanted):
                    best = whole if whole and whole.pattern.search(compared) else None
                    best = best or max(wanted, key=lambda each: len(each.words))
                    piece = snippet(text, best)
                    found[name] = ChatHit(name, str(entry), HitPlace(place), piece, best.words)
            if len(found) >= MOST_CHATS or time.monotonic() >= until:
                break
    return list(found.values())


@contextlib.contextmanager
def _until(until: float) -> Iterator[None]:
    """Let a search that was interrupted as its time is over end in peace."""
    try:
        yield
    except sqlite3.OperationalError:
        if time.monotonic() < until:
            raise


def _candidates(
    base: sqlite3.Connection, typed: str, wanted: list[Needle]
) -> Iterator[tuple[str, str, str, str]]:
    """Yield the texts that may have the words, the newest first."""
    select = "SELECT chats.id, texts.entry, texts.place, texts.text FROM texts "
    chats = "JOIN chats ON texts.chat = chats.number "
    grams = {gram for each in wanted for gram in _grams(each)}
    if grams and has_trigrams():
        match = " AND ".join('"{}"'.format(gram.replace('"', '""')) for gram in sorted(grams))
        yield from base.execute(
            f"{select} JOIN words ON texts.id = words.rowid {chats}"
            "WHERE words MATCH ? ORDER BY words.rowid DESC",
            (match,),
        )
        return
    longest = max(typed.split(), key=len)
    forms = sorted({longest, longest.lower(), longest.upper(), folded(longest)})
    like = " OR ".join(["instr(texts.text, ?)"] * len(forms))
    yield from base.execute(
        f"{select} {chats} WHERE {like} ORDER BY texts.id DESC",
        forms,
    )


def _grams(wanted: Needle) -> set[str]:
    text = "" if wanted.marks else folded(wanted.words)
    return {text[at : at + GRAM] for at in range(len(text) - GRAM + 1)}
