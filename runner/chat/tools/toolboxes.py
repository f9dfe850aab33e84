"""Several toolboxes as one: names that are unique among all, and each call to the box it is of."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from runner.chat.tools.toolbox import Call, Result, Tool, Toolbox
from runner.chat.wire import Picture

MOST_TOOLS: Final = 128  # OpenAI's limit ("a max of 128 functions"); servers of models bear no more
NAME_CHARS: Final = 64  # of a function's name, as OpenAI has it: letters, digits, _ and -
_ODD: Final = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True)
class _Offered:
    """A tool as it is offered, the box that runs it and the name that it has there."""

    tool: Tool
    box: Toolbox
    name: str


class Toolboxes:
    """Toolboxes in the order in which their tools are offered. A toolbox itself.

    The order is part of the prompt, which is read again from its top where it changes. `refused`:
    the server takes no tools, so that none are offered.
    """

    def __init__(self, *boxes: Toolbox) -> None:
        self._boxes = list(boxes)
        self.refused = False

    def add(self, box: Toolbox) -> None:
        """Add a toolbox behind the others."""
        self._boxes.append(box)

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools that are offered now, each under a name of its own."""
        return () if self.refused else tuple(each.tool for each in self._offered())

    async def run(self, call: Call, pictures: Sequence[Picture]) -> Result:
        """Run a call in the box that offers the tool; of an unknown one, say which there are."""
        offered = list(self._offered())
        for each in offered:
            if each.tool.name == call.name:
                return await each.box.run(replace(call, name=each.name), pictures)
        return no_such_tool(call.name, [each.tool for each in offered])

    def _offered(self) -> Iterator[_Offered]:
        taken: set[str] = set()
        for box in self._boxes:
            for tool in box.tools:
                if len(taken) == MOST_TOOLS:
                    return
                name = _unique(tool, taken)
                taken.add(name)
                yield _Offered(replace(tool, name=name), box, tool.name)


def no_such_tool(name: str, tools: Sequence[Tool]) -> Result:
    """Return what a call of a tool that is not offered comes to."""
    names = ", ".join(tool.name for tool in tools[:20])
    offered = f"Available: {names}." if names else "None is available now."
    return Result(f"There is no tool called {name[:NAME_CHARS]!r}. {offered}", failed=True)


def _unique(tool: Tool, taken: set[str]) -> str:
    """Return the name of a tool, with its source in front where another has that name."""
    plain = _ODD.sub("_", tool.name)[:NAME_CHARS] or "tool"
    if plain not in taken:
        return plain
    whole = _ODD.sub("_", f"{tool.source or 'other'}_{tool.name}")
    names = (whole[:NAME_CHARS], *(f"{whole[: NAME_CHARS - 4]}_{n}" for n in range(2, 1000)))
    return next(name for name in names if name not in taken)
