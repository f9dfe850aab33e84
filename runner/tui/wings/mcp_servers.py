"""MCP servers: which of the configured ones are on in this chat.

Nothing of it is loaded before the user asks for a server.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from textual.events import Unmount
from textual.message import Message

from runner.base.errors import SteprunError
from runner.chat.tools.mcp.permissions import Answer
from runner.chat.tools.mcp.switching import McpSwitches, end_of, state_words
from runner.tui.costs import reading_again
from runner.tui.shared import MCP
from runner.tui.wings.permission import Permission
from runner.tui.wings.wing import Hear, Wing

if TYPE_CHECKING:
    from runner.chat.tools.mcp.box import AskedCall, McpEntry, McpToolbox
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
        self.switches = McpSwitches(
            chat.tools, self._ask, lambda: chat.post_message(McpServers.Changed())
        )
        self._screen: McpScreen | None = None
        self._due: list[str] = []  # what the command line names and was not begun yet

    def started(self) -> None:
        """Switch on what the command line names."""
        self._due = list(self.chat.setup.mcp)
        if self._due:
            self.chat.set_timer(START_S, lambda: self._work(self._switch_on()))

    async def _switch_on(self) -> None:
        # One after the other: the order of the servers is that of their tools in the prompt.
        for name in self.chat.setup.mcp:  # one that cannot be started keeps none from it
            await self._reported(self.switches.switch(name, on=True))
            self._due.remove(name)
            self.chat.post_message(McpServers.Changed())

    def starting(self) -> list[str]:
        """Return the servers that are about to be on."""
        return list(dict.fromkeys((*self.switches.starting, *self._due)))

    async def _ask(self, asked: "AskedCall") -> Answer:
        return await self.chat.wing(Permission).ask(asked)

    async def _reported(self, work: Awaitable[None]) -> None:
        """Do something, and show why it cannot be done."""
        try:
            await work
        except SteprunError as error:
            self.chat.problem(error)

    def _work(self, work: Any) -> None:
        self.chat.run_worker(work, group="mcp", exit_on_error=False)

    # --- the command -------------------------------------------------------------------------

    def command(self, name: str) -> None:
        """List the servers, or switch one on or off."""
        self._work(self._reported(self.switches.switch(name) if name else self._list()))

    async def _list(self) -> None:
        box = await self.switches.loaded()
        if not self.switches.servers and not (await self._decisions(box)):
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

        return mcp_rows(self.switches.servers, box.entries, await self._decisions(box))

    def _act(self, row: "McpRow") -> None:
        self._work(self._acted(row))

    async def _acted(self, row: "McpRow") -> None:
        box = self.switches.box
        if box is None:
            return
        if not row.tool:
            await self._reported(self.switches.switch(row.server))
        else:
            await self._reported(asyncio.to_thread(box.permissions.forget, row.server, row.tool))
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
        """Show what has become of a server."""
        if self.switches.box is None or self.chat.leaving:
            return
        for entry in self.switches.news():
            self._announce(entry)
        await self._refresh()

    def _announce(self, entry: "McpEntry") -> None:
        state = str(entry.state)
        if state == "ended":
            self.chat.problem(end_of(entry))
        elif state in {"starting", "on"}:
            price = reading_again(self.chat) if state == "on" else ""
            self.chat.hint(f"{state_words(entry)}{price}")

    async def _refresh(self) -> None:
        box = self.switches.box
        if box is not None and self._screen is not None and self._screen.is_attached:
            self._screen.replace(await self._rows(box))

    async def ended(self, _: Unmount) -> None:
        """Stop the servers: the chat has ended."""
        await self.switches.close()

    actions = (MCP.by(command),)
    hears: ClassVar[Mapping[type[Message], Hear]] = {Unmount: ended}


McpServers.hears = {McpServers.Changed: McpServers.changed, **McpServers.hears}


def _how_to(path: str, example: str) -> Any:
    from textual.content import Content  # noqa: PLC0415

    return Content.assemble(
        ("MCP servers are in a file of yours\n", "bold"),
        f"{path}\n",
        ("For example:\n", "$foreground-muted"),
        (example, "$text-accent"),
        ("→ Save it, then type /mcp NAME. Each call needs your permission.", "$foreground-muted"),
    )
