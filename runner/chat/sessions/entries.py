"""The records of a saved chat, and the lines that they are on the disk. Pure.

Format 2: a question or an answer is one line of JSON with an `id`, and `parents`: what it follows,
the nearest first, so that it still has its place where the line of the nearest is lost. An edited
question and another answer to the same question are siblings: nothing is ever replaced. Lines of
format 1 have neither; `tree` gives them both.

The `text` of a question is all that was sent, the text of its files included; `files` says which
parts of it they are. So a steprun that knows no files sends the same text again.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from runner.base.text import clean_name
from runner.chat.events import Usage
from runner.chat.files.attached import (
    AttachedFile,
    file_records,
    own_pictures,
    sent_text,
    split_text,
    typed_again,
)
from runner.chat.steps import StepKind, TurnStep, steps_of, words
from runner.chat.untrusted import integer, mapping, number
from runner.chat.wire import Message, Picture

SCHEMA: Final = "steprun.session/2"
FIRST_SCHEMA: Final = "steprun.session/1"
_SCHEMAS: Final = re.compile(r"steprun\.session/([0-9]{1,9})")
ANCESTORS: Final = 8  # how many lost lines in a row a record can do without
_ID: Final = re.compile(r"[0-9a-z-]{1,40}")
_WORDS: Final = 200  # characters of a reason, as `reading` has them

# Returns the pictures that a record refers to, and what a record says of a picture.
Load = Callable[[object], tuple[Picture, ...]]
Keep = Callable[[Picture], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class SessionEntry:
    """One question or answer as it was saved.

    `steps` of an answer, in order; its `message` holds the same words. `stopped`: the user ended
    the answer; `cut`: the end of the program did; `failed`: the text of the error that did;
    `finish`: why the model ended it. `parents`: the IDs of what it follows, the nearest first.
    `files` of a question, whose `message` holds the user's own words.
    """

    message: Message
    stopped: bool = False
    failed: str = ""
    finish: str = ""
    usage: Usage | None = None
    steps: tuple[TurnStep, ...] = ()
    cut: bool = False
    id: str = ""
    parents: tuple[str, ...] = ()
    files: tuple[AttachedFile, ...] = ()

    @property
    def asks(self) -> bool:
        """Whether it is a question."""
        return self.message.role == "user"


@dataclass(frozen=True, slots=True)
class Draft:
    """What was typed and not sent."""

    text: str
    pictures: tuple[Picture, ...] = ()


def draft_of(text: str, pictures: Sequence[Picture], files: Sequence[AttachedFile] = ()) -> Draft:
    """Return a question as what is typed to ask it: its files are mentioned in the text."""
    return Draft(typed_again(text, files), own_pictures(pictures, files))


def answered(steps: Sequence[TurnStep], **marks: Any) -> SessionEntry:
    """Return an answer of these steps; `marks` are the entry's other fields."""
    answer, reasoning = words(steps, StepKind.TEXT), words(steps, StepKind.THINKING)
    message = Message("assistant", answer, reasoning=reasoning)
    return SessionEntry(message, steps=tuple(replace(step) for step in steps), **marks)


def line(record: Mapping[str, Any]) -> bytes:
    """Return a record as a line. ASCII only: a lone surrogate must not fail the write."""
    return json.dumps(record).encode("ascii") + b"\n"


def record_of(data: bytes) -> dict[str, Any]:
    """Return the record of a line, empty where it cannot be read."""
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def to_record(entry: SessionEntry, at: str, keep: Keep) -> dict[str, Any]:
    """Return a question or an answer as it is saved; `keep` stores the pictures."""
    message = entry.message
    record: dict[str, Any] = {"id": entry.id, "parents": list(entry.parents)}
    record |= {"role": message.role, "at": at}
    if entry.asks:
        record["text"] = sent_text(entry.files, message.text)
        if entry.files:
            record["files"] = file_records(entry.files)
        if message.pictures:
            record["pictures"] = [keep(picture) for picture in message.pictures]
        return record
    record["steps"] = [step_record(step, keep) for step in entry.steps]
    marks = {name: getattr(entry, name) for name in ("stopped", "cut", "failed", "finish")}
    record |= {name: value for name, value in marks.items() if value}
    if entry.usage is not None:
        record["usage"] = asdict(entry.usage)
    return record


def step_record(step: TurnStep, keep: Keep) -> dict[str, Any]:
    """Return a step as it is saved: its kind, and whatever else it has."""
    record: dict[str, Any] = {"kind": step.kind.value, "text": step.text}
    figures = {"seconds": round(step.seconds, 3), "tokens": step.tokens}
    rest = {**figures, "name": step.name, "call": step.call}
    record |= {name: value for name, value in rest.items() if value}
    if step.pictures:
        record["pictures"] = [keep(picture) for picture in step.pictures]
    return record


def to_entry(record: Mapping[str, Any], load: Load) -> SessionEntry | None:
    """Return the question or answer of a record, which is not trusted; None where it is neither.

    One of format 1 has an empty ID.
    """
    role, known = record.get("role"), record.get("id")
    entry_id = known if isinstance(known, str) and _ID.fullmatch(known) else ""
    if known is not None and not entry_id:
        return None
    parents = tuple(str(each)[:40] for each in _listed(record.get("parents"))[:ANCESTORS])
    if role == "user" and isinstance(record.get("text"), str):
        files, text = split_text(record["text"], record.get("files"))
        message = Message("user", text, load(record.get("pictures")))
        return SessionEntry(message, id=entry_id, parents=parents, files=files)
    if role != "assistant":
        return None
    if isinstance(saved := record.get("steps"), list):
        steps = [step for each in saved if (step := to_step(mapping(each), load)) is not None]
    elif isinstance(record.get("text"), str):
        steps = steps_of(text_of(record, "reasoning"), record["text"])
    else:
        return None
    return answered(
        steps,
        stopped=record.get("stopped") is True,
        cut=record.get("cut") is True,
        failed=text_of(record, "failed"),
        finish=text_of(record, "finish"),
        usage=_usage(record.get("usage")),
        id=entry_id,
        parents=parents,
    )


def to_step(record: Mapping[str, Any], load: Load) -> TurnStep | None:
    """Return the step of a record, which is not trusted; None where it is none."""
    kind = text_of(record, "kind")
    if kind not in list(StepKind):
        return None
    return TurnStep(
        StepKind(kind),
        text_of(record, "text"),
        number(record.get("seconds")),
        integer(record.get("tokens")),
        text_of(record, "name"),
        text_of(record, "call"),
        load(record.get("pictures")),
    )


def id_of_line(data: bytes) -> str:
    """Return the ID of a line of format 1: it stays the same whatever becomes of other lines."""
    return f"1-{hashlib.sha256(data.strip()).hexdigest()[:16]}"


def version(header: Mapping[str, Any]) -> int:
    """Return the format that a file's first line names, 0 where it names none."""
    found = _SCHEMAS.fullmatch(text_of(header, "schema"))
    return int(found[1]) if found else 0


def text_of(record: Mapping[str, Any], name: str) -> str:
    """Return a field if it is text, else nothing."""
    value = record.get(name)
    return value if isinstance(value, str) else ""


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


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
        drafted=integer(figures.get("drafted")),
        accepted=integer(figures.get("accepted")),
        restored_tokens=integer(figures.get("restored_tokens")),
        reread=clean_name(why, _WORDS) if (why := text_of(figures, "reread").strip()) else "",
        read_tps=number(figures.get("read_tps")),
        earlier_tokens=integer(figures.get("earlier_tokens")),
    )
