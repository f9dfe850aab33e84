"""The connection to one MCP server, by the `mcp` package. Loaded with the first server.

Runs in the loop of a thread of its own (`runner.chat.tools.mcp.loop`): what a server makes it do
is not the interface's time.
"""

import logging
import os
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, Self, TextIO, cast

import anyio
import httpx2
import mcp_types as types
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.shared.message import SessionMessage
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

import runner
from runner.base import paths
from runner.base.errors import SteprunError
from runner.base.files import make_private_dir
from runner.base.text import clean, clean_name
from runner.chat.tools.mcp import relay
from runner.chat.tools.mcp.config import McpServer, environment_of, read_key
from runner.chat.tools.mcp.offers import Offers, offers_of
from runner.chat.tools.mcp.results import read_result
from runner.chat.tools.toolbox import Result
from runner.net.endpoint import Endpoint
from runner.net.http import async_client

START_S: Final = 60.0  # a program that npx or uvx fetches first
PAGES: Final = 20  # of a list of tools
LISTED: Final = 10_000  # tools looked at
RELIST_S: Final = 2.0  # between two looks at a list that changes
CONNECT_S: Final = 30.0
HOLD_S: Final = 300.0  # a stream in which nothing comes; it is then opened again
WHY_CHARS: Final = 300

for _name in ("mcp", "client", "mcp_types"):  # they log what servers and tools say
    logging.getLogger(_name).addHandler(logging.NullHandler())
    logging.getLogger(_name).propagate = False


class ServerConnection:
    """One server, from its start to its end. All of it runs in the loop of `run`.

    `on_offers` hears what it offers, at first and whenever that changes.
    """

    def __init__(self, name: str, config: McpServer, on_offers: Callable[[Offers], None]) -> None:
        self.name = name
        self.config = config
        self._on_offers = on_offers
        self._client: Client | None = None
        self._scope = anyio.CancelScope()
        self._changed = anyio.Event()
        self._ended = False
        self._stopping = False
        self._why = ""

    async def run(self) -> str:
        """Connect, list the tools, and stay until the server ends or `stop`.

        Returns why it ended: one or two sentences, not cleaned; empty after `stop`.
        """
        try:
            with self._scope:
                self._scope.deadline = anyio.current_time() + START_S
                await self._stay()
        except Exception as error:  # noqa: BLE001 - a server makes the package raise whatever there is
            return "" if self._stopping else self._why or _reason(error)
        finally:
            self._client = None
        if self._stopping:
            return ""
        if not self._ended and self._scope.cancelled_caught:
            return f"It did not start within {START_S:.0f} seconds. {self._why}".rstrip()
        return self._why or "It closed the connection."

    async def _stay(self) -> None:
        client = Client(
            self._transport(),
            client_info=types.Implementation(name="steprun", version=runner.__version__),
            message_handler=self._heard,
            cache=None,
        )
        async with client:
            await self._list(client)
            self._client = client
            self._scope.deadline = float("inf")
            async with anyio.create_task_group() as tasks:
                if client.protocol_version in MODERN_PROTOCOL_VERSIONS:
                    tasks.start_soon(self._listen, client)
                while not self._ended:
                    await self._changed.wait()
                    self._changed = anyio.Event()
                    if not self._ended:
                        await self._list(client)
                        await anyio.sleep(RELIST_S)
                tasks.cancel_scope.cancel()

    def stop(self) -> None:
        """End it, in order. From the loop's thread."""
        self._stopping = True
        self._scope.cancel()

    def _over(self) -> None:
        self._ended = True
        self._changed.set()

    async def _heard(self, message: object) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self._changed.set()

    async def _listen(self, client: Client) -> None:
        """Hear of changes where the protocol has a request for that; not all servers have it."""
        with suppress(Exception):
            async with client.listen(tools_list_changed=True) as changes:
                async for _ in changes:
                    self._changed.set()

    async def _list(self, client: Client) -> None:
        listed: list[types.Tool] = []
        total, cursor = 0, None
        for _ in range(PAGES):
            page = await client.list_tools(cursor=cursor)
            total += len(page.tools)
            listed += page.tools[: LISTED - len(listed)]
            if (cursor := page.next_cursor) is None:
                break
        config = self.config
        identity = (config.url, config.command, *config.args, *config.env)
        self._on_offers(offers_of(self.name, identity, map(_as_listed, listed), total))

    async def call(self, tool: str, arguments: dict[str, Any]) -> Result:
        """Run a call, for `timeout_s` of the server at most; a failure is a result."""
        client, name = self._client, clean_name(self.name)
        if client is None:
            return Result(f"The MCP server {name} is not running.", failed=True)
        params = types.CallToolRequestParams(name=tool, arguments=arguments)
        try:
            # Not `Client.call_tool`: that checks results by the server's own schema, whose patterns
            # can take for ever.
            answer = await client.session.send_request(
                types.CallToolRequest(params=params),
                types.CallToolResult,
                request_read_timeout_seconds=self.config.timeout_s,
            )
        except MCPError as error:
            if error.code == types.REQUEST_TIMEOUT:
                why = f"It did not answer within {self.config.timeout_s} seconds."
            elif error.code == types.CONNECTION_CLOSED:
                why = "It ended during the call."
            else:
                why = f"It says: {cut_line(error.message)}"
            return Result(f"The MCP server {name} could not run the tool. {why}", failed=True)
        except (ValidationError, RuntimeError, anyio.BrokenResourceError) as error:
            broken = isinstance(error, anyio.BrokenResourceError)
            why = "It has ended." if broken else "Its answer is not one that MCP has."
            return Result(f"The MCP server {name} could not run the tool. {why}", failed=True)
        structured, failed = answer.structured_content, answer.is_error
        read = partial(read_result, tool, answer.content, structured, failed=failed)
        return await anyio.to_thread.run_sync(read)

    # --- how it is reached -------------------------------------------------------------------

    @asynccontextmanager
    async def _transport(self) -> AsyncGenerator[Any]:
        async with self._service() if self.config.url else self._program() as (read, write):
            yield _WatchedStream(read, self._over), write

    @asynccontextmanager
    async def _program(self) -> AsyncGenerator[Any]:
        folder = make_private_dir(paths.state_dir() / "logs")
        log = folder / f"mcp-{self.name}.log"
        argv = [*("-I", "-S", str(Path(relay.__file__)), "--log", str(log), "--")]
        server = StdioServerParameters(
            command=sys.executable,
            args=[*argv, self.config.command, *self.config.args],
            env=environment_of(self.config, os.environ),
            encoding_error_handler="replace",
        )
        with tempfile.TemporaryFile() as words:
            try:
                async with stdio_client(server, errlog=cast(TextIO, words)) as streams:
                    yield streams
            finally:
                self._why = self._why or _last_words(words)

    @asynccontextmanager
    async def _service(self) -> AsyncGenerator[Any]:
        endpoint = Endpoint(self.config.url, api_key=read_key(self.config))
        patience = httpx2.Timeout(CONNECT_S, read=max(HOLD_S, self.config.timeout_s))
        async with async_client(
            patience,
            endpoint,
            headers={**endpoint.headers(), "Accept-Encoding": "identity"},
            event_hooks={"response": [self._bound]},
        ) as http:
            stream = streamable_http_client(
                self.config.url, http_client=http, max_sse_event_size=relay.LINE_BYTES
            )
            async with stream as streams:
                yield streams

    async def _bound(self, response: httpx2.Response) -> None:
        """Refuse an answer that is compressed, and bound the size of any other."""
        if response.status_code in {401, 403}:
            self._excuse(f"It refused the key (status {response.status_code}).")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise httpx2.StreamError("It compresses its answers, though it was asked not to.")
        source = cast(httpx2.AsyncByteStream, response.stream)
        endless = response.headers.get("content-type", "").startswith("text/event-stream")
        response.stream = BoundedStream(source, self._excuse, endless=endless)

    def _excuse(self, why: str) -> None:
        """Remember why it cannot be connected to, where that is better known here."""
        if self._client is None:
            self._why = self._why or why


