"""The questions and answers of one chat as a tree, of which one branch is current. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from runner.chat.sessions.entries import (
    ANCESTORS,
    Load,
    SessionEntry,
    id_of_line,
    record_of,
    text_of,
    to_entry,
)

LOST: Final = "?"  # stands for the ID of what cannot be read; not an ID itself


class ChatTree:
    """Entries by ID; a parent is always added before its children.

    `current`: the ID of the last entry of the current branch, empty where there is none. `name`:
    what the user calls the chat. `settings`: what was chosen for this chat, by name.
    """

    def __init__(self) -> None:
        self.entries: dict[str, SessionEntry] = {}
        self.current = ""
        self.name = ""
        self.settings: Mapping[str, Any] = {}
        self._parent: dict[str, str] = {}
        self._children: dict[str, list[str]] = {}
        self._latest: dict[str, str] = {}

    def add(self, entry: SessionEntry) -> bool:
        """Add an entry, which is then the last of the current branch. False: its ID is known.

        It hangs on the first of its parents that is known.
        """
        if not entry.id or entry.id in self.entries:
            return False
        parent = next((each for each in entry.parents if each in self.entries), "")
        self.entries[entry.id] = entry
        self._parent[entry.id] = parent
        self._children.setdefault(parent, []).append(entry.id)
        self.go_to(entry.id)
        return True

    def go_to(self, entry_id: str) -> None:
        """Make the branch that ends in an entry the current one."""
        self.current = entry_id
        while entry_id:
            parent = self._parent[entry_id]
            if self._latest.get(parent) == entry_id:
                break
            self._latest[parent] = entry_id
            entry_id = parent

    def branch(self) -> list[SessionEntry]:
        """Return the entries of the current branch, the first one first."""
        found, entry_id = [], self.current
        while entry_id:
            found.append(self.entries[entry_id])
            entry_id = self._parent[entry_id]
        return found[::-1]

    def above(self, entry_id: str) -> str:
        """Return the ID of what an entry follows, empty at the beginning."""
        return self._parent.get(entry_id, "")

    def below(self, entry_id: str) -> Sequence[str]:
        """Return the IDs of what follows an entry, or of all beginnings."""
        return self._children.get(entry_id, ())

    def newest_below(self, entry_id: str) -> str:
        """Return the end of the branch below an entry that was used last."""
        while (latest := self._latest.get(entry_id)) is not None:
            entry_id = latest
        return entry_id

    def ancestors(self, entry_id: str) -> tuple[str, ...]:
        """Return the IDs of an entry and of what is above it, as a child of it names them."""
        found: list[str] = []
        while entry_id in self.entries and len(found) < ANCESTORS:
            found.append(entry_id)
            entry_id = self._parent[entry_id]
        return tuple(found)

    def displaced(self, entry_id: str) -> bool:
        """Whether an entry does not hang on what it followed, as that is lost."""
        parents = self.entries[entry_id].parents
        return bool(parents) and self._parent[entry_id] != parents[0]


def read_tree(lines: Iterable[bytes], load: Load) -> tuple[ChatTree, list[int]]:
    """Return the tree of a file's lines, and the numbers of the lines that cannot be read.

    The first line counts as number 2: it follows the header.
    """
    tree, unreadable, gap = ChatTree(), [], False
    for place, data in enumerate(lines, 2):
        if not data.strip():
            continue
        record = record_of(data)
        if record.get("retry") is True:
            # Format 1: the next answer is another one to the same question.
            if not gap and tree.current and not tree.entries[tree.current].asks:
                tree.go_to(tree.above(tree.current))
        elif isinstance(current := record.get("current"), str):
            if current in tree.entries:
                tree.go_to(current)
        elif isinstance(record.get("name"), str):
            tree.name = text_of(record, "name")
        elif isinstance(settings := record.get("settings"), dict):
            tree.settings = settings
        elif (entry := to_entry(record, load)) is not None:
            tree.add(entry if entry.id else _placed(tree, entry, data, gap=gap))
            gap = False
        else:
            unreadable.append(place)
            gap = True
    return tree, unreadable


def _placed(tree: ChatTree, entry: SessionEntry, data: bytes, *, gap: bool) -> SessionEntry:
    """Give an entry of format 1 its ID and its parents: it follows what was read before it.

    Behind a gap it is not known what it followed. An answer without its question is not put under
    another one, nor a question under one whose answer is lost.
    """
    above = tree.ancestors(tree.current)
    after_question = bool(above) and tree.entries[above[0]].asks
    lost = after_question and gap if entry.asks else gap or not after_question
    parents = (LOST, *above)[:ANCESTORS] if lost else above
    return replace(entry, id=id_of_line(data), parents=parents)


def name_record(name: str) -> Mapping[str, Any]:
    """Return the record that names a chat."""
    return {"name": name}


def settings_record(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the record of all that was chosen for a chat."""
    return {"settings": dict(settings)}


def current_record(entry_id: str) -> Mapping[str, Any]:
    """Return the record that makes the branch that ends in an entry the current one."""
    return {"current": entry_id}
