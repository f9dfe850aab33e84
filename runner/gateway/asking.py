"""Asks a gateway on this machine what it does, and joins a chat to one. Needs no HTTP server."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from msgspec.structs import replace

from runner.base.errors import SteprunError
from runner.base.loaded import Loaded, LoadPace
from runner.base.shell import shell_line
from runner.base.text import clean
from runner.engine.process import servers
from runner.engine.process.servers import Served, ServerRecord
from runner.gateway.news import memory_news
from runner.net.endpoint import Endpoint

if TYPE_CHECKING:
    import httpx2

    from runner.chat.host_news import HostNews

ANSWER_S: Final = 5.0  # a gateway answers within 0.6 s
POLL_S: Final = 0.25
_STATUS: Final = "/steprun/status"
_CLIMB: Final = "/steprun/climb"


def status_of(record: ServerRecord) -> dict[str, Any] | None:
    """Return what a server does, as its `/steprun/status` has it; None where it does not answer.

    Raises SteprunError where its key cannot be read.
    """
    import httpx2  # noqa: PLC0415 - 0.1 s, and without a server nobody is asked

    from runner.net.http import trusting  # noqa: PLC0415 - brings httpx2

    try:
        reply = httpx2.get(
            record.url + _STATUS,
            headers=endpoint_of(record).headers(),
            timeout=ANSWER_S,
            verify=trusting(record.certificate) if record.certificate else True,
            trust_env=False,
        )
        document = reply.json() if reply.status_code == 200 else None
    except (httpx2.HTTPError, OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def ask_to_climb(record: ServerRecord) -> str:
    """Ask a server to take back what it gave up for want of memory; return what it says.

    Raises SteprunError with its words where it does not.
    """
    import httpx2  # noqa: PLC0415 - as above

    from runner.net.http import trusting  # noqa: PLC0415

    try:
        reply = httpx2.post(
            record.url + _CLIMB,
            json={},
            headers=endpoint_of(record).headers(),
            timeout=ANSWER_S,
            verify=trusting(record.certificate) if record.certificate else True,
            trust_env=False,
        )
        document = reply.json()
        if reply.status_code == 202:
            return str(document["message"])
        why = str(document["error"]["message"])
    except (httpx2.HTTPError, OSError, ValueError, LookupError, TypeError) as error:
        why = f"It does not answer ({type(error).__name__})."
    raise SteprunError(
        f"The server at {record.url} stays as it is.",
        why=clean(why),
        next="See what it does: steprun ps",
    )


def endpoint_of(record: ServerRecord) -> Endpoint:
    """Return where a server answers. Raises SteprunError where its key cannot be read."""
    from runner.engine.process.supervisor import read_key  # noqa: PLC0415 - brings httpx2

    key = read_key(Path(record.key_file)) if record.key_file else ""
    return Endpoint(record.url, api_key=key, owned=True, certificate=record.certificate)


def _fields(health: bytes) -> dict[str, Any]:
    """Return the fields of an answer to `/health`, none where it is something else."""
    with suppress(ValueError, RecursionError):
        found = json.loads(health)
        if isinstance(found, dict):
            return found
    return {}


def _same(one: Served, other: Served) -> bool:
    """Whether two servers are one, started again: only the memory that is free may differ."""
    return replace(one, limit_bytes=0) == replace(other, limit_bytes=0)


class Joined(AbstractAsyncContextManager["Joined"]):
    """A `steprun serve` or another chat, whose engine a chat uses: watched, never stopped.

    `words`: the options that name its model, to be typed again.
    """

    def __init__(self, record: ServerRecord, words: tuple[str, ...] = ()) -> None:
        self._record = record
        self._resume = shell_line(("steprun", "chat", *words, "--resume"))
        self.endpoint = endpoint_of(record)
        self._pace = LoadPace(0)

    async def __aenter__(self) -> Self:
        """Check that it still runs, or again. Raises SteprunError where it has ended."""
        same = (each for each in servers.running() if each.url == self._record.url)
        self._record = next(
            (each for each in same if _same(each.served, self._record.served)), self._record
        )
        self.endpoint = endpoint_of(self._record)
        if not self.alive():
            raise self.verdict()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to stop."""

    async def wait_ready(self, on_wait: Callable[[float], None]) -> None:
        """Return when its model is loaded; one that is asleep is woken.

        Raises SteprunError where it ends instead, or cannot be woken.
        """
        import httpx2  # noqa: PLC0415 - `chat --help` needs no HTTP

        from runner.net.http import async_client  # noqa: PLC0415

        began = time.monotonic()
        self._pace = LoadPace(self._record.served.weights_bytes)
        waking: asyncio.Task[None] | None = None
        async with async_client(httpx2.Timeout(ANSWER_S), self.endpoint) as http:
            try:
                while True:
                    try:
                        reply = await http.get(f"{self._record.url}/health")
                        health = _fields(reply.content)
                        if reply.status_code == 200 and health.get("state") != "asleep":
                            return
                        if reply.status_code == 200 and waking is None:
                            waking = asyncio.create_task(self._wake(http), name="wake")
                        self._note(health)
                    except httpx2.HTTPError:
                        pass  # whether it still runs tells more
                    if not self.alive():
                        raise self.verdict()
                    if waking is not None and waking.done():
                        waking.result()
                        waking = None
                    on_wait(time.monotonic() - began)
                    await asyncio.sleep(POLL_S)
            finally:
                if waking is not None:
                    waking.cancel()
                    await asyncio.gather(waking, return_exceptions=True)

    async def _wake(self, http: "httpx2.AsyncClient") -> None:
        """Ask for what only its engine knows. Raises SteprunError where that is refused."""
        import httpx2  # noqa: PLC0415 - as above

        url, headers = f"{self._record.url}/props", self.endpoint.headers()
        try:
            reply = await http.get(url, headers=headers, timeout=None)
            refused = reply.status_code == 503
            why = str(reply.json()["error"]["message"]) if refused else ""
        except (httpx2.HTTPError, ValueError, KeyError, TypeError):
            return  # whether it still runs tells more
        if refused:
            raise SteprunError(
                f"The server at {self._record.url} did not load its model.",
                why=clean(why),
                next=f"Try again, or stop it: steprun stop {self._record.port}",
            )

    def _note(self, health: Mapping[str, Any]) -> None:
        """Note how far the server's `/health` says that the weights are loaded."""
        if isinstance(percent := health.get("loaded_percent"), int):
            done = self._record.served.weights_bytes * percent // 100
            self._pace.note(time.monotonic(), done)

    def loaded(self) -> Loaded | None:
        """Return how far the weights are loaded; None where that is not known."""
        return self._pace.now

    async def lost(self) -> None:
        """Wait for ever: its gateway lets requests wait while its engine is started again."""
        await asyncio.Event().wait()

    async def news(self, report: "Callable[[HostNews], object]") -> None:
        """Tell what memory does to its engine, until cancelled."""
        await memory_news(self.endpoint, report)

    def alive(self) -> bool:
        """Whether its process still runs."""
        return self._record.alive()

    def verdict(self) -> SteprunError:
        """Return the error of a server that has ended."""
        of_a_chat = self._record.command != "serve"
        again = "Resume this" if of_a_chat else "Start it again, or resume the"
        return SteprunError(
            f"The {'chat' if of_a_chat else 'server'} at {self._record.url} has ended.",
            why="This chat had joined it and has no engine of its own.",
            next=f"{again} chat with an engine of its own: {self._resume}",
        )
