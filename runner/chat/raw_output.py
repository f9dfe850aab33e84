"""Separates reasoning and tool calls from the raw text of a model. Pure.

llama-server parses a model's output itself. Other servers (llama-cpp-python under ours) send one
text: `<think>` opens it, `</think>` ends the thinking, and a tool call is

    <tool_call>
    <function=NAME>
    <parameter=KEY>
    VALUE
    </parameter>
    </function>
    </tool_call>

Step's template has `<think>` in the prompt, so that of a vLLM without its `--reasoning-parser` the
answer has `</think>` alone: what came before it was the thinking (`WasReasoning`), unless the tag
is in quotes or in code, or `<think>` was written first. Other models open their thinking with other
tags. Any other answer is left alone. So is every `<tool_call>` where no tools were offered: there
it is something that the model talks about. Pieces may be cut anywhere; how they are cut changes
nothing. Of the text only the tags are taken away, and the newlines next to them; what only looked
like a tag is passed on unchanged.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum, auto
from typing import Any, Final, NoReturn

from runner.chat.code_blocks import InCode
from runner.chat.events import (
    Event,
    Failed,
    Finished,
    Reasoning,
    Text,
    ToolCall,
    WasReasoning,
)
from runner.chat.untrusted import mapping

OPEN: Final = "<think>"
CLOSE: Final = "</think>"
CALL: Final = "<tool_call>"
# What opens and ends the thinking of other models (Mistral, Seed, Sky-T1, distilled ones).
TAGS: Final[Mapping[str, str]] = {
    OPEN: CLOSE,
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "[THINK]": "[/THINK]",
    "<seed:think>": "</seed:think>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
}
# Characters of one call; a longer one is handed on as text. A tool that writes a file gets the
# whole file as a parameter; an answer of 262,144 tokens is about 1 MB.
LONGEST_CALL: Final = 1 << 20

_BLANKS = 8  # so many before the first tag
_QUOTES = frozenset("`'\"(\N{LEFT DOUBLE QUOTATION MARK}")
_NEWLINES = 2  # so many before a tag belong to it; the template itself writes one
_END = re.compile(r"</function>\s{0,16}</tool_call>")
_LONGEST_END = len("</function></tool_call>") + 16
_FUNCTION = re.compile(
    r"\n*<tool_call>\s*<function=([^<>\n]{1,256})>(.*)</function>\s*</tool_call>", re.DOTALL
)
_ANOTHER = re.compile(r"<tool_call>\s*<function=")
_PARAMETER = re.compile(
    r"\s*<parameter=([^<>\n]{1,256})>\n?(.*?)\n?</parameter>(?=\s*(?:<parameter=|\Z))", re.DOTALL
)
_SPOKEN = {"True": "true", "False": "false", "None": "null"}  # as the template shows them
_KINDS: Final[Mapping[type, str]] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}


class _In(Enum):
    START = auto()
    THINKING = auto()
    ANSWER = auto()
    CALL = auto()
    UNTAGGED = auto()  # it began without a tag, and may be thinking all the same
    OTHERS = auto()  # the server parses its answers itself


class Untagged:
    """Passes one answer's events on, with reasoning and tool calls as events of their own.

    `tools`: what was offered with the request, in OpenAI's form; their schemas say which values
    are not strings. `distrust`, to be set: an answer behind reasoning may be thinking all the same.
    """

    def __init__(self, tools: Sequence[Mapping[str, Any]] = ()) -> None:
        self._schemas = dict(_schema(tool) for tool in tools)
        self.distrust = self._doubted = False
        self._state = _In.START
        self._close = CLOSE
        self._before = ""  # the last character of untagged text
        self._code = InCode()
        self._held = ""  # the beginning of a tag, perhaps
        self._call: list[str] = []
        self._call_size = 0
        self._calls = 0
        self._after_tag = False  # newlines that follow a tag belong to it

    def take(self, event: Event) -> Iterator[Event]:
        """Yield what an event amounts to; before Finished and Failed, what was held back."""
        parsed = self._state is _In.OTHERS and isinstance(event, Text)
        if parsed and self.distrust and not self._doubted:
            self._state, self._doubted = _In.UNTAGGED, True
        match event:
            case Text(text) if self._state is not _In.OTHERS:
                yield from self._take(text)
            case Reasoning() | ToolCall():
                yield from self._rest()
                self._state = _In.OTHERS
                yield event
            case Finished(reason):
                yield from self._rest()
                calls = self._calls and reason == "stop"
                yield Finished("tool_calls") if calls else event
            case Failed():
                yield from self._rest()
                yield event
            case _:
                yield event

    def _take(self, text: str) -> Iterator[Event]:
        text = self._held + text
        self._held = ""
        while text:
            match self._state:
                case _In.START:
                    bare = text.lstrip("\n ")
                    opened = next((tag for tag in TAGS if bare.startswith(tag)), "")
                    if opened:
                        text, self._close = bare[len(opened) :], TAGS[opened]
                        self._enter(_In.THINKING)
                    elif len(text) - len(bare) > _BLANKS or not any(
                        tag.startswith(bare) for tag in TAGS
                    ):
                        self._state = _In.UNTAGGED
                    else:
                        self._held = text
                        return
                case _In.UNTAGGED:
                    text, events = self._take_untagged(text)
                    yield from events
                case _In.THINKING:
                    pieces, tag, text = self._cut(text, self._close)
                    yield from (Reasoning(piece) for piece in pieces)
                    if tag:
                        self._enter(_In.ANSWER)
                case _In.ANSWER:
                    pieces, tag, text = self._cut(text, CALL if self._schemas else "")
                    yield from (Text(piece) for piece in pieces)
                    if tag:
                        self._state = _In.CALL
                        self._call, self._call_size = [tag], len(tag)
                case _In.CALL:
                    text, events = self._take_call(text)
                    yield from events
                case _In.OTHERS:
                    yield Text(text)
                    return

    def _take_untagged(self, text: str) -> tuple[str, list[Event]]:
        """Take text that began without a tag; return what follows `</think>`, and the events."""
        at, opened = text.find(CLOSE), text.find(OPEN)
        if opened >= 0 and (at < 0 or opened < at):  # it speaks of the tags
            self._state = _In.OTHERS
            return text, []
        if at < 0:
            keep = max(_beginning(text, CLOSE), _beginning(text, OPEN))
            self._held, text = text[len(text) - keep :], text[: len(text) - keep]
            self._before = text[-1:] or self._before
            self._code.take(text)
            return "", [Text(text)] * bool(text)
        self._code.take(text[:at])
        if self._code.inside or (text[at - 1] if at else self._before) in _QUOTES:
            end = at + len(CLOSE)
            self._before = ">"
            self._code.take(CLOSE)
            return text[end:], [Text(text[:end])]
        before = text[:at]
        while before.endswith("\n") and at - len(before) < _NEWLINES:
            before = before[:-1]
        self._enter(_In.ANSWER)
        thought: list[Event] = [Text(before)] * bool(before)
        return text[at + len(CLOSE) :], [*thought, WasReasoning()]

    def _enter(self, state: _In) -> None:
        self._state, self._after_tag = state, True

    def _cut(self, text: str, tag: str) -> tuple[list[str], str, str]:
        """Cut text at a tag: the text before it, the tag with its newlines (if whole), the rest."""
        if self._after_tag:
            text = text.lstrip("\n")
            self._after_tag = not text
        at = text.find(tag) if tag else -1
        if at >= 0:
            begin = at
            while begin > max(0, at - _NEWLINES) and text[begin - 1] == "\n":
                begin -= 1
            return [text[:begin]] * (begin > 0), text[begin : at + len(tag)], text[at + len(tag) :]
        keep = _beginning(text, tag)
        self._held = text[len(text) - keep :]
        text = text[: len(text) - keep]
        return [text] * bool(text), "", ""

    def _take_call(self, text: str) -> tuple[str, list[Event]]:
        """Take a piece of a call; return what follows it, and the call if it is whole."""
        # Only the end is searched: a call may be long, and arrive in as many pieces.
        tail = "".join(self._call[-_LONGEST_END:])[-_LONGEST_END:]
        ended = _END.search(tail + text)
        size = ended.end() - len(tail) if ended else len(text)
        self._call.append(text[:size])
        self._call_size += size
        if not ended and self._call_size <= LONGEST_CALL:
            return "", []
        raw, self._call = "".join(self._call), []
        # A tag that is only part of the text may precede the one of a call.
        begin = _beginning_of_last(raw)
        call = self._parse(raw[begin:]) if ended else None
        if call is None:
            self._state = _In.ANSWER
            return text[size:], [Text(raw)]
        self._calls += 1
        self._enter(_In.ANSWER)
        return text[size:], [Text(raw[:begin]), call] if begin else [call]

    def _parse(self, raw: str) -> ToolCall | None:
        """Return a call, None where it is not written as one."""
        function = _FUNCTION.fullmatch(raw)
        # A call within a value would end it: the outer one is then incomplete.
        if function is None or _ANOTHER.search(function[2]):
            return None
        name, body = function[1].strip(), function[2]
        arguments: dict[str, Any] = {}
        at = 0
        while parameter := _PARAMETER.match(body, at):
            key, at = parameter[1].strip(), parameter.end()
            if key in arguments:
                return None
            arguments[key] = _value(parameter[2], self._schemas.get(name, {}).get(key))
        if body[at:].strip():
            return None
        text = json.dumps(arguments, ensure_ascii=False)
        return ToolCall(self._calls, f"call_{self._calls}", name, text)

    def _rest(self) -> Iterator[Event]:
        """Yield what was held back: it cannot become a tag any more."""
        held = "".join(self._call) + self._held
        self._call, self._held = [], ""
        if held:
            yield Reasoning(held) if self._state is _In.THINKING else Text(held)


def _beginning(text: str, tag: str) -> int:
    """Return how many characters at the end of a text may be the beginning of a tag."""
    for size in range(min(len(text), _NEWLINES + len(tag) - 1) if tag else 0, 0, -1):
        end = text[-size:]
        bare = end.lstrip("\n")
        if size - len(bare) <= _NEWLINES and tag.startswith(bare):
            return size
    return 0


def _beginning_of_last(raw: str) -> int:
    """Return where the last call of a text begins, with the newlines that belong to it.

    0 where that may be a value of the call before: text about calls is not a call.
    """
    begin = raw.rfind(CALL)
    while begin > 0 and raw[begin - 1] == "\n":
        begin -= 1
    return 0 if "<function=" in raw[:begin] else begin


def _schema(tool: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return a tool's name and its parameters' schemas."""
    function = mapping(tool.get("function"))
    return str(function.get("name")), mapping(mapping(function.get("parameters")).get("properties"))


def _value(text: str, schema: object) -> Any:
    """Return a parameter's value: what the schema wants if the text is such, else the text."""
    wanted = _types(schema)
    if not wanted or "string" in wanted:
        return text
    try:
        value = json.loads(_SPOKEN.get(text.strip(), text), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text
    kind = _KINDS.get(type(value), "string")
    return value if kind in wanted or (kind == "integer" and "number" in wanted) else text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)  # NaN and Infinity are not JSON


def _types(schema: object) -> set[str]:
    """Return the types that a schema allows, as far as it names them."""
    found = mapping(schema)
    named = found.get("type")
    types = {one for one in (named if isinstance(named, list) else [named]) if isinstance(one, str)}
    for alternatives in (found.get("anyOf"), found.get("oneOf")):
        for one in alternatives if isinstance(alternatives, list) else ():
            types |= _types(one)
    return types
