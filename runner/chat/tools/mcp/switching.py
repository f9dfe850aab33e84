"""Switches the MCP servers of `mcp.toml` on and off in a chat, whatever shows it.

Nothing of a server is loaded before the first one is asked for.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final

from runner.base.errors import Refused, SteprunError, UsageError
from runner.base.text import clean_name
from runner.chat.tools.toolboxes import Toolboxes

if TYPE_CHECKING:
    from runner.chat.tools.mcp.box import Ask, McpEntry, McpToolbox
    from runner.chat.tools.mcp.config import McpServer

LOOK_S: Final = 0.05  # between two looks at servers that start


class McpSwitches:
    """The servers of a chat. `box`: those that were switched on, None before the first.

    `servers`: those of the file, as it was last read. `tools`: gets what they offer. `ask`: asks
    the user whether a call may run. `changed`: is called from any thread when a server or its tools
    change.
    """

    def __init__(self, tools: Toolboxes, ask: "Ask", changed: Callable[[], object]) -> None:
        self._tools = tools
        self._ask = ask
        self._changed = changed
        self.box: McpToolbox | None = None
        self.servers: Mapping[str, McpServer] = {}
        self._one_box = asyncio.Lock()
        self._announced: dict[str, str] = {}  # the states that the user has been shown

    async def loaded(self) -> "McpToolbox":
        """Return the toolbox, with the file read anew. Raises `SteprunError` for a wrong one."""
        async with self._one_box:
            if self.box is None:
                module = await asyncio.to_thread(import_module, "runner.chat.tools.mcp.box")
                box: McpToolbox = module.McpToolbox(self._ask, self._changed)
                self.box = box
                self._tools.add(box)
        module = await asyncio.to_thread(import_module, "runner.chat.tools.mcp.config")
        self.servers = await asyncio.to_thread(module.read_servers)
        return self.box

    async def switch_on(self, names: Sequence[str]) -> None:
        """Start servers, one after the other: their order is that of their tools in the prompt.

        Raises `SteprunError` for the first that cannot be.
        """
        for name in names:
            await self.switch(name, on=True)

    async def switch(self, name: str, *, on: bool | None = None) -> None:
        """Start a server, or stop one that runs. `on`: do not stop it. Raises `SteprunError`."""
        box = await self.loaded()
        entry, config = box.entry(name), self.servers.get(name)
        runs = entry is not None and str(entry.state) in {"on", "starting"}
        if runs and on is None:
            box.switch_off(name)
        elif config is None:
            known = ", ".join(self.servers)
            raise UsageError(
                f"No MCP server is called {clean_name(name)}.",
                why=f"Known: {known}." if known else "None is configured yet.",
                next="/mcp lists them, and says how to add one.",
            )
        elif not config.enabled:
            raise Refused(
                f"The MCP server {name} is disabled.",
                why="Its table in mcp.toml says enabled = false.",
                next=f"Take that line out, then type /mcp {name}.",
            )
        elif not runs:
            box.switch_on(name, config)

    @property
    def starting(self) -> tuple[str, ...]:
        """The servers of which it is not known yet what they offer."""
        entries = self.box.entries.values() if self.box is not None else ()
        return tuple(entry.name for entry in entries if str(entry.state) == "starting")

    async def settled(self) -> None:
        """Wait until each server offers its tools or has ended, at most as long as one may take.

        What is asked before that is asked without them, and read again once they are there.
        """
        while True:
            if not self.starting:
                return
            await asyncio.sleep(LOOK_S)

    def news(self) -> "list[McpEntry]":
        """Return the servers that are not in the state in which this has returned them before."""
        entries = self.box.entries if self.box is not None else {}
        new = [each for name, each in entries.items() if self._announced.get(name) != each.state]
        self._announced = {name: str(each.state) for name, each in entries.items()}
        return new

    async def close(self) -> None:
        """Stop the servers; safe to call twice."""
        if self.box is not None:
            await self.box.close()


def state_words(entry: "McpEntry") -> str:
    """Return a sentence about a server that is starting or on."""
    if str(entry.state) == "starting":
        return f"{entry.name} is starting."
    count = len(entry.offers.tools)
    return f"{entry.name} is on: {count} {'tool' if count == 1 else 'tools'}."


def end_of(entry: "McpEntry", *, after: str = "Correct that, then type /mcp {}.") -> SteprunError:
    """Return why a server has ended. `after`: what to type then, with a place for its name."""
    return SteprunError(
        f"The MCP server {entry.name} has ended.", why=entry.why, next=after.format(entry.name)
    )
