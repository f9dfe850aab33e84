"""A chat's own engine behind a gateway of its own: in this process, and only as long as the chat.

So a chat with its own engine and one that has joined a `serve` are the same: pictures, restarts,
engines that hang, kept prompts and the account of each request are one path.
"""

import asyncio
import secrets
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Final, Self

from runner.base.errors import SteprunError
from runner.base.loaded import Loaded
from runner.engine.process import servers
from runner.engine.process.supervisor import EngineProcess
from runner.gateway.news import memory_news
from runner.gateway.settings import Settings
from runner.gateway.timing import Timing
from runner.net.endpoint import Endpoint

if TYPE_CHECKING:  # it is imported while the engine loads
    from collections.abc import Sequence

    from runner.chat.host_news import HostNews
    from runner.gateway.engine.keeper import Engine
    from runner.gateway.engine.rungs import Rungs, ServedRung

# Somebody sits before it: why an engine does not load is said at once, not after more tries.
AT_A_CHAT: Final = Timing(loads=1)
# Until it is known why an engine has ended: the keeper looks four times a second, and its last
# words may take two seconds.
VERDICT_S: Final = 5.0
_CLIENT: Final = "chat"  # as `ps` names who is served


class OwnHost(AbstractAsyncContextManager["OwnHost"]):
    """An engine, and the gateway through which a chat speaks to it.

    Entering starts the engine, leaving stops it. `settings`: what is served; where the gateway
    listens, and with which key, is decided here. `rungs`: how it is served with less memory.
    """

    def __init__(
        self,
        settings: Settings,
        make: Callable[[], EngineProcess],
        timing: Timing = AT_A_CHAT,
        rungs: "Rungs | None" = None,
    ) -> None:
        self._settings = settings
        self._rungs = rungs
        self._make = make
        self._timing = timing
        self._unused: EngineProcess | None = make()
        self._engine: Engine = self._unused
        self._left = AsyncExitStack()
        self._gateway: asyncio.Task[None] | None = None
        self._heard = HeardOfGateway()
        self.endpoint = Endpoint("")

    async def __aenter__(self) -> Self:
        """Start the engine, and listen. Raises SteprunError where the engine cannot be started."""
        async with AsyncExitStack() as stack:
            # The engine first: it loads while the gateway is imported.
            await stack.enter_async_context(self._engine)  # the one that is unused
            module = await asyncio.to_thread(import_module, "runner.gateway.run")
            key, stop, heard = secrets.token_urlsafe(32), module.StopSignal(), self._heard
            settings = replace(
                self._settings,
                host="127.0.0.1",
                port=0,
                key_file=stack.enter_context(servers.own_key(_CLIENT, key)),
            )
            rungs = self._noted if self._rungs is not None else None
            running = module.run(
                settings, self._next_engine, heard, stop, self._timing, rungs=rungs
            )
            gateway = self._gateway = asyncio.create_task(running, name="gateway")
            gateway.add_done_callback(heard.ended)

            async def end() -> None:
                stop.ask()
                await asyncio.wait([gateway])

            stack.push_async_callback(end)
            await asyncio.wait((gateway, heard.port), return_when=asyncio.FIRST_COMPLETED)
            if gateway.done():
                raise heard.why_ended()
            self.endpoint = Endpoint(
                f"http://127.0.0.1:{heard.port.result()}",
                api_key=key,
                owned=True,
                longest_word=settings.longest_word,
            )
            self._left = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the gateway, and the engine with it."""
        await self._left.aclose()

    def _next_engine(self) -> "Engine":
        """Return the engine that was started already, later a new one."""
        self._engine, self._unused = self._unused or self._make(), None
        return self._engine

    def _noted(self) -> "Sequence[ServedRung]":
        """Return the rungs, with engines that are known here."""
        if self._rungs is None:
            raise AssertionError

        def noted(make: "Callable[[], Engine]") -> "Callable[[], Engine]":
            def made() -> "Engine":
                self._engine = make()
                return self._engine

            return made

        return [replace(rung, make=noted(rung.make)) for rung in self._rungs()]

    async def wait_ready(self, on_wait: Callable[[float], None]) -> None:
        """Return when the engine answers, also after a restart; raise why it never will."""
        if self._gateway is None:
            raise AssertionError
        heard = self._heard
        heard.on_wait = on_wait
        answers = asyncio.create_task(heard.answers.wait())
        try:
            await asyncio.wait((answers, self._gateway), return_when=asyncio.FIRST_COMPLETED)
        finally:
            answers.cancel()
        if self._gateway.done():
            raise heard.why_ended()

    def loaded(self) -> Loaded | None:
        """Return how far the weights are loaded; None where that is not known."""
        return self._heard.loaded

    async def lost(self) -> None:
        """Return when the engine has ended: it is started again, or was given up."""
        await self._heard.away.wait()

    async def news(self, report: "Callable[[HostNews], object]") -> None:
        """Tell what memory does to the engine, until cancelled."""
        await memory_news(self.endpoint, report)

    def alive(self) -> bool:
        """Whether the engine answers."""
        return self._heard.answers.is_set() and self._engine.alive()

    def verdict(self) -> SteprunError:
        """Return why the engine has ended. Waits until that is known: call it in a thread."""
        return self._heard.why(VERDICT_S) or self._engine.verdict()


class HeardOfGateway:
    """What a gateway has told (`Report`): where it listens, and whether the engine answers.

    `answers` and `away` are set in turn. `on_wait` hears for how long the model has been loading.
    """

    def __init__(self) -> None:
        self.answers, self.away = asyncio.Event(), asyncio.Event()
        self.on_wait: Callable[[float], None] = lambda _: None
        self.loaded: Loaded | None = None
        self._why: SteprunError | None = None
        self._known = threading.Event()  # why it has ended

    @cached_property
    def port(self) -> "asyncio.Future[int]":
        """The port that it listens on."""
        return asyncio.get_running_loop().create_future()

    def why(self, seconds: float) -> SteprunError | None:
        """Wait so long at most for why the engine has ended; None where it is not known."""
        self._known.wait(seconds)
        return self._why

    def why_ended(self) -> SteprunError:
        """Return why the gateway has ended."""
        return self._why or SteprunError("The chat's engine was stopped.")

    def ended(self, gateway: "asyncio.Task[None]") -> None:
        """Note that the gateway has ended: the engine is given up, or the chat is over."""
        error = None if gateway.cancelled() else gateway.exception()
        if isinstance(error, SteprunError):
            self._because(error)
        elif error is not None:
            self._because(
                SteprunError(
                    "The gateway in front of the engine failed.",
                    why=f"{type(error).__name__}: {error}.",
                    next="Check the installation: steprun doctor",
                )
            )
        self.answers.clear()
        self.away.set()

    def listening(self, port: int) -> None:
        """Note where it listens."""
        self.port.set_result(port)

    def loading(self, seconds: float, loaded: Loaded | None) -> None:
        """Pass on for how long the model has been loading."""
        self.loaded = loaded
        self.on_wait(seconds)

    def ready(self, log: str) -> None:
        """Note that the engine answers, also after a restart."""
        del log
        self._why = self.loaded = None
        self._known.clear()
        self.away.clear()
        self.answers.set()

    def restarting(self, why: SteprunError, seconds: float) -> None:
        """Note that the engine has ended, and is started again."""
        del seconds
        self._because(why)
        self.answers.clear()
        self.away.set()

    def retiring(self) -> None:
        """Note that the engine is ended in order, and is started again."""
        self._because(SteprunError("The engine is being started again with more."))
        self.answers.clear()
        self.away.set()

    def changed(self, news: str) -> None:
        """Hear of the key file, which nobody else writes, and of memory, as `news` does."""

    def lacking(self, missing: int) -> None:
        """Hear that memory has to come free, as `news` does."""

    def asleep(self, why: SteprunError | None) -> None:
        """Hear that the engine sleeps, which that of a chat never does."""

    def resumed(self, seconds: float) -> None:
        """Hear that the computer slept, which its user knows."""

    def short(self, left: int | None) -> None:
        """Hear that memory is short, as `news` does."""

    def noticed(self, what: str) -> None:
        """Hear of an answer that was ended: the chat has heard it, too."""

    def draining(self, answers: int, seconds: float) -> None:
        """Hear that answers go on: the chat has asked for its end, and waits for none."""

    def _because(self, why: SteprunError) -> None:
        self._why = why
        self._known.set()
