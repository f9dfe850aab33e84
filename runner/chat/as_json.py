"""A conversation as a JSON document, pictures included. Pure."""

import base64
import json
from collections.abc import Sequence
from typing import Any, Final

from runner.chat.steps import ToolUse, uses_of
from runner.chat.turn import Turn, TurnState
from runner.chat.wire import Picture

SCHEMA: Final = "steprun.conversation/1"


def to_json(turns: Sequence[Turn], title: str) -> str:
    """Return the conversation as a document; `title`: the model's name.

    Each turn has the question's `text` and `pictures` (`data` is base64 of the bytes as they were
    sent), the `reasoning` and the `answer`; `tool_calls` have a `name`, `arguments` (a JSON text as
    the model wrote it) and, where they were run, a `result` with `text` and `pictures`;
    `state` is `done`, `stopped`, `failed`, or `running` where the answer had not ended.
    """
    document = {"schema": SCHEMA, "model": title, "turns": [_turn(turn) for turn in turns]}
    # ASCII only: half a character in an answer must not fail the write.
    return json.dumps(document, indent=1) + "\n"


def _turn(turn: Turn) -> dict[str, Any]:
    state = turn.phase.name.lower() if turn.phase.over else "running"
    record: dict[str, Any] = {
        "text": turn.text,
        "pictures": [_picture(picture) for picture in turn.pictures],
        "reasoning": turn.reasoning,
        "answer": turn.answer,
        "state": state,
        "finish": turn.finish,
    }
    if turn.calls:
        record["tool_calls"] = [_tool_call(use) for use in uses_of(turn.steps)]
    if turn.phase is TurnState.FAILED:
        record["error"] = str(turn.error or turn.failed)
    if turn.usage is not None:
        record["prompt_tokens"] = turn.usage.prompt_tokens
        record["completion_tokens"] = turn.usage.completion_tokens
    return record


def _tool_call(use: ToolUse) -> dict[str, Any]:
    record: dict[str, Any] = {"name": use.call.name, "arguments": use.call.text}
    if (result := use.result) is not None:
        pictures = [_picture(picture) for picture in result.pictures]
        record["result"] = {"text": result.text, "pictures": pictures}
    return record


def _picture(picture: Picture) -> dict[str, Any]:
    return {
        "name": picture.name,
        "mime": picture.mime,
        "width": picture.width,
        "height": picture.height,
        "data": base64.b64encode(picture.data).decode("ascii"),
    }
