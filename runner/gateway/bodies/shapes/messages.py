"""Anthropic's Messages."""

from typing import Annotated, Any, Final

import msgspec

from runner.gateway.bodies.shapes.common import Filled, SamplerFields, kind_of, needs, role_of

ROLES: Final = ("user", "assistant", "system")
_BLOCKS: Final = {
    "text": ("text",),
    "image": ("source",),
    "tool_use": ("id", "name", "input"),
    "tool_result": ("tool_use_id",),
    "thinking": ("thinking",),
}
_SOURCES: Final = {"base64": ("data",), "url": ("url",)}
_CHOICES: Final = {"auto": (), "any": (), "none": (), "tool": ("name",)}


class BlockSource(msgspec.Struct):
    """Where a picture is."""

    type: str
    data: str | None = None
    url: str | None = None
    media_type: str | None = None

    def __post_init__(self) -> None:
        """Refuse a type that is not known, or one without its field."""
        kind_of(self.type, _SOURCES)
        needs(self, _SOURCES, self.type)


class ResultBlock(msgspec.Struct):
    """A part of what a tool returned."""

    type: str
    text: str | None = None
    source: BlockSource | None = None

    def __post_init__(self) -> None:
        """Refuse a type that is not known, or one without its field."""
        kind_of(self.type, ("text", "image"))
        needs(self, _BLOCKS, self.type)


class Block(msgspec.Struct):
    """A part of a message."""

    type: str
    text: str | None = None
    source: BlockSource | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    content: str | list[ResultBlock] | None = None
    thinking: str | None = None

    def __post_init__(self) -> None:
        """Refuse a type that is not known, or one without its fields."""
        kind_of(self.type, _BLOCKS)
        needs(self, _BLOCKS, self.type)


class MessagesTurn(msgspec.Struct):
    """One message of a conversation."""

    role: str
    content: str | list[Block]

    def __post_init__(self) -> None:
        """Refuse an unknown role."""
        role_of(self.role, ROLES)


class SystemBlock(msgspec.Struct):
    """A part of the system prompt."""

    text: str
    type: str = "text"

    def __post_init__(self) -> None:
        """Refuse anything but text."""
        kind_of(self.type, ("text",))


class MessagesTool(msgspec.Struct):
    """A tool that the model may call; those that the real service defines are left out."""

    name: Filled
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None


class MessagesChoice(msgspec.Struct):
    """Which tool the model has to call."""

    type: str
    name: str | None = None

    def __post_init__(self) -> None:
        """Refuse a type that is not known, or a tool without its name."""
        kind_of(self.type, _CHOICES)
        needs(self, _CHOICES, self.type)


class Thinking(msgspec.Struct):
    """How much the model thinks, in tokens."""

    type: str
    budget_tokens: float | None = None

    def __post_init__(self) -> None:
        """Refuse a type that is not known."""
        kind_of(self.type, ("enabled", "disabled", "adaptive"))


class OutputConfig(msgspec.Struct):
    """How much the model thinks, in words."""

    effort: str | None = None


class MessagesBody(SamplerFields, kw_only=True):
    """The body of `/v1/messages` and its `count_tokens`."""

    messages: Annotated[list[MessagesTurn], msgspec.Meta(min_length=1)]
    system: str | list[SystemBlock] | None = None
    tools: list[MessagesTool] | None = None
    tool_choice: MessagesChoice | None = None
    stop_sequences: list[str] | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    metadata: dict[str, Any] | None = None
