"""MCP servers: which of the configured ones are on in this chat.

Nothing of it is loaded before the user asks for a server.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from textual.events import Unmount
from textual.message import Message

from runner.base.errors import Refused, SteprunError, UsageError
from runner.base.text import clean_name
from runner.tui.actions import Action
from runner.tui.costs import reading_again
from runner.tui.wings.permission import Permission
from runner.tui.wings.wing import Hear, Wing

if TYPE_CHECKING:
    from runner.chat.tools.mcp.box import McpEntry, McpToolbox
    from runner.chat.tools.mcp.config import McpServer
    from runner.tui.app import ChatApp
    from runner.tui.mcp_screen import McpRow, McpScreen

START_S: Final = 1.0  # after the first frame, which needs the processor more


class McpServers(Wing):
    """Switches MCP servers on and off."""

    title = "MCP servers"

    @dataclass
    class Changed(Message):
        """A server or its tools have changed."""

    def __init__(self, chat: "ChatApp") -> None:
        super().__init__(chat)
        self._box: McpToolbox | None = None
        self._one_box = asyncio.Lock()
        self._servers: Mapping[str, McpServer] = {}
        self._screen: McpScreen | None = None
        self._announced: dict[str, str] = {}  # the states that the user has been told
        self._due: list[str] = []  # what the command line names and was not begun yet

    def started(self) -> None:
        """Switch on what the command line names."""
        self._due = list(self.chat.setup.mcp)
        if self._due:
            self.chat.set_timer(START_S, lambda: self._work(self._switch_on()))

    async def _switch_on(self) -> None:
        # One after the other: the order of the servers is that of their tools in the prompt.
        for name in self.chat.setup.mcp:
            try:
                await self._switch(name, on=True)
            finally:
                self._due.remove(name)
                self.chat.post_message(McpServers.Changed())

    def starting(self) -> list[str]:
        """Return the servers that are about to be on."""
        entries = self._box.entries.values() if self._box is not None else ()
        found = (entry.name for entry in entries if str(entry.state) == "starting")
        return list(dict.fromkeys((*found, *self._due)))

    def _work(self, work: Any) -> None:
        self.chat.run_worker(work, group="mcp", exit_on_error=False)

    # --- the command -------------------------------------------------------------------------

    def command(self, name: str) -> None:
        """List the servers, or switch one on or off."""
        self._work(self._switch(name) if name else self._list())

    async def _loaded(self) -> "McpToolbox | None":
        """Return the toolbox with the file read anew; None where that cannot be used."""
        async with self._one_box:
            if self._box is None:
                self._box = await asyncio.to_thread(_new_box, self)
                self.chat.tools.add(self._box)
        try:
            self._servers = await asyncio.to_thread(_read_servers)
        except SteprunError as error:
            self.chat.problem(error)
            return None
        return self._box

    async def _switch(self, name: str, *, on: bool | None = None) -> None:
        if (box := await self._loaded()) is None:
            return
        entry, config = box.entry(name), self._servers.get(name)
        runs = entry is not None and str(entry.state) in {"on", "starting"}
        if runs and on is None:
            box.switch_off(name)
        elif config is None:
            known = ", ".join(self._servers)
            self.chat.problem(
                UsageError(
                    f"No MCP server is called {clean_name(name)}.",
                    why=f"Known: {known}." if known else "None is configured yet.",
                    next="/mcp lists them, and says how to add one.",
                )
            )
        elif not config.enabled:
            self.chat.problem(
                Refused(
                    f"The MCP server {name} is disabled.",
                    why="Its table in mcp.toml says enabled = false.",
                    next=f"Take that line out, then type /mcp {name}.",
                )
            )
        elif not runs:
            box.switch_on(name, config)

    async def _list(self) -> None:
        if (box := await self._loaded()) is None:
            return
        if not self._servers and not (await self._decisions(box)):
            self._explain()
            return
        from runner.tui.mcp_screen import McpScreen  # noqa: PLC0415 - only where it is shown

        self._screen = McpScreen(await self._rows(box), self._act)
        self.chat.push_screen(self._screen, self._closed)

    async def _decisions(self, box: "McpToolbox") -> Mapping[Any, Any]:
        decisions, why = await asyncio.to_thread(box.permissions.read)
        if why:
            self.chat.problem(SteprunError(why))
        return decisions

    async def _rows(self, box: "McpToolbox") -> Any:
        from runner.tui.mcp_screen import mcp_rows  # noqa: PLC0415

        return mcp_rows(self._servers, box.entries, await self._decisions(box))

    def _act(self, row: "McpRow") -> None:
        self._work(self._acted(row))

    async def _acted(self, row: "McpRow") -> None:
        if self._box is None:
            return
        if not row.tool:
            await self._switch(row.server)
        else:
            try:
                await asyncio.to_thread(self._box.permissions.forget, row.server, row.tool)
            except SteprunError as error:
                self.chat.problem(error)
        await self._refresh()

    def _closed(self, chosen: Any) -> None:
        self._screen = None
        if chosen is not None:
            self._explain()

    def _explain(self) -> None:
        """Say how a server is configured."""
        from runner.chat.tools.mcp.config import EXAMPLE, config_path  # noqa: PLC0415

        self.chat.transcript.notice(_how_to(str(config_path()), EXAMPLE))
        self.chat.transcript.follow()

    # --- what happens ------------------------------------------------------------------------

    async def changed(self, _: "McpServers.Changed") -> None:
        """Tell what has become of a server."""
        box = self._box
        if box is None or self.chat.leaving:
            return
        for name, entry in box.entries.items():
            state = str(entry.state)
            if self._announced.get(name) != state:
                self._announced[name] = state
                self._announce(entry)
        self._announced = {
            name: state for name, state in self._announced.items() if name in box.entries
        }
        await self._refresh()

    def _announce(self, entry: "McpEntry") -> None:
        if str(entry.state) == "on":
            count = len(entry.offers.tools)
            tools = f"{count} {'tool' if count == 1 else 'tools'}"
            self.chat.hint(f"{entry.name} is on: {tools}.{reading_again(self.chat)}")
        elif str(entry.state) == "starting":
            self.chat.hint(f"{entry.name} is starting.")
        elif str(entry.state) == "ended":
            self.chat.problem(
                SteprunError(
                    f"The MCP server {entry.name} has ended.",
                    why=entry.why,
                    next=f"Correct that, then type /mcp {entry.name}.",
                )
            )

    async def _refresh(self) -> None:
        if self._box is not None and self._screen is not None and self._screen.is_attached:
            self._screen.replace(await self._rows(self._box))

    async def ended(self, _: Unmount) -> None:
        """Stop the servers: the chat has ended."""
        if self._box is not None:
            await self._box.close()

    actions = (
        Action(
            "mcp.servers",
            "list MCP servers and their tools, or switch one on or off",
            command,
            *("mcp", "[NAME]"),
        ),
    )
    hears: ClassVar[Mapping[type[Message], Hear]] = {Unmount: ended}


McpServers.hears = {McpServers.Changed: McpServers.changed, **McpServers.hears}


def _new_box(wing: McpServers) -> "McpToolbox":
    from runner.chat.tools.mcp.box import McpToolbox  # noqa: PLC0415 - only with a server

    chat = wing.chat
    return McpToolbox(chat.wing(Permission).ask, lambda: chat.post_message(McpServers.Changed()))


def _read_servers() -> Mapping[str, Any]:
    from runner.chat.tools.mcp.config import read_servers  # noqa: PLC0415 - only with a server

    return read_servers()


def _how_to(path: str, example: str) -> Any:
    from textual.content import Content  # noqa: PLC0415

    return Content.assemble(
        ("MCP servers are in a file of yours\n", "bold"),
        f"{path}\n",
        ("For example:\n", "$foreground-muted"),
        (example, "$text-accent"),
        ("→ Save it, then type /mcp NAME. Each call needs your permission.", "$foreground-muted"),
    )
