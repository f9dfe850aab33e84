"""A fake llama-server: real HTTP, real server-sent events, scripted answers. No model, no GPU.

`FakeServer` answers each chat completion with the next script: a list of steps. A script can
wait for the test (`Gate`), so that a test looks at the chat in mid-answer without any sleep.
`FakeHost` stands in for the engine's supervisor.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from runner.base.errors import SteprunError
from runner.base.loaded import Loaded
from runner.net.endpoint import Endpoint
from tests.fakes.loopback import Loopback


@dataclass
class Gate:
    """The script waits here until the test opens it."""

    event: threading.Event = field(default_factory=threading.Event)

    def open(self) -> None:
        self.event.set()


@dataclass(frozen=True)
class Say:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True)
class Think:
    """A piece of the thinking."""

    text: str


@dataclass(frozen=True)
class Call:
    """A call of a tool, in two pieces; `index`: which one of the answer's."""

    name: str
    arguments: str
    index: int = 0


@dataclass(frozen=True)
class Read:
    """Prompt progress."""

    done: int
    total: int


@dataclass(frozen=True)
class End:
    """The last chunks: why it ended, and what it took. `cached` of the `prompt`."""

    reason: str = "stop"
    prompt: int = 20
    tokens: int = 5
    tps: float = 31.25
    cached: int = 0


@dataclass(frozen=True)
class Refuse:
    """An HTTP error in place of an answer."""

    status: int
    message: str


class Die:
    """The connection breaks, as a killed engine's does."""


class Silence:
    """The body ends here, without a reason and without [DONE]."""


Step = Say | Think | Call | Read | End | Refuse | Die | Silence | Gate
ANSWER_ID = "chatcmpl-fake"
DEFAULT: tuple[Step, ...] = (Read(10, 20), Say("Fine, "), Say("thank you."), End())


class FakeServer(Loopback):
    """Serves scripted answers on a free port of the loopback.

    `pages`: what it answers to a GET, by path, once `free` is set (it is, unless a test clears it).
    """

    method = "GET POST"

    def __init__(self, *scripts: Sequence[Step]) -> None:
        self.scripts = list(scripts)
        self.requests: list[dict[str, Any]] = []
        self.counted: list[str] = []  # the texts whose tokens were asked for
        self.sent: list[dict[str, str]] = []  # the headers of each request, in lower case
        self.authorised: list[str | None] = []  # the header of each request
        self.headers: dict[str, str] = {}  # of each answer, besides
        self.pages: dict[str, Any] = {}
        self.statuses: dict[str, int] = {}  # of those pages that are no 200
        self.controls: list[dict[str, Any]] = []  # what was sent to steer an answer under way
        self.controlled: Gate | None = None  # opened by it, and then it succeeds
        self.free = threading.Event()
        self.free.set()
        self.hung_up = threading.Event()  # the client closed a connection in mid-answer
        super().__init__()

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        if to.command == "GET":
            self._show_page(to)
            return
        if to.path == "/tokenize":
            self._count(to)
            return
        self.authorised.append(to.headers["Authorization"])
        self.sent.append({name.lower(): value for name, value in to.headers.items()})
        length = int(to.headers["Content-Length"])
        body = json.loads(to.rfile.read(length))
        if to.path.endswith("/control"):
            self._control(body, to)
            return
        self.requests.append(body)
        script = self.scripts.pop(0) if self.scripts else DEFAULT
        to.close_connection = True
        try:
            self._play(script, to)
        except OSError:
            self.hung_up.set()

    def _control(self, body: dict[str, Any], to: BaseHTTPRequestHandler) -> None:
        self.controls.append(body)
        reply = json.dumps({"success": self.controlled is not None}).encode()
        to.send_response(200)
        to.send_header("Content-Length", str(len(reply)))
        to.end_headers()
        to.wfile.write(reply)
        if self.controlled is not None:
            self.controlled.open()

    def _count(self, to: BaseHTTPRequestHandler) -> None:
        """Make a token of each word."""
        text = json.loads(to.rfile.read(int(to.headers["Content-Length"])))["content"]
        self.counted.append(text)
        data = json.dumps(
            {"tokens": list(range(len(text.split())))}, separators=(",", ":")
        ).encode()
        to.send_response(200)
        to.send_header("Content-Length", str(len(data)))
        to.end_headers()
        to.wfile.write(data)

    def _show_page(self, to: BaseHTTPRequestHandler) -> None:
        while not self.free.wait(0.02) and not self.over.is_set():
            pass
        found = self.pages.get(to.path)
        body = json.dumps(found).encode()
        to.send_response(404 if found is None else self.statuses.get(to.path, 200))
        to.send_header("Content-Length", str(len(body)))
        to.end_headers()
        with contextlib.suppress(OSError):
            to.wfile.write(body)

    def _play(self, script: Sequence[Step], handler: BaseHTTPRequestHandler) -> None:
        if script and isinstance(script[0], Refuse):
            body = json.dumps({"error": {"message": script[0].message}}).encode()
            handler.send_response(script[0].status)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
            return
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Transfer-Encoding", "chunked")
        for name, value in self.headers.items():
            handler.send_header(name, value)
        handler.end_headers()

        def send(data: bytes) -> None:
            handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            handler.wfile.flush()

        for step in script:
            if isinstance(step, Die):
                return  # without the last chunk: a broken stream
            if isinstance(step, Silence):
                handler.wfile.write(b"0\r\n\r\n")
                return
            if isinstance(step, Gate):
                # The comments tell whether the client is still there.
                while not step.event.wait(0.02):
                    send(b": waiting\n\n")
                continue
            for chunk in _chunks(step):
                send(b"data: " + json.dumps({"id": ANSWER_ID, **chunk}).encode() + b"\n\n")
        send(b"data: [DONE]\n\n")
        handler.wfile.write(b"0\r\n\r\n")


