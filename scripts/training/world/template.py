"""Step's wire format, written as the official chat template writes it, in pieces.

A test compares every kind of conversation with an engine's /apply-template. Conversations end in
an answer, never in a question; they are cut into pieces at the places where the model takes over,
because an engine tokenises a prompt and an answer apart.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gguf.constants import GGUFValueType

from runner.testbed import metadata
from training.world import text
from training.world.pictures import GRID, Scene

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.testbed.vocabulary import Vocabulary
    from training.world.dialogues import Call, Effort, Exchange
    from training.world.tools import Tool

OFFICIAL = Path(__file__).with_name("official_template.jinja")
"""The official template, for the files that are trained; its licence is beside it."""

PICTURE_TOKENS = GRID * GRID
"""Slots of a picture's vectors, between two markers."""

PICTURE = "<im_start>" + "<im_patch>" * PICTURE_TOKENS + "<im_end>"
"""What stands for a picture: an engine writes the markers, and 169 vectors between them."""

OPEN = "<|im_start|>assistant\n<think>\n"
"""The end of every prompt."""


_END = "<|im_end|>\n"


@dataclass(frozen=True)
class Piece:
    """A piece of a conversation: marked text, and whether the model is to learn to say it."""

    marked: str
    learned: bool = False


def begin(effort: Effort, tools: tuple[Tool, ...] = ()) -> str:
    """Write what comes before the first user turn, without the begin token."""
    head = f"Reasoning: {effort}\n\n" if effort else ""
    if tools:
        declared = "".join(f"\n{json.dumps(tool, ensure_ascii=False)}" for tool in tools)
        opening, closing = _tool_wording()
        head += opening + declared + closing
    return f"<|im_start|>system\n{head}{_END}" if head else ""


def user(pictures: int = 0) -> str:
    """Write the beginning of a user turn with so many pictures."""
    return "<|im_start|>user\n" + PICTURE * pictures


def branch(exchange: Exchange) -> Iterator[Piece]:
    """Write a conversation from where its first user turn's text begins."""
    questions = [question for question, _ in exchange.history] + [exchange.question]
    for place, (_, answer) in enumerate(exchange.history):
        said = text.plain(answer)
        yield Piece(f"{questions[place]}<|im_end|>\n<|im_start|>assistant\n{said}<|im_end|>\n")
        yield Piece("<|im_start|>user\n")
    yield Piece(f"{exchange.question}<|im_end|>\n")
    for step in exchange.steps:
        if not step.thinking:
            raise ValueError("a turn without thinking is not written as the engine reads it")
        yield Piece(OPEN)
        calls = "".join(map(call, step.calls))
        yield Piece(f"{step.thinking}\n</think>\n{step.answer}{calls}<|im_end|>", learned=True)
        if step.results:
            written = "".join(map(_result, step.results))
            yield Piece(f"\n<|im_start|>tool_response\n{written}<|im_end|>\n")


def call(made: Call) -> str:
    """Write a tool call, marked."""
    arguments = "".join(
        f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in made.arguments
    )
    return f"<tool_call>\n<function={made.name}>\n{arguments}</function>\n</tool_call>"


def messages(exchange: Exchange, steps: int | None = None) -> list[dict[str, Any]]:
    """Write the same conversation as a request does, up to the turn after `steps` of its steps.

    A picture is ``{"type": "image", "scene": Scene}``: who sends it puts the pixels in.
    """
    first, *later = [question for question, _ in exchange.history] + [exchange.question]
    pictures = [{"type": "image", "scene": scene} for scene in exchange.pictures]
    content = [*pictures, {"type": "text", "text": first}] if pictures else first
    sent: list[dict[str, Any]] = [{"role": "user", "content": content}]
    for (_, answer), question in zip(exchange.history, later, strict=True):
        sent.append({"role": "assistant", "content": text.plain(answer)})
        sent.append({"role": "user", "content": question})
    for step in exchange.steps[:steps]:
        turn: dict[str, Any] = {"role": "assistant", "content": text.plain(step.answer)}
        turn["reasoning_content"] = text.plain(step.thinking)
        if step.calls:
            turn["tool_calls"] = [
                {"id": f"call_{place}", "type": "function", "function": _function(made)}
                for place, made in enumerate(step.calls)
            ]
        sent.append(turn)
        sent += [
            {"role": "tool", "tool_call_id": f"call_{place}", "content": _content(result)}
            for place, result in enumerate(step.results)
        ]
    return sent


def tokenizer_metadata(words: Vocabulary) -> list[metadata.MetadataEntry]:
    """List the tokenizer keys of a trained file: the test bed's, with the official template."""
    key = "tokenizer.chat_template"
    official = OFFICIAL.read_text(encoding="utf-8")
    return [
        *(entry for entry in metadata.tokenizer(words) if entry.key != key),
        metadata.MetadataEntry(key, official, GGUFValueType.STRING),
    ]


def _result(result: str | Scene) -> str:
    return f"<tool_response>{PICTURE if isinstance(result, Scene) else result}</tool_response>"


def _content(result: str | Scene) -> Any:
    return [{"type": "image", "scene": result}] if isinstance(result, Scene) else result


def _function(made: Call) -> dict[str, str]:
    arguments = {key: text.plain(value) for key, value in made.arguments}
    return {"name": made.name, "arguments": json.dumps(arguments, ensure_ascii=False)}


@lru_cache(maxsize=1)
def _tool_wording() -> tuple[str, str]:
    """Take the wording around the tools out of the official template, which has it once."""
    source = OFFICIAL.read_text(encoding="utf-8")
    opening, closing = (
        next(line for line in source.splitlines() if start in line).split('"')[1]
        for start in ('"# Tools', '"\\n</tools>')
    )
    return opening.replace("\\n", "\n"), closing.replace("\\n", "\n").removesuffix(_END)
