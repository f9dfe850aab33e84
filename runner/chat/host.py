"""The server that a chat talks to, ours or somebody else's, and what a chat starts from."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runner.base.errors import Refused, SteprunError, UsageError
from runner.base.loaded import Loaded
from runner.chat.dialect import Offer
from runner.chat.refusals import Unreachable
from runner.chat.wire import Options
from runner.net.endpoint import Endpoint

# A dying engine closes its connections a moment before its guard sees it end.
DEATH_S = 1.0
POLL_S = 0.05
LOOK_S = 2.0  # a server that is there takes a connection at once, however busy it is


class Mortal(Protocol):
    """What answers at an endpoint, and may end: an engine, or a server."""

    endpoint: Endpoint

    def alive(self) -> bool:
        """Whether it still runs, as far as is known."""

    def verdict(self) -> SteprunError:
        """Why it no longer runs. May wait for that: call it in a thread."""


class ChatHost(Mortal, Protocol):
    """A server that is starting or running: our own, `Remote`, or a `serve` joined."""

    async def wait_ready(self, on_wait: Callable[[float], None]) -> None:
        """Return when it answers; raise SteprunError where it never will."""

    def loaded(self) -> Loaded | None:
        """Return how far its weights are loaded, while it is waited for; None where unknown."""

    async def lost(self) -> None:
        """Return when it has to be waited for again; never where nothing tells."""


class Remote(AbstractAsyncContextManager["Remote"]):
    """Somebody else's server: spoken to, never started, stopped or tuned."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._gone = False

    async def look(self, error: SteprunError) -> None:
        """Find out whether it is still there, after a request that failed."""
        if isinstance(error, Refused | UsageError):
            return  # only one that is there can refuse
        from runner.chat.client import properties  # noqa: PLC0415 - brings httpx2

        try:
            if isinstance(error, Unreachable):
                raise error
            await asyncio.wait_for(properties(self.endpoint), LOOK_S)
        except Unreachable:
            self._gone = True
        except (SteprunError, TimeoutError):
            pass  # it takes connections: it is there

    async def __aexit__(self, *_: object) -> None:
        """Nothing to stop."""

    async def wait_ready(self, on_wait: Callable[[float], None]) -> None:
        """Wait for nothing: it was asked what it is, and has answered."""

    def loaded(self) -> None:
        """Know nothing of it."""

    async def lost(self) -> None:
        """Wait for ever: a request will show it."""
        await asyncio.Event().wait()

    def alive(self) -> bool:
        """Whether it was there when it was last asked for something."""
        return not self._gone

    def verdict(self) -> SteprunError:
        """Return the error of a server that no longer answers."""
        return SteprunError(f"The server at {self.endpoint.base_url} no longer answers.")


class NeedsTerminal(SteprunError):  # noqa: N818 - no fault: it is done elsewhere
    """What the host is cannot be found out in a window: a terminal has to ask, or show it."""


async def reason_of(host: Mortal, error: SteprunError) -> SteprunError:
    """Return why an answer failed: the death of our own engine explains more than a lost line."""
    if isinstance(host, Remote):
        await host.look(error)
    if not host.endpoint.owned or isinstance(error, Refused | UsageError):
        return error  # only a living engine can refuse
    deadline = time.monotonic() + DEATH_S
    while host.alive():
        if time.monotonic() > deadline:
            return error
        await asyncio.sleep(POLL_S)
    return await asyncio.to_thread(host.verdict)


async def follow(
    host: ChatHost, on_wait: Callable[[float], None], on_ready: Callable[[], object]
) -> None:
    """Wait until a host answers, whenever it has to be waited for; raise why it never will.

    `on_wait` hears the seconds waited so far, from 0 each time; `on_ready` when it answers.
    """
    while True:
        await host.wait_ready(on_wait)
        on_ready()
        await host.lost()
        on_wait(0.0)


@dataclass(frozen=True, slots=True)
class ChatSetup:
    """Everything that a chat starts from.

    `open_host` makes the host (entered once). `context` in tokens, 0 where unknown. `sees`:
    images can be sent; `blind_why` says why not. `picture_tools`: zoom and mark are offered unless
    the user says otherwise. `prices`: image costs are those of Step. `own`: the host is an engine
    that this chat starts and stops; `gateway`: a server of steprun, which tells its figures.
    `expected_rate`: tokens of a prompt that it should read in a second, before any were; 0 where
    nobody knows.
    `greeting`: what to show first (which model, why). `hint`: what to ask it.
    `resume`: the ID of a session to resume.
    `words`: the options that name the model or the server, to be typed again with --resume.
    `mcp`: the MCP servers to switch on at the start.
    `find`: where it is not known yet what the host is: finds out, each time that it is opened. It
    hears the seconds that it has waited; the setup that it returns takes the place of this one.
    `models`: of a server that may have several; `others`: how else an engine here can be started.
    """

    title: str
    open_host: Callable[[], AbstractAsyncContextManager[ChatHost]]
    options: Options
    context: int = 0
    sees: bool = False
    blind_why: str = ""
    picture_tools: bool = True
    prices: bool = True
    own: bool = True
    gateway: bool = False
    expected_rate: float = 0.0
    show_thinking: bool = False
    greeting: str = ""
    hint: str = ""
    pictures: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()
    resume: str = ""
    words: tuple[str, ...] = ()
    mcp: tuple[str, ...] = ()
    find: "Find | None" = None
    models: "Models | None" = None
    others: tuple["Another", ...] = ()

    @property
    def all_words(self) -> tuple[str, ...]:
        """The words, and the options of the MCP servers: their tools are a part of the prompt."""
        return (*self.words, *(word for name in self.mcp for word in ("--mcp", name)))


@dataclass(frozen=True, slots=True)
class Another:
    """Another way to run the model here: `what` it is, and the options that ask for it.

    `find`: sets a chat with it up, once the engine that runs has ended: they may not fit at once.
    `sees`: it takes images.
    """

    what: str
    words: tuple[str, ...]
    find: "Find"
    sees: bool = False


class Models(Protocol):
    """What a server offers. Asking raises SteprunError where it does not answer."""

    async def offered(self) -> Sequence[Offer]:
        """Return its models."""

    def finding(self, model: str) -> "Find":
        """Return what sets a chat with one of them up."""


# Asks what the host of a chat is; hears for how long it has waited, in seconds.
Find = Callable[[Callable[[float], None]], Awaitable[ChatSetup]]
