"""OpenAI's Responses."""

from typing import Any, Final

import msgspec

from runner.gateway.bodies.shapes.common import (
    Filled,
    Flag,
    Number,
    SamplerFields,
    kind_of,
    needs,
    role_of,
)

ROLES: Final = ("user", "assistant", "system", "developer")
_PARTS: Final = {
    "input_text": ("text",),
    "output_text": ("text",),
    "input_image": ("image_url",),
    "refusal": ("refusal",),
    "reasoning_text": ("text",),
    "summary_text": ("text",),
}
_ITEMS: Final = {
    "message": ("role", "content"),
    "function_call": ("name", "call_id", "arguments"),
    "function_call_output": ("call_id", "output"),
    "reasoning": (),
}
_FORMATS: Final = ("text", "json_object", "json_schema")


class ResponsesPart(msgspec.Struct):
    """A part of an item's content."""

    type: str
    text: str | None = None
    image_url: str | None = None
    refusal: str | None = None

    def __post_init__(self) -> None:
        """Refuse a type that is not known, or one without its field."""
        kind_of(self.type, _PARTS)
        needs(self, _PARTS, self.type)


class ResponsesItem(msgspec.Struct):
    """One item of the input: a message, a call of a function or its output, or thinking."""

    type: str | None = None
    role: str | None = None
    content: str | list[ResponsesPart] | None = None
    name: str | None = None
    call_id: str | None = None
    arguments: str | None = None
    output: str | list[ResponsesPart] | None = None
    summary: list[Any] | None = None

    def __post_init__(self) -> None:
        """Refuse an item that is not known, or one without its fields."""
        kind = self.type or "message"
        if kind == "item_reference":
            raise ValueError("Nothing is stored on this server; send the item itself.")
        kind_of(kind, _ITEMS)
        needs(self, _ITEMS, kind)
        if kind == "message":
            role_of(self.role or "", ROLES)


class ResponsesTool(msgspec.Struct):
    """A tool that the model may call; those that run at OpenAI are left out."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Refuse a function without a name."""
        if self.type == "function" and not self.name:
            raise ValueError("The field 'name' is missing.")


class TextFormat(msgspec.Struct):
    """The form of an answer."""

    type: str = "text"
    schema: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Refuse a type that is not known, or a schema that is not there."""
        kind_of(self.type, _FORMATS)
        if self.type == "json_schema" and not self.schema:
            raise ValueError("The field 'schema' is missing.")


class ResponsesText(msgspec.Struct):
    """How the answer is written."""

    format: TextFormat | None = None


class ResponsesReasoning(msgspec.Struct):
    """How much the model thinks."""

    effort: str | None = None


class ResponsesBody(SamplerFields, kw_only=True):
    """The body of `/v1/responses` and its `input_tokens`."""

    input: str | list[ResponsesItem]
    instructions: str | None = None
    max_output_tokens: Number = None
    tools: list[ResponsesTool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: Flag = None
    text: ResponsesText | None = None
    reasoning: ResponsesReasoning | None = None
    model: Filled | None = None

    def __post_init__(self) -> None:
        """Refuse a conversation without anything in it."""
        if self.input == []:
            raise ValueError("The field 'input' has no items.")
