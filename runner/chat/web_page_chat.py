"""A chat as llama-server's web page exports it: messages that name their parents. Pure.

The form is that of `tools/ui` of llama.cpp (conversation-transfer.service.ts, b11549): a line of
type `session`, then a line of type `message` each; before that, one object with `conv` and
`messages`. An answer there is a chain of messages of the assistant and of tools; here it is one,
with steps.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from runner.base.text import clean
from runner.chat.as_json import MOST_TURNS, PictureReader, bad_document
from runner.chat.inert import from_others, inert
from runner.chat.sessions.entries import SessionEntry, answered, text_of
from runner.chat.sessions.store import new_id
from runner.chat.steps import StepKind, TurnStep
from runner.chat.untrusted import mapping
from runner.chat.wire import Message, Picture

_DATA_URL: Final = ";base64,"


def page_chat(data: bytes) -> Mapping[str, Any] | None:
    """Return the first chat of a file with its `conv` and `messages`, None where it has none."""
    if not data.lstrip().startswith((b"{", b"[")):
        return None
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return _of_lines(data)
    first = document[0] if isinstance(document, list) and document else document
    if mapping(first).get("type") == "session":  # a chat without messages is one line
        return _of_lines(data)
    found = mapping(first)
    return found if "conv" in found and isinstance(found.get("messages"), list) else None


def _of_lines(data: bytes) -> Mapping[str, Any] | None:
    conv: Mapping[str, Any] | None = None
    messages: list[object] = []
    for each in filter(bytes.strip, data.split(b"\n")):
        try:
            record = mapping(json.loads(each))
        except (ValueError, RecursionError):
            return None
        if record.get("type") == "session":
            if conv is not None:
                break  # of several chats the first one
            conv = record
        elif record.get("type") == "message" and conv is not None:
            messages.append(record.get("message"))
    return None if conv is None else {"conv": conv, "messages": messages}


def page_entries(
    chat: Mapping[str, Any], name: str, reader: PictureReader
) -> tuple[list[SessionEntry], str]:
    """Return the questions and answers, parents first, and the ID of the last one that is shown.

    `name`: of the file. Raises `BadFile`.
    """
    messages = [mapping(each) for each in chat["messages"]]
    if len(messages) > 2 * MOST_TURNS or not all(text_of(each, "id") for each in messages):
        raise bad_document(name, f"It has a message without an `id`, or over {2 * MOST_TURNS:,}.")
    by_id = {text_of(each, "id"): each for each in messages}
    children: dict[str, list[str]] = {}
    for key, each in by_id.items():
        parent = text_of(each, "parent")
        children.setdefault(parent if parent in by_id else "", []).append(key)
    made = _Entries(by_id, children, reader)
    made.walk()
    return made.entries, made.places.get(text_of(mapping(chat["conv"]), "currNode"), "")


class _Entries:
    """Makes entries of messages. `places`: in which entry a message went."""

    def __init__(
        self,
        by_id: Mapping[str, Mapping[str, Any]],
        children: Mapping[str, Sequence[str]],
        reader: PictureReader,
    ) -> None:
        self.entries: list[SessionEntry] = []
        self.places: dict[str, str] = {}
        self._by_id, self._children, self._reader = by_id, children, reader

    def walk(self) -> None:
        """Go through the messages from the root, without recursion: a file may be deep."""
        due = [(key, "") for key in reversed(self._children.get("", ()))]
        seen: set[str] = set()
        while due:
            key, above = due.pop()
            if key in seen:
                continue
            seen.add(key)
            message = self._by_id[key]
            role = text_of(message, "role")
            if role == "user" and message.get("type") != "root":
                above = self._question(message, above)
            elif role in ("assistant", "tool"):
                last = self._answer(key, above, seen)
                above, key = self.places[last], last
            self.places[key] = above
            due += [(each, above) for each in reversed(self._children.get(key, ()))]

    def _question(self, message: Mapping[str, Any], above: str) -> str:
        text = from_others(text_of(message, "content"))
        asked = Message("user", text, self._pictures(message))
        entry = SessionEntry(asked, id=new_id(), parents=(above,) if above else ())
        self.entries.append(entry)
        return entry.id

    def _answer(self, key: str, above: str, seen: set[str]) -> str:
        """Make one answer of a message and of those of the model and its tools after it."""
        chain = [key]
        while True:
            after = self._children.get(chain[-1], ())
            goes_on = [each for each in after if text_of(self._by_id[each], "role") != "user"]
            if len(after) != 1 or not goes_on or goes_on[0] in seen:
                break
            chain += goes_on
            seen.add(goes_on[0])
        steps = [step for each in chain for step in self._steps(self._by_id[each])]
        parents = (above,) if above else ()
        entry = answered(steps, finish="stop", id=new_id(), parents=parents)
        self.entries.append(entry)
        self.places |= dict.fromkeys(chain, entry.id)
        return chain[-1]

    def _steps(self, message: Mapping[str, Any]) -> list[TurnStep]:
        content = clean(text_of(message, "content"))
        if text_of(message, "role") == "tool":
            asked = clean(text_of(message, "toolCallId"))
            pictures = self._pictures(message)
            returned = inert(content)
            return [TurnStep(StepKind.RESULT, returned, call=asked, pictures=pictures)]
        thought = text_of(message, "reasoningContent") or text_of(message, "thinking")
        kinds = ((StepKind.THINKING, clean(thought)), (StepKind.TEXT, content))
        steps = [TurnStep(kind, text) for kind, text in kinds if text]
        calls = message.get("toolCalls")
        if isinstance(calls, str):
            try:
                calls = json.loads(calls)
            except (ValueError, RecursionError):
                calls = None
        for call in map(mapping, calls if isinstance(calls, list) else ()):
            function = mapping(call.get("function"))
            names = clean(text_of(function, "name")), clean(text_of(call, "id"))
            arguments = clean(text_of(function, "arguments"))
            steps.append(TurnStep(StepKind.CALL, arguments, name=names[0], call=names[1]))
        return steps

    def _pictures(self, message: Mapping[str, Any]) -> tuple[Picture, ...]:
        extra = message.get("extra")
        found = []
        for record in map(mapping, extra if isinstance(extra, list) else ()):
            if text_of(record, "type").lower() in ("image", "imagefile"):
                _, _, data = text_of(record, "base64Url").partition(_DATA_URL)
                found.append(self._reader.read(record.get("name"), data))
        return tuple(picture for picture in found if picture is not None)