class BoundedStream(httpx2.AsyncByteStream):
    """The body of an answer: of bounded size, or at a bounded rate where it has no end."""

    def __init__(
        self, source: httpx2.AsyncByteStream, on_excess: Callable[[str], None], *, endless: bool
    ) -> None:
        self._source = source
        self._on_excess = on_excess
        self._endless = endless

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield what arrives. Raises `httpx2.StreamError` where it is too much."""
        received, since = 0, time.monotonic()
        async for piece in self._source:
            received += len(piece)
            if not self._endless and received > relay.LINE_BYTES:
                why = f"It sent more than {relay.LINE_BYTES >> 20} MiB."
                self._on_excess(why)
                raise httpx2.StreamError(why)
            ahead = (received - relay.BURST_BYTES) / relay.RATE_BYTES - (time.monotonic() - since)
            if ahead > 0:
                await anyio.sleep(ahead)
            yield piece

    async def aclose(self) -> None:
        """Close the answer."""
        await self._source.aclose()


class _WatchedStream:
    """What is received from a server, to its end."""

    def __init__(self, stream: Any, on_end: Callable[[], None]) -> None:
        self._stream = stream
        self._on_end = on_end

    @property
    def last_context(self) -> Any:
        """In which context the last message was received."""
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> SessionMessage | Exception:
        """Return the next message."""
        try:
            return cast(SessionMessage | Exception, await self._stream.receive())
        except anyio.EndOfStream:
            self._on_end()
            raise

    async def aclose(self) -> None:
        """Close it."""
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _as_listed(tool: types.Tool) -> Mapping[str, Any]:
    # Without what neither the model nor the user gets to see, and what may change each time.
    hidden = {"icons", "meta"}
    return tool.model_dump(by_alias=True, mode="json", exclude_none=True, exclude=hidden)


def _last_words(words: IO[bytes]) -> str:
    """Return what the relay said: why the program ended, and the last line that it wrote."""
    words.seek(0)
    why, _, last = words.read(1 << 16).decode("utf-8", "replace").strip().partition("\n")
    return f"{why} Its last line: {last.strip()}" if last.strip() else why


def _reason(error: BaseException) -> str:
    """Return why a connection failed, in a sentence."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    match error:
        case SteprunError() | httpx2.StreamError():
            return str(error)
        case httpx2.TimeoutException():
            return "It does not answer."
        case httpx2.TransportError():
            return f"It cannot be reached: {error}."
        case MCPError() if error.code == types.PARSE_ERROR:
            return "What it sends is not MCP."
        case MCPError():
            return f"The connection failed: {error.message}"
        case ValidationError():
            return "What it sends is not MCP."
    return f"{type(error).__name__}: {error}."


def cut_line(text: str) -> str:
    """Return untrusted text as one line, bounded."""
    return clean_name(clean(text[: 4 * WHY_CHARS]), WHY_CHARS)
