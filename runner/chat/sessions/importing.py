"""A file that holds a chat, made into a saved chat of one's own. Blocks: call it in a thread."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Final

from runner.base.errors import BadFile, SteprunError
from runner.base.files import write_private
from runner.chat.as_json import PictureReader, bad_document, from_json
from runner.chat.sessions.appending import FILE_BYTES
from runner.chat.sessions.branch import answer_of, question_of
from runner.chat.sessions.entries import SCHEMA, SessionEntry, line, to_record
from runner.chat.sessions.index import note_chat
from runner.chat.sessions.store import Session, new_id
from runner.chat.sessions.tree import ChatTree, current_record, name_record
from runner.chat.turn import Turn, TurnState
from runner.chat.untrusted import mapping
from runner.chat.web_page_chat import page_chat, page_entries

IMPORT_BYTES: Final = 128 << 20  # a chat with a hundred photographs


def import_chat(typed: str, title: str = "") -> tuple[str, list[str]]:
    """Save the chat of a file as a new one; return its ID, and what is lost, in words.

    `title`: the model's name. Raises `BadFile` where it is no chat, `Refused` where it cannot be
    saved; nothing is left behind then but pictures that no chat refers to.
    """
    data, name = _read(typed)
    reader = PictureReader()
    tree = ChatTree()
    current = ""
    if (chat := page_chat(data)) is not None:
        entries, current = page_entries(chat, name, reader)
        tree.name = str(mapping(chat["conv"]).get("name") or "")[:200]
        title = title or _model(chat["messages"])
    else:
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise bad_document(name, f"It is not JSON ({str(error)[:100]}).") from error
        turns = from_json(mapping(document), name, reader)
        entries = _entries(turns)
        title = title or str(mapping(document).get("model") or "")[:200]
    if not entries:
        raise bad_document(name, "It has no message.")
    session = Session.create(title)
    _save(session, tree, entries, current)
    lost = [f"The image {each!r} of {name} cannot be used; left out." for each in reader.lost[:5]]
    if (more := len(reader.lost) - len(lost)) > 0:
        lost.append(f"{more:,} more images of {name} cannot be used; left out.")
    return session.id, lost


def _read(typed: str) -> tuple[bytes, str]:
    try:
        path = Path(typed).expanduser()
        if path.is_dir():
            raise bad_document(typed, "It is a folder.")
        with path.open("rb") as file:
            data = file.read(IMPORT_BYTES + 1)
    except SteprunError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # no home, an impossible name
        why = f"{getattr(error, 'strerror', None) or error}."
        raise BadFile(f"{typed} cannot be read.", why=why) from error
    if len(data) > IMPORT_BYTES:
        raise bad_document(path.name, f"It is longer than {IMPORT_BYTES >> 20} MiB.")
    return data, path.name


def _model(messages: list[object]) -> str:
    models = (mapping(each).get("model") for each in reversed(messages))
    return next((each[:200] for each in models if isinstance(each, str) and each), "")


def _entries(turns: list[Turn]) -> list[SessionEntry]:
    entries: list[SessionEntry] = []
    for turn in turns:
        turn.asked_id, turn.answer_id = new_id(), new_id()
        parents = (entries[-1].id,) if entries else ()
        entries.append(question_of(turn, parents))
        if turn.steps or turn.phase is not TurnState.CUT:
            entries.append(answer_of(turn, (turn.asked_id,)))
    return entries


def _save(session: Session, tree: ChatTree, entries: list[SessionEntry], current: str) -> None:
    """Write the file in one piece: a chat is imported whole, or not at all."""
    header = {"schema": SCHEMA, "id": session.id, "created": session.created}
    lines = [line({**header, "title": session.title})]
    for entry in entries:
        whole = replace(entry, parents=tree.ancestors(entry.parents[0]) if entry.parents else ())
        tree.add(whole)
        lines.append(line(to_record(whole, session.created, session.pictures.keep)))
    if current in tree.entries:
        tree.go_to(tree.newest_below(current))
        lines.append(line(current_record(tree.current)))
    if tree.name:
        lines.append(line(name_record(tree.name)))
    data = b"".join(lines)
    if len(data) > FILE_BYTES:
        raise BadFile(
            "The chat is too long to be saved.",
            why=f"Without its pictures it takes more than {FILE_BYTES >> 20} MiB.",
        )
    write_private(session.path, data)
    session.tree = tree
    note_chat(session)