def _chunks(step: Step) -> Iterator[dict[str, Any]]:
    def delta(**fields: Any) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}

    match step:
        case Say(text):
            yield delta(content=text)
        case Think(text):
            yield delta(reasoning_content=text)
        case Call(name, arguments, index):
            for piece, function in enumerate(({"name": name}, {"arguments": arguments})):
                named = {} if piece else {"id": f"c{index + 1}"}
                call = {"index": index, "function": function, **named}
                yield delta(tool_calls=[call])
        case Read(done, total):
            progress = {"processed": done, "total": total, "cache": 0, "time_ms": 1}
            yield {"choices": [], "prompt_progress": progress}
        case End(reason, prompt, tokens, tps, cached):
            yield {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
            yield {
                "choices": [],
                "usage": {
                    "prompt_tokens": prompt,
                    "completion_tokens": tokens,
                    "prompt_tokens_details": {"cached_tokens": cached},
                },
                "timings": {
                    "prompt_n": prompt - cached,
                    "predicted_n": tokens,
                    "predicted_per_second": tps,
                    "prompt_per_second": 100.0,
                },
            }


class FakeHost:
    """Stands in for the engine: comes up when told to, dies when told to."""

    def __init__(self, url: str, *, gate: asyncio.Event | None = None) -> None:
        self.endpoint = Endpoint(url, owned=True)
        self.dead: SteprunError | None = None
        self.gate = gate
        self.far: Loaded | None = None
        self.entered = self.left = False
        self.away = asyncio.Event()  # it has to be waited for again

    async def wait_ready(self, on_wait: Callable[[float], None]) -> None:
        on_wait(0.0)
        if self.gate is not None:
            on_wait(3.0)
            await self.gate.wait()
        if self.dead is not None:
            raise self.dead

    def loaded(self) -> Loaded | None:
        return self.far

    async def lost(self) -> None:
        await self.away.wait()
        self.away.clear()

    def alive(self) -> bool:
        return self.dead is None

    def verdict(self) -> SteprunError:
        return self.dead or SteprunError("It did not die.")


class FakeHosts:
    """Opens a `FakeHost` each time it is called, and remembers them all."""

    def __init__(self, url: str, *, gate: asyncio.Event | None = None) -> None:
        self.url = url
        self.gate = gate
        self.dies_loading: SteprunError | None = None
        self.far: Loaded | None = None
        self.opened: list[FakeHost] = []

    @contextlib.asynccontextmanager
    async def __call__(self) -> AsyncIterator[FakeHost]:
        host = FakeHost(self.url, gate=self.gate)
        host.dead, host.far = self.dies_loading, self.far
        self.opened.append(host)
        host.entered = True
        try:
            yield host
        finally:
            host.left = True
