"""The MCP servers of a chat as a toolbox: which are on, what they offer, each call asked for."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from typing import Any, Final

from runner.base.errors import SteprunError
from runner.base.text import clean, clean_name
from runner.chat.tools.mcp.arguments import parse_arguments
from runner.chat.tools.mcp.config import McpServer
from runner.chat.tools.mcp.loop import LoopThread
from runner.chat.tools.mcp.offers import Offer, Offers
from runner.chat.tools.mcp.permissions import Answer, Decision, Permissions
from runner.chat.tools.toolbox import Call, Result, Tool
from runner.chat.wire import Picture

CLOSE_S: Final = 3.0  # for all servers to end; the relays end those that do not
WHY_CHARS: Final = 300


class ServerState(StrEnum):
    """What a server is doing."""

    OFF = "off"
    STARTING = "starting"
    ON = "on"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class AskedCall:
    """A call that the user is to decide on. `changed`: the tool is not what was allowed before."""

    server: str
    offer: Offer
    arguments: Mapping[str, Any]
    changed: bool = False


# Asks the user; cancelled where the answer is stopped.
Ask = Callable[[AskedCall], Awaitable[Answer]]


@dataclass
class McpEntry:
    """A server that was switched on. `why`: why it ended, one line, cleaned."""

    name: str
    config: McpServer
    state: ServerState = ServerState.OFF
    why: str = ""
    offers: Offers = field(default_factory=Offers)
    connection: Any = None  # a `connection.ServerConnection`


class McpToolbox:
    """A toolbox of all MCP servers that are on. Of one chat; its methods are for its loop.

    `ask`: asks the user. `changed`: is called from any thread when a server or its tools change.
    """

    def __init__(self, ask: Ask, changed: Callable[[], object]) -> None:
        self._ask = ask
        self._changed = changed
        self._entries: dict[str, McpEntry] = {}
        self._thread = LoopThread("mcp")
        self._serving: set[Future[None]] = set()
        self._asking = asyncio.Lock()
        self.permissions = Permissions()

    # --- which servers are on ----------------------------------------------------------------

    @property
    def entries(self) -> Mapping[str, McpEntry]:
        """The servers that were switched on, by name."""
        return dict(self._entries)

    def entry(self, name: str) -> McpEntry | None:
        """Return a server that was switched on, None where it never was."""
        return self._entries.get(name)

    def switch_on(self, name: str, config: McpServer) -> None:
        """Start a server in the background, unless it is on."""
        before = self._entries.get(name)
        if before is not None and before.state in {ServerState.STARTING, ServerState.ON}:
            return
        entry = self._entries[name] = McpEntry(name, config, ServerState.STARTING)
        serving = self._thread.start(self._serve(entry))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        self._changed()

    def switch_off(self, name: str) -> None:
        """Stop a server; its tools are gone at once."""
        if (entry := self._entries.pop(name, None)) is not None:
            entry.state, entry.offers = ServerState.OFF, Offers()
            self._stop(entry)
            self._changed()

    def _stop(self, entry: McpEntry) -> None:
        def stop() -> None:
            if entry.connection is not None:
                entry.connection.stop()

        self._thread.call(stop)

    async def _serve(self, entry: McpEntry) -> None:
        """Run a server to its end. In the thread."""

        def offered(offers: Offers) -> None:
            if entry.state is not ServerState.OFF:
                entry.offers, entry.state = offers, ServerState.ON
                self._changed()

        try:
            module = import_module("runner.chat.tools.mcp.connection")
            if entry.state is ServerState.OFF:
                return
            entry.connection = module.ServerConnection(entry.name, entry.config, offered)
            why = await entry.connection.run()
        except ImportError as error:
            why = f"The mcp package cannot be loaded: {error}. Type: pip install 'mcp>=2.3,<3'"
        except Exception as error:  # noqa: BLE001 - a server must not be starting for ever
            why = f"steprun failed: {error!r}."
        entry.offers, entry.connection = Offers(), None
        if entry.state is not ServerState.OFF:
            entry.state = ServerState.ENDED
            entry.why = clean_name(clean(why[: 8 * WHY_CHARS]), WHY_CHARS)
        self._changed()

    async def close(self) -> None:
        """Stop all servers, and wait for that a moment; safe to call twice."""
        for name in list(self._entries):
            self.switch_off(name)
        if serving := [asyncio.wrap_future(each) for each in list(self._serving)]:
            await asyncio.wait(serving, timeout=CLOSE_S)
        self._thread.close()

    # --- as a toolbox ------------------------------------------------------------------------

    @property
    def tools(self) -> Sequence[Tool]:
        """The tools of all servers that are on, by their order."""
        return [
            offer.tool for entry in list(self._entries.values()) for offer in entry.offers.tools
        ]

    def _find(self, name: str) -> tuple[McpEntry, Offer] | None:
        for entry in list(self._entries.values()):
            for offer in entry.offers.tools:
                if offer.tool.name == name:
                    return entry, offer
        return None

    async def run(self, call: Call, pictures: Sequence[Picture]) -> Result:
        """Ask the user, where they have not decided for good; then run the call."""
        del pictures  # they are sent to nobody
        name = clean_name(call.name, 80)
        if (found := self._find(call.name)) is None:
            return Result(
                f"There is no tool {name} now: its server is off or has ended.", failed=True
            )
        arguments = parse_arguments(call.arguments)
        if isinstance(arguments, str):
            return Result(arguments, failed=True)
        entry, offer = found
        answer = await self._permitted(AskedCall(entry.name, offer, arguments))
        if answer is Answer.NEVER:
            return Result(f"The user never allows {name}. Continue without it.", failed=True)
        if answer is Answer.NOT_NOW:
            return Result(f"The user did not allow this call of {name}.", failed=True)
        if entry.connection is None or self._find(call.name) != found:
            return Result(
                f"The tool {name} has ended or changed while the user decided.", failed=True
            )
        return await self._thread.run(entry.connection.call(offer.own_name, arguments))

    async def _permitted(self, asked: AskedCall) -> Answer:
        """Return what the user has decided, or decides now: one call at a time is asked for."""
        offer = asked.offer
        async with self._asking:
            decisions, _ = await asyncio.to_thread(self.permissions.read)
            known = decisions.get((asked.server, offer.own_name))
            if known is not None and known.answer == Answer.NEVER:
                return Answer.NEVER
            if known is not None and known.fingerprint == offer.fingerprint:
                return Answer.ALWAYS
            changed = known is not None
            answer = await self._ask(AskedCall(asked.server, offer, asked.arguments, changed))
            if answer in {Answer.ALWAYS, Answer.NEVER}:
                decision = Decision(asked.server, offer.own_name, answer, offer.fingerprint)
                await asyncio.to_thread(self._decide, decision)
            return answer

    def _decide(self, decision: Decision) -> None:
        try:
            self.permissions.decide(decision)
        except SteprunError:  # it counts for this chat; `/mcp` says why not for the next
            return
