"""The attacks. Each yields `Shot`s: what was sent, what came back, and what may come back."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from attacking import malformed
from attacking.wire import CHAT, Target

SLOW = 600  # connections, as the review of version 0.1 had them
AT_ONCE = 8
# Refused in words, or answered: a field that is wrong may be one that is ignored.
ANSWERED = frozenset({200, 204, *range(400, 500)})


@dataclass(frozen=True)
class Shot:
    """One request. `status`: 0 for a connection that was closed without an answer, -1 for none."""

    name: str
    status: int
    allowed: frozenset[int]

    @property
    def missed(self) -> bool:
        """Whether the gateway did not stand it."""
        return self.status not in self.allowed


@dataclass(frozen=True)
class Attack:
    """One kind of attack. `seconds`: how long slow clients stay."""

    target: Target
    count: int = 1000
    seed: int = 0
    seconds: float = 8.0

    async def malformed(self) -> AsyncIterator[Shot]:
        """Send requests with something wrong in them."""
        # Only bytes that are not HTTP may end in a closed connection.
        closed = {"http": ANSWERED | {0}}
        cases = malformed.cases(self.target, self.count, self.seed)
        shots = ((each.name, each.data, closed.get(each.kind, ANSWERED)) for each in cases)
        async for shot in self._all(shots):
            yield shot

    async def strangers(self) -> AsyncIterator[Shot]:
        """Ask as foreign web pages, under foreign names, and with bodies that are no JSON."""
        right = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
        evil = "http://evil.example"
        refused, kind = frozenset({403}), frozenset({415})
        post, ask = self.target.post, self.target.request
        image = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
        shots = [
            ("foreign Host", post(right, Host="evil.example"), refused),
            ("foreign Host and Origin", post(right, Host="evil.example", Origin=evil), refused),
            ("foreign Origin", post(right, Origin=evil), refused),
            ("Origin: null", post(right, Origin="null"), refused),
            ("foreign Origin, GET", ask("GET", "/v1/models", headers={"Origin": evil}), refused),
            ("picture of a page", ask("GET", "/v1/models", headers=image), refused),
            ("text/plain", post(right, Content_Type="text/plain"), kind),
            ("form", post(right, Content_Type="application/x-www-form-urlencoded"), kind),
            ("no kind from a page", post(right, Content_Type="", Sec_Fetch_Site="none"), kind),
            ("gzip", post(right, Content_Encoding="gzip"), kind),
            ("no Host", ask("GET", "/health", headers={"Host": ""}), frozenset({400})),
        ]
        preflight = {"Origin": evil, "Access-Control-Request-Method": "POST"}
        shots.append(("foreign preflight", ask("OPTIONS", CHAT, headers=preflight), refused))
        side = ["/slots", "/slots/0?action=erase", "/lora-adapters", "/cors-proxy"]
        side += ("/tools", "/models/load", "/v1/stream", "/props")
        shots += [(f"POST {path}", post({}, path), frozenset({404, 405})) for path in side]
        async for shot in self._all(shots):
            yield shot

    async def large(self) -> AsyncIterator[Shot]:
        """Send bodies that are long, deep, or have many values."""
        mb = 1_000_000
        text = b'{"max_tokens":2,"messages":[{"role":"user","content":"'
        kinds: dict[str, Callable[[], bytes]] = {
            "24,000 letters in a row": lambda: text + b"a" * 24_000 + b'"}]}',
            "24,000 Chinese signs": lambda: text + "\u4e2d".encode() * 24_000 + b'"}]}',
            "1,000,000 letters": lambda: text + b"a" * mb + b'"}]}',
            "50 MB of letters": lambda: text + b"a" * 50 * mb + b'"}]}',
            "50 MB of escapes": lambda: text + b"\\n" * 25 * mb + b'"}]}',
            "50 MB of zeros": lambda: b'{"prompt":[' + b"0," * 25 * mb + b"0]}",
            "50 MB of objects": lambda: b'{"messages":[' + b"{}," * 16 * mb + b"{}]}",
            "50 MB of brackets": lambda: b"[" * 50 * mb,
            "50 MB of spaces": lambda: b" " * 50 * mb,
            "1 MB number": lambda: b'{"max_tokens":1' + b"1" * mb + b"}",
            "100 MB": lambda: text + b"a" * 100 * mb + b'"}]}',
        }
        for name, make in kinds.items():
            status = await self.target.send(self.target.post(make()))
            yield Shot(name, status, ANSWERED)

    async def slow(self) -> AsyncIterator[Shot]:
        """Hold 600 connections with half a head, then 600 with half a body, and ask meanwhile."""
        whole = self.target.post({"messages": []})
        head, body = whole[:40], whole[:-5]
        for name, part in (("half a head", head), ("half a body", body), ("no byte", b"")):
            async with AsyncExitStack() as held:
                for _ in range(SLOW):
                    _, writer = await asyncio.open_connection(*self.target.place)
                    held.callback(writer.close)
                    writer.write(part)
                until = time.monotonic() + self.seconds
                while time.monotonic() < until:
                    right = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
                    status = await self.target.send(self.target.post(right), wait_s=30)
                    yield Shot(f"beside {SLOW} with {name}", status, frozenset({200}))

    async def crowd(self) -> AsyncIterator[Shot]:
        """Ask with 200 clients at once."""
        right = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8}
        # Past the bound of those who wait, 503 with Retry-After is an answer.
        shots = [("200 at once", self.target.post(right), frozenset({200, 503}))] * 200
        async for shot in self._all(shots, at_once=200):
            yield shot

    async def pictures(self) -> AsyncIterator[Shot]:
        """Name private addresses as pictures, in every way that hides one."""
        seen: list[str] = []

        async def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(repr(await reader.readline()))
            writer.close()

        server = await asyncio.start_server(visit, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        hosts = ("127.0.0.1", "localhost", "0x7f000001", "2130706433", "[::ffff:127.0.0.1]", "0")
        urls = [f"http://{host}:{port}/picture.png" for host in (*hosts, socket.gethostname())]
        urls += ["http://169.254.169.254/latest/meta-data/", "file:///etc/passwd"]
        for url in urls:
            part = {"type": "image_url", "image_url": {"url": url}}
            document = {"messages": [{"role": "user", "content": [part]}], "max_tokens": 2}
            before = len(seen)
            status = await self.target.send(self.target.post(document))
            # The picture of a private address is never asked for, whatever the answer says.
            status = -2 if len(seen) > before else status
            yield Shot(f"picture {url}", status, frozenset(range(400, 500)))
        server.close()

    async def afterwards(self) -> Shot:
        """Ask for an answer, as anybody may once an attack is over."""
        right = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
        status = await self.target.send(self.target.post(right))
        return Shot("a chat afterwards", status, frozenset({200}))

    async def _all(
        self,
        shots: Iterable[tuple[str, bytes, frozenset[int]]],
        *,
        at_once: int = AT_ONCE,
        wait_s: float = 120.0,
    ) -> AsyncIterator[Shot]:
        """Send them, some at once."""
        room = asyncio.Semaphore(at_once)

        async def one(name: str, data: bytes, allowed: frozenset[int]) -> Shot:
            async with room:
                return Shot(name, await self.target.send(data, wait_s=wait_s), allowed)

        for each in asyncio.as_completed([one(*shot) for shot in shots]):
            yield await each


KINDS = ("strangers", "malformed", "large", "slow", "crowd", "pictures")
