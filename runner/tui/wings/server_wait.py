"""Waiting for MCP servers: a question that is sent while one is starting waits for its tools.

They stand at the top of the prompt, where nothing may change later.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from runner.base.text import clean_name
from runner.tui.note_lines import NoteLines
from runner.tui.wings.mcp_servers import McpServers
from runner.tui.wings.wing import Hear, Wing

if TYPE_CHECKING:
    from runner.tui.app import ChatApp

# A judgement: a server that is installed is on within a few seconds; one that npx or uvx fetches
# first may take longer than anybody waits for an answer.
WAIT_S: Final = 30.0


class ServerWait(NoteLines):
    """What a question waits for, and the key that sends it without."""

    def show(self, names: Sequence[str]) -> None:
        """Show the servers that are waited for, or nothing."""
        whose = "their" if len(names) > 1 else "its"
        hint = Content.styled(f"  Esc sends it without {whose} tools", "$foreground-muted")
        self.say([Content(f"↳ waits for {servers_text(names)}") + hint] if names else [])


def servers_text(names: Sequence[str]) -> str:
    """Return servers in words: `the MCP servers files and web`."""
    shown = [clean_name(name, 40) for name in names[:3]]
    shown += [f"{len(names) - 3} more"] if len(names) > 3 else []
    listed = " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
    return f"the MCP server{'s' if len(names) > 1 else ''} {listed}"


class WaitingForServers(Wing):
    """Holds a question back until the servers that are starting are on."""

    title = "MCP servers"

    def __init__(self, chat: "ChatApp") -> None:
        super().__init__(chat)
        self._line = ServerWait()
        self._news = asyncio.Event()  # something has become of a server
        self._waits = False  # a question does

    def panels(self) -> Iterable[Widget]:
        """Return the line of what is waited for."""
        return (self._line,)

    def started(self) -> None:
        """Be asked before each question."""
        self.chat.tools_ready = self.settled

    async def settled(self) -> None:
        """Wait until no server is starting any more, for so long or until the user will not."""
        servers = self.chat.wing(McpServers)
        if not servers.starting():
            return
        self._waits = True
        try:
            async with asyncio.timeout(WAIT_S):
                while self._waits and (names := servers.starting()):
                    self._say(names)
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            late = servers_text(servers.starting())
            self.chat.hint(f"Sent without {late}: still starting after {WAIT_S:.0f} seconds.")
        finally:
            self._waits = False
            self._say([])

    def _say(self, names: Sequence[str]) -> None:
        self.chat.waits_for = servers_text(names) if names else ""
        if self._line.is_attached and not self.chat.leaving:
            self._line.show(names)
            self.chat.show_status()

    def go_without(self) -> bool:
        """Have a question wait no longer. False: none does."""
        if not (self._waits and self.chat.waits_for):
            return False
        self.chat.hint(f"Sent without {self.chat.waits_for}.")
        self._waits = False
        self._news.set()
        return True

    def changed(self, _: McpServers.Changed) -> None:
        """Look again: something has become of a server."""
        self._news.set()

    hears: ClassVar[Mapping[type[Message], Hear]] = {McpServers.Changed: changed}
