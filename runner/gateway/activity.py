"""What is going on: each request from its arrival to its end, for `ps`, the log and the metrics."""

import asyncio
import itertools
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Literal

from runner.gateway.refusal import Api
from runner.kv.prompt import Prompt
from runner.net.endpoint import CHAT_HEADER

Stage = Literal["arriving", "waiting", "reading", "writing", "ended"]
HEAD_BYTES: Final = 2048  # Anthropic's first event, with the tokens of the prompt, has about 400
TAIL_BYTES: Final = 8192  # the engine's account at the end of an answer has about 700
# The client went away before its answer was whole: nginx's status for it, which no client sees.
CLIENT_GONE: Final = 499
# A stream's pieces before the first token: an SSE comment, a ping, how far the prompt is read.
_NO_TOKEN: Final = re.compile(rb'\A\s*:|\A\s*event: ping|"prompt_progress"|\A\s*\Z')
_CHAT: Final = re.compile(r"[0-9a-f-]{1,40}")
# The last event of a stream, by API: whoever hangs up behind it has the whole answer. A line feed
# cannot be within the JSON of another event.
_LAST: Final = (
    b"\ndata: [DONE]",
    *(b"\nevent: message_stop", b"\nevent: response.completed", b"\nevent: response.incomplete"),
)
_PRODUCT: Final = re.compile(r"[A-Za-z0-9._+-]{1,32}")


@dataclass(slots=True)
class Entry:
    """One request. Times are of `time.monotonic`, 0 where it has not come to that.

    `client`: the name of its key, else the program that it says it is. `path`: as in the table of
    routes, empty for any other. `generates`: it takes one of the engine's slots. `head` and `tail`:
    the first and the last bytes of the answer, which hold the engine's account of it.

    `prompt`: what it asks to be read, None where that cannot be known. `slot`: the engine's that it
    was given, None where the engine chooses. `restored`: tokens of the prompt that came from the
    disk. `known`: the share of the prompt that an earlier one had, 0 to 1. `reread`: why it is read
    again all the same, in words; empty where nothing is known to be in the way. `read_tps`: the
    tokens per second at which this machine reads, 0 where that is not known. Who knows it from an
    earlier run sets it before the request is passed on. `chat`: the ID of the chat that asks, empty
    where none says so. `ahead`: tokens of the prompt that were read before the rest of it, in
    `ahead_s` seconds: to the engine they are cached then. `trouble`: why the gateway has ended its
    answer, in words; empty where it has not. `heard`: when the last piece came. `shared`: others
    were answered at the same time.
    """

    number: int
    client: str
    api: Api
    path: str
    arrived: float
    stage: Stage = "arriving"
    generates: bool = False
    quiet: bool = False
    stream: bool = False
    complete: bool = False  # all of it has been sent: a client that hangs up now has it
    status: int = 0
    began: float = 0.0
    first_byte: float = 0.0
    ended: float = 0.0
    sent_bytes: int = 0
    head: bytearray = field(default_factory=bytearray)
    tail: bytearray = field(default_factory=bytearray)
    prompt: Prompt | None = None
    slot: int | None = None
    restored: int = 0
    known: float = 0.0
    reread: str = ""
    read_tps: float = 0.0
    chat: str = ""
    ahead: int = 0
    ahead_s: float = 0.0
    trouble: str = ""
    heard: float = 0.0
    shared: bool = False

    def wait(self) -> None:
        """Note that it waits for its turn."""
        self.stage = "waiting"

    def begin(self) -> None:
        """Note that the engine is asked now."""
        self.stage, self.began = "reading", time.monotonic()

    def hung_up(self) -> None:
        """Note that the client has gone."""
        if not (self.complete or any(last in self.tail for last in _LAST)):
            self.status = CLIENT_GONE

    def passes(self, data: bytes) -> None:
        """Note a piece of the answer."""
        self.sent_bytes += len(data)
        self.heard = time.monotonic()
        if not self.first_byte and not _NO_TOKEN.search(data[:HEAD_BYTES]):
            self.first_byte, self.stage = self.heard, "writing"
        if len(self.head) < HEAD_BYTES:
            self.head += data[: HEAD_BYTES - len(self.head)]
        self.tail += data[-TAIL_BYTES:]
        if len(self.tail) > 2 * TAIL_BYTES:  # not at every piece: it moves bytes
            del self.tail[:-TAIL_BYTES]


class Activity:
    """All requests of one gateway. `on_end` hears of each when it is over."""

    def __init__(self, on_end: Callable[[Entry], None] = lambda _: None) -> None:
        self._numbers = itertools.count(1)
        self._on_end = on_end
        self.running: dict[int, Entry] = {}

    def answering(self) -> int:
        """Return how many requests the engine is answering."""
        return sum(entry.stage in ("reading", "writing") for entry in self.running.values())

    @contextmanager
    def request(self, client: str, api: Api, path: str) -> Iterator[Entry]:
        """Follow one request within the block."""
        entry = Entry(next(self._numbers), client, api, path, time.monotonic())
        self.running[entry.number] = entry
        try:
            yield entry
        except (asyncio.CancelledError, ConnectionError):
            entry.hung_up()
            raise
        finally:
            entry.stage, entry.ended = "ended", time.monotonic()
            del self.running[entry.number]
            self._on_end(entry)


def chat_of(headers: Mapping[str, str]) -> str:
    """Return the ID of the chat that asks, empty where none is named as chats are."""
    named = headers.get(CHAT_HEADER, "")
    return named if _CHAT.fullmatch(named) else ""


def program_of(headers: Mapping[str, str]) -> str:
    """Return the program that a client says it is, such as `claude-cli`; empty where it says none.

    OpenAI's and Anthropic's packages begin with a class of theirs: `OpenAI/Python 2.8.1`.
    """
    product, _, version = headers.get("User-Agent", "").partition("/")
    if not _PRODUCT.fullmatch(product):
        return ""
    language = version.split(" ", 1)[0]
    if language.isalpha() and len(language) <= 10:
        return f"{product}-{language}".lower()
    return product
