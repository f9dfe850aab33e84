"""OpenAI's chat completions and completions."""

from typing import Annotated, Any, Final

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

ROLES: Final = ("system", "developer", "user", "assistant", "tool")
_PARTS: Final = {
    "text": ("text",),
    "image_url": ("image_url",),
    "input_audio": ("input_audio",),  # the engine says that the model does not hear
    "video_url": ("video_url",),
    "input_video": ("input_video",),
}
_FORMATS: Final = ("text", "json_object", "json_schema")


class ImageAddress(msgspec.Struct):
    """Where a picture is: an address or a data URL."""

    url: Filled


class ChatPart(msgspec.Struct):
    """A part of a message's content."""

    type: str
    text: str | None = None
    image_url: ImageAddress | str | None = None
    input_audio: dict[str, Any] | None = None
    video_url: dict[str, Any] | None = None
    input_video: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Refuse a type that is not known, or one without its field."""
        kind_of(self.type, _PARTS)
        needs(self, _PARTS, self.type)


class CalledFunction(msgspec.Struct):
    """What a model called. `arguments`: JSON as a text; objects are taken, too."""

    name: Filled
    arguments: str | dict[str, Any] | None = None


class ChatToolCall(msgspec.Struct):
    """A call of a tool in an earlier answer."""

    function: CalledFunction
    type: str | None = "function"
    id: str | None = None

    def __post_init__(self) -> None:
        """Refuse a call of anything but a function."""
        kind_of(self.type or "function", ("function",))


class ChatTurn(msgspec.Struct):
    """One message of a conversation."""

    role: str
    content: str | list[ChatPart] | msgspec.UnsetType | None = msgspec.UNSET
    name: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ChatToolCall] | msgspec.UnsetType | None = msgspec.UNSET
    tool_call_id: str | None = None

    def __post_init__(self) -> None:
        """Refuse an unknown role, and a message that holds nothing."""
        role_of(self.role, ROLES)
        if self.content is msgspec.UNSET and (
            self.role != "assistant" or self.tool_calls is msgspec.UNSET
        ):
            raise ValueError("The field 'content' is missing.")


class ChatFunction(msgspec.Struct):
    """A function that the model may call. `parameters`: a JSON schema of an object."""

    name: Filled
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ChatTool(msgspec.Struct):
    """A tool that the model may call."""

    type: str
    function: ChatFunction | None = None

    def __post_init__(self) -> None:
        """Refuse anything but a function."""
        kind_of(self.type, ("function",))
        needs(self, {"function": ("function",)}, self.type)


class NamedSchema(msgspec.Struct):
    """A JSON schema that an answer must follow."""

    schema: dict[str, Any] | None = None


class AnswerFormat(msgspec.Struct):
    """The form of an answer."""

    type: str = "text"
    json_schema: NamedSchema | None = None
    schema: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Refuse a type that is not known, or a schema that is not there."""
        kind_of(self.type, _FORMATS)
        if self.type == "json_schema" and not (self.json_schema and self.json_schema.schema):
            raise ValueError("The field 'json_schema.schema' is missing.")


class StreamOptions(msgspec.Struct):
    """What a stream has beside the answer."""

    include_usage: Flag = None


class SampledBody(SamplerFields):
    """The fields that OpenAI's older APIs share."""

    n: Number = None
    stop: str | list[str] | None = None
    frequency_penalty: Number = None
    presence_penalty: Number = None
    logit_bias: dict[str, Any] | list[Any] | None = None
    stream_options: StreamOptions | None = None
    grammar: str | None = None
    json_schema: dict[str, Any] | None = None


class ChatBody(SampledBody, kw_only=True):
    """The body of `/v1/chat/completions`, its `input_tokens` and `/apply-template`."""

    messages: Annotated[list[ChatTurn], msgspec.Meta(min_length=1)]
    tools: list[ChatTool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: Flag = None
    response_format: AnswerFormat | None = None
    reasoning_effort: str | None = None
    max_completion_tokens: Number = None
    logprobs: Flag = None
    top_logprobs: Number = None


class CompletionBody(SampledBody, kw_only=True):
    """The body of `/v1/completions` and `/completion`."""

    prompt: str | list[Any] | dict[str, Any]
    suffix: str | None = None
    logprobs: float | bool | None = None

    def __post_init__(self) -> None:
        """Refuse an empty list or object; an empty text is a prompt."""
        if self.prompt in ([], {}):
            raise ValueError("The field 'prompt' is empty.")
