"""A conversation as a JSON document, pictures included. Pure."""

import base64
import json
from collections.abc import Sequence
from typing import Any, Final

from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Picture

SCHEMA: Final = "steprun.conversation/1"


def to_json(turns: Sequence[Turn], title: str) -> str:
    """Return the conversation as a document; `title`: the model's name.

    Each turn has the question's `text` and `pictures` (`data` is base64 of the bytes as they were
    sent), its `files` (`text` as it was sent, before the question's; the last `pictures` are of
    them), the `reasoning` and the `answer`; `state` is `done`, `stopped`, `failed`, or `running`
    where the answer had not ended.
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
            }
            for each in turn.files
        ],
        "reasoning": turn.reasoning,
        "answer": turn.answer,
        "state": state,
        "finish": turn.finish,
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
