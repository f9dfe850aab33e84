"""What a tool is, and what runs it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from runner.chat.wire import Call, Picture

__all__ = ("Call", "Result", "Tool", "Toolbox")


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as it is offered to the model.

    `name`: as the model calls it, unique among all that are offered. `parameters`: a JSON schema of
    an object. `source`: the MCP server that it is of, empty where it is a part of the chat.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    source: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What a call returned. `failed`: it could not be run, and `text` tells the model why."""

    text: str
    pictures: tuple[Picture, ...] = ()
    failed: bool = False


class Toolbox(Protocol):
    """Offers tools, and runs calls of them."""

    @property
    def tools(self) -> Sequence[Tool]:
        """The tools that are offered now."""

    async def run(self, call: Call, pictures: Sequence[Picture]) -> Result:
        """Run a call of one of `tools`, within bounds of size and time; a failure is a result.

        `pictures`: all that the chat has so far, in the order in which the model has seen them.
        Cancelling stops the call.
        """
