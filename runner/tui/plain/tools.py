"""Tools of a plain chat: what the model may call, and the MCP servers."""

import asyncio
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from runner.base.errors import SteprunError, UsageError
from runner.base.text import clean_name
from runner.chat.tools.mcp.permissions import Answer
from runner.chat.tools.mcp.switching import McpSwitches, end_of, state_words
from runner.chat.turn import TurnState
from runner.tui import shared
from runner.tui.costs import reading_again
from runner.tui.offered import SWITCH, tool_lines, why_not
from runner.tui.plain.permission import ask_permission, nobody_to_ask
from runner.tui.plain.wing import PlainWing
from runner.tui.settings import write_quietly

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.chat.tools.mcp.box import AskedCall
    from runner.tui.plain.chat import PlainChat


class PlainTools(PlainWing):
    """Lists tools, switches them, and asks before one of an MCP server runs."""

    title = "Tools"

    def __init__(self, chat: "PlainChat") -> None:
        super().__init__(chat)
        self._switches = McpSwitches(self.talk.tools, self._ask, self._changed)
        self._switching: asyncio.Task[None] | None = None

    # --- all tools ---------------------------------------------------------------------------

    async def switch(self, typed: str) -> None:
        """List what is offered, or switch the image tools on or off."""
        talk, chosen = self.talk, typed.lower()
        if chosen not in {"", *SWITCH}:
            raise UsageError(f"{clean_name(typed, 40)!r} is neither on nor off.", next="/tools off")
        if chosen:
            before = talk.tools.tools
            error = None
            if talk.settings.choose(tools=chosen):
                error = await asyncio.to_thread(write_quietly, talk.settings)
            talk.ask_for_tools_again()
            if talk.tools.tools != before:  # they stand at the top of the prompt
                self.out.say(f"The image tools are {chosen}.{reading_again(talk)}")
            if error is not None:
                self.out.say(str(error))
        self.out.say("Tools that the model may call:")
        for name, about in tool_lines(talk):
            self.out.say(f"{name}{about}")
        self.out.say(why_not(talk))

    # --- MCP servers -------------------------------------------------------------------------

    def start(self, names: "Sequence[str]") -> None:
        """Begin to switch servers on. In the loop."""
        self._switching = asyncio.create_task(self._switch_on(names))

    async def _switch_on(self, names: "Sequence[str]") -> None:
        for name in names:  # one that cannot be started keeps none from it
            try:
                await self._switches.switch(name, on=True)
            except SteprunError as error:
                self.talk.keyboard.say_meanwhile(str(error))

    async def settled(self) -> None:
        """Wait until it is known what the servers offer: what is asked before is read again."""
        if self._switching is not None:
            await asyncio.shield(self._switching)
        if names := self._switches.starting:
            self.out.say(f"Waiting for {' and '.join(names)}.")
        await self._switches.settled()
        self._show_news()  # before the answer

    async def servers(self, typed: str) -> None:
        """List the servers, switch one on or off, or forget what was decided on a tool."""
        name, _, tool = typed.partition(" ")
        if not name:
            await self._list()
        elif tool:
            await self._forget(name, tool.strip())
        else:
            await self._switches.switch(name)
            await self.settled()

    async def _forget(self, server: str, tool: str) -> None:
        box = await self._switches.loaded()
        decisions, _ = await asyncio.to_thread(box.permissions.read)
        offers = entry.offers.tools if (entry := box.entry(server)) is not None else ()
        own = {offer.tool.name: offer.own_name for offer in offers}.get(tool, tool)
        if (server, own) not in decisions:
            self.out.say(f"Nothing was decided on {clean_name(tool)} of {clean_name(server)}.")
            return
        await asyncio.to_thread(box.permissions.forget, server, own)
        self.out.say(f"Each call of {clean_name(tool)} needs your permission again.")

    async def _list(self) -> None:
        box = await self._switches.loaded()
        decisions, why = await asyncio.to_thread(box.permissions.read)
        if why:
            self.out.say(why)
        module = await asyncio.to_thread(import_module, "runner.tui.mcp_words")
        lines = module.mcp_lines(self._switches.servers, box.entries, decisions)
        for line in lines:
            self.out.say(line)
        if lines:
            self.out.say("/mcp NAME switches a server on or off.")
            return
        config = await asyncio.to_thread(import_module, "runner.chat.tools.mcp.config")
        self.out.say(f"MCP servers are in a file of yours: {config.config_path()}")
        self.out.say(f"For example:\n{config.EXAMPLE}")
        self.out.say("Save it, then type /mcp NAME. Each call needs your permission.")

    def _changed(self) -> None:
        self.chat.call(self._show_news)

    def _show_news(self) -> None:
        for entry in self._switches.news():
            state = str(entry.state)
            if state == "ended":
                self.talk.keyboard.say_meanwhile(str(end_of(entry)))
            elif state in {"starting", "on"}:
                # A chat that is resumed was read with its servers' tools: they are no change.
                changes = state == "on" and self.talk.has_asked
                price = reading_again(self.talk) if changes else ""
                self.talk.keyboard.say_meanwhile(f"{state_words(entry)}{price}")

    async def close(self) -> None:
        """Stop the servers; safe to call twice."""
        if self._switching is not None:
            self._switching.cancel()
        await self._switches.close()

    # --- permission --------------------------------------------------------------------------

    async def _ask(self, asked: "AskedCall") -> Answer:
        """Ask whether a call may run; where nobody types, it may not."""
        keyboard, turn = self.talk.keyboard, self.talk.live
        self.talk.print_so_far()
        if not keyboard.terminal:
            self.out.say(nobody_to_ask(asked))
            return Answer.NOT_NOW
        if turn is not None:
            turn.phase = TurnState.ASKING
        try:
            answer = await self.chat.ask_here(partial(ask_permission, asked, keyboard, self.out))
        finally:
            if turn is not None and turn.phase is TurnState.ASKING:
                turn.phase = TurnState.CALLING
        if answer in {Answer.ALWAYS, Answer.NEVER}:
            again = f"/mcp {asked.server} {asked.offer.tool.name}"
            self.out.say(f"{str(answer).capitalize()} from now on. {again} takes it back.")
        return answer

    actions = (
        shared.TOOLS.by(switch),
        replace(
            shared.MCP.by(servers),
            does=f"{shared.MCP.does}; with TOOL, take back what you decided on it",
            args="[NAME [TOOL]]",
        ),
    )
