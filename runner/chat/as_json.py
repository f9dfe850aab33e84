"""A conversation as a JSON document, pictures included, and back. Pure but for decoding pictures.

A document that is read may be anybody's: whatever is not what it should be is named.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from runner.base.errors import BadFile, SteprunError
from runner.base.text import clean, clean_name
from runner.chat.events import Usage
from runner.chat.files.attached import files_of
from runner.chat.images.load import picture_from_bytes
from runner.chat.inert import from_others
from runner.chat.sessions.entries import step_record, to_step
from runner.chat.steps import StepKind, TurnStep, steps_of
from runner.chat.turn import Turn, TurnState
from runner.chat.untrusted import integer, mapping
from runner.chat.wire import Picture

SCHEMA: Final = "steprun.conversation/1"
MOST_TURNS: Final = 20_000
MOST_STEPS: Final = 2_000  # of one answer
_SCHEMAS: Final = re.compile(r"steprun\.conversation/([0-9]{1,9})")
_STATES: Final = {state.name.lower(): state for state in TurnState if state.over}
NO_REASON: Final = "The answer failed."


def to_json(turns: Sequence[Turn], title: str) -> str:
    """Return the conversation as a document; `title`: the model's name.

    Each turn has the question's `text` and `pictures` (`data` is base64 of the bytes as they were
    sent), its `files` (`text` as it was sent, before the question's; the last `pictures` are of
    them), the `reasoning` and the `answer`; `state` is `done`, `stopped`, `failed`, `cut`, or
    `running` where the answer had not ended. `steps` has the same in its order, with the tool calls
    and their results, as the session format has it.
    """
    document = {"schema": SCHEMA, "model": title, "turns": [_turn(turn) for turn in turns]}
    # ASCII only: half a character in an answer must not fail the write.
    return json.dumps(document, indent=1) + "\n"


def _turn(turn: Turn) -> dict[str, Any]:
    state = turn.phase.name.lower() if turn.phase.over else "running"
    record: dict[str, Any] = {
        "text": turn.text,
        "pictures": [_picture(picture) for picture in turn.pictures],
        "files": [
            {
                "name": each.name,
                "text": each.text,
                "tokens": each.tokens,
                "pictures": each.pictures,
                **({"files": each.files} if each.files else {}),
            }
            for each in turn.files
        ],
        "reasoning": turn.reasoning,
        "answer": turn.answer,
        "state": state,
        "finish": turn.finish,
        "steps": [step_record(step, _picture) for step in turn.steps],
    }
    if turn.phase is TurnState.FAILED:
        record["error"] = str(turn.error or turn.failed)
    if turn.usage is not None:
        record["prompt_tokens"] = turn.usage.prompt_tokens
        record["completion_tokens"] = turn.usage.completion_tokens
    return record


def _picture(picture: Picture) -> dict[str, Any]:
    return {
        "name": picture.name,
        "mime": picture.mime,
        "width": picture.width,
        "height": picture.height,
        "data": base64.b64encode(picture.data).decode("ascii"),
    }


class PictureReader:
    """Decodes the pictures of a document; `lost` names those that cannot be used."""

    def __init__(self) -> None:
        self.lost: list[str] = []

    def read(self, name: object, data: object) -> Picture | None:
        """Return a picture of its name and base64, None where it is lost."""
        called = clean_name(name, 255) if isinstance(name, str) and name else "picture"
        try:
            raw = base64.b64decode(data, validate=True) if isinstance(data, str) else b""
            return picture_from_bytes(raw, called)
        except (binascii.Error, ValueError, SteprunError):
            self.lost.append(called)
            return None

    def load(self, records: object) -> tuple[Picture, ...]:
        """Return the pictures of a list in a document."""
        listed = records if isinstance(records, list) else []
        pictures = (self.read(each.get("name"), each.get("data")) for each in map(mapping, listed))
        return tuple(picture for picture in pictures if picture is not None)


def from_json(document: Mapping[str, Any], name: str, reader: PictureReader) -> list[Turn]:
    """Return the turns of a document; `name`: of its file. Raises `BadFile`.

    An answer that had not ended is one that was cut off.
    """
    schema = document.get("schema")
    found = _SCHEMAS.fullmatch(schema) if isinstance(schema, str) else None
    if found is None or int(found[1]) < 1:
        raise bad_document(name, f"Its schema is {str(schema)[:40]!r}, not {SCHEMA!r}.")
    if int(found[1]) > 1:
        raise BadFile(
            f"{name} was made by a newer version of steprun.",
            why=f"It has format {found[1]}; this version reads format 1.",
            next="Update steprun, then open it.",
        )
    turns = document.get("turns")
    if not isinstance(turns, list) or len(turns) > MOST_TURNS:
        raise bad_document(name, f"`turns` is not a list of at most {MOST_TURNS:,} turns.")
    return [_to_turn(each, f"turns[{n}]", name, reader) for n, each in enumerate(turns)]


def _to_turn(record: object, where: str, name: str, reader: PictureReader) -> Turn:
    if not isinstance(record, dict):
        raise bad_document(name, f"`{where}` is not an object.")
    texts = {}
    for key in ("text", "reasoning", "answer", "state", "finish", "error"):
        texts[key] = value = record.get(key, "")
        if not isinstance(value, str):
            raise bad_document(name, f"`{where}.{key}` is not a text.")
    state = texts["state"] or "done"
    if state not in (*_STATES, "running"):
        raise bad_document(name, f"`{where}.state` is {state[:20]!r}.")
    files = files_of(record.get("files"))
    turn = Turn(from_others(texts["text"]), reader.load(record.get("pictures")), files=files)
    turn.phase = _STATES.get(state, TurnState.CUT)
    turn.steps = _steps(record, where, name, reader)
    if not turn.steps:
        turn.steps = steps_of(clean(texts["reasoning"]), clean(texts["answer"]))
    turn.finish = clean_name(texts["finish"], 40) if texts["finish"] else ""
    if turn.phase is TurnState.FAILED:
        turn.failed = clean(texts["error"]) or NO_REASON
    tokens = [integer(record.get(key)) for key in ("prompt_tokens", "completion_tokens")]
    if "prompt_tokens" in record:
        turn.usage = Usage(prompt_tokens=tokens[0], completion_tokens=tokens[1])
    return turn


def _steps(
    record: Mapping[str, Any], where: str, name: str, reader: PictureReader
) -> list[TurnStep]:
    steps = record.get("steps", [])
    if not isinstance(steps, list) or len(steps) > MOST_STEPS:
        raise bad_document(name, f"`{where}.steps` is not a list of at most {MOST_STEPS:,} steps.")
    found = []
    for n, each in enumerate(steps):
        step = to_step(mapping(each), reader.load)
        if step is None:
            raise bad_document(name, f"`{where}.steps[{n}]` is not a step that this version knows.")
        returned = step.kind is StepKind.RESULT
        step.text = from_others(step.text) if returned else clean(step.text)
        step.name, step.call = clean(step.name), clean(step.call)
        found.append(step)
    return found


def bad_document(name: str, why: str) -> BadFile:
    """Return why a file is not a chat that can be opened."""
    return BadFile(
        f"{name} is not a chat that can be opened.",
        why=why,
        next="Choose a .json file that /save has written, or a chat of llama-server's web page.",
    )
