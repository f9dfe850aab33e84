"""The tools of a server as the model gets them: names, descriptions and schemas bounded. Pure."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from runner.chat.tools.mcp.arguments import without_hidden
from runner.chat.tools.toolbox import Tool
from runner.chat.untrusted import mapping

# OpenAI's API: 128 tools, names of 64 characters, descriptions of 1,024
# (platform.openai.com/docs/api-reference/chat/create). Each costs context, whether it is used.
TOOLS: Final = 128
NAME_CHARS: Final = 64
DESCRIPTION_CHARS: Final = 1024
OWN_NAME_CHARS: Final = 256  # as the server calls it
SCHEMA_BYTES: Final = 16 << 10  # of one tool: about 4,000 tokens
ALL_BYTES: Final = 128 << 10  # of all tools of a server: no more than a quarter of a long context
DEPTH: Final = 12  # levels of a schema
NODES: Final = 2000  # of a schema: references can make a small one endless
TEXT_CHARS: Final = 512  # of a description inside a schema
# Of JSON schema, what tells the model the shape. The engine makes a grammar of it, and refuses the
# whole request where it cannot: patterns, formats and lengths are left to the server to check.
_KEPT: Final = frozenset(
    {"type", "required", "enum", "const", "properties", "items", "anyOf", "oneOf", "allOf"}
)
_TYPES: Final = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool of a server. `own_name`: the server's. `fingerprint`: of all that it says of itself.

    `read_only`: the server says that it changes nothing, which nobody has checked.
    """

    tool: Tool
    own_name: str
    fingerprint: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Offers:
    """What a server offers. `listed`: how many tools it listed; more than `tools` were left out."""

    tools: tuple[Offer, ...] = ()
    listed: int = 0

    @property
    def left_out(self) -> int:
        """How many tools are not offered: too many, too large, or without a usable name."""
        return self.listed - len(self.tools)


def offers_of(
    server: str, identity: Sequence[str], listed: Iterable[Mapping[str, Any]], total: int
) -> Offers:
    """Return what a server offers.

    `identity`: what is started or asked, so that another program does not pass for this one.
    `listed`: its `total` tools as the protocol has them (`name`, `description`, `inputSchema`).
    """
    names: set[str] = set()
    tools: list[Offer] = []
    size = 0
    for each in listed:
        if (offer := _offer(server, identity, each, names)) is None:
            continue
        size += len(json.dumps(offer.tool.parameters)) + len(offer.tool.description)
        if size > ALL_BYTES:
            break
        names.add(offer.tool.name)
        tools.append(offer)
        if len(tools) == TOOLS:
            break
    return Offers(tuple(tools), total)


def _offer(
    server: str, identity: Sequence[str], listed: Mapping[str, Any], taken: set[str]
) -> Offer | None:
    own = listed.get("name")
    schema = mapping(listed.get("inputSchema"))
    if not isinstance(own, str) or not own or len(own) > OWN_NAME_CHARS:
        return None
    try:
        record = json.dumps([list(identity), listed], sort_keys=True, default=str)
    except (ValueError, RecursionError):
        return None
    parameters = plain_schema(schema)
    if len(json.dumps(parameters)) > SCHEMA_BYTES:
        return None
    description = listed.get("description")
    about = without_hidden(description) if isinstance(description, str) else ""
    hints = mapping(listed.get("annotations"))
    return Offer(
        Tool(_name(server, own, taken), cut(about, DESCRIPTION_CHARS), parameters, server),
        own,
        hashlib.sha256(record.encode("utf-8", "backslashreplace")).hexdigest(),
        hints.get("readOnlyHint") is True,
    )


def _name(server: str, own: str, taken: set[str]) -> str:
    """Return what the model calls a tool: `files__read_file`; one that is taken gets a number."""
    base = f"{server}__{re.sub(r'[^A-Za-z0-9_-]', '_', own)}"
    name, number = base[:NAME_CHARS], 1
    while name in taken:
        number += 1
        end = f"_{number}"
        name = f"{base[: NAME_CHARS - len(end)]}{end}"
    return name


def cut(text: str, limit: int) -> str:
    """Return the beginning of a text."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def plain_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a call's arguments with what the engine can make a grammar of.

    What a reference points to within the schema is put in its place; one that points outside, or
    too deep, stands for any value.
    """
    plain = _Plain(schema).node(schema, 0)
    return {**plain, "type": "object", "properties": plain.get("properties", {})}


class _Plain:
    """Copies a schema, a bounded number of nodes of it."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._roots = {key: mapping(schema.get(key)) for key in ("$defs", "definitions")}
        self._left = NODES

    def node(self, node: Any, depth: int) -> dict[str, Any]:
        """Return what is kept of a part of the schema, `depth` levels down."""
        self._left -= 1
        if not isinstance(node, dict) or depth > DEPTH or self._left < 0:
            return {}
        if isinstance(reference := node.get("$ref"), str):
            table, _, name = reference.removeprefix("#/").partition("/")
            return self.node(self._roots.get(table, {}).get(name), depth + 1)
        kept = {key: self._value(key, node[key], depth) for key in node if key in _KEPT}
        result = {key: value for key, value in kept.items() if value not in (None, [])}
        if "required" in result:
            there = result.get("properties", {})
            result["required"] = [name for name in result["required"] if name in there]
        if isinstance(about := node.get("description"), str):
            result["description"] = cut(without_hidden(about), TEXT_CHARS)
        return result

    def _value(self, key: str, value: Any, depth: int) -> Any:
        match key:
            case "properties":
                items = mapping(value).items()
                return {
                    cut(without_hidden(name), TEXT_CHARS): self.node(each, depth + 1)
                    for name, each in items
                }
            case "items":
                return self.node(value, depth + 1) if isinstance(value, dict) else None
            case "anyOf" | "oneOf" | "allOf":
                nodes = value if isinstance(value, list) else []
                return [self.node(each, depth + 1) for each in nodes if isinstance(each, dict)]
            case "type":
                named = value if isinstance(value, list) else [value]
                types = [each for each in named if isinstance(each, str) and each in _TYPES]
                return types[0] if len(types) == 1 else types
            case "required" | "enum":
                values = value if isinstance(value, list) else []
                return [without_hidden(each) if isinstance(each, str) else each for each in values]
            case _:
                return without_hidden(value) if isinstance(value, str) else value
