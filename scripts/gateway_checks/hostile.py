"""Clients that behave badly, one kind after the other, and what the gateway makes of them.

Each scenario returns figures; a line is printed for each. Whether they are good enough is for the
reader to judge, but for what must never be: an answer lost, memory that grows with what a client
does not read, a place at the engine that stays taken.
"""

import argparse
import asyncio
import json
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil

from gateway_checks.load import Ask
from gateway_checks.outcomes import Outcome, judge
from gateway_checks.probe import probing
from gateway_checks.serving import Served, end_in_order, gateway

CROWD: Final = 200
SLOW_READERS: Final = 8
LIMIT_S: Final = 240.0
SETTLE_S: Final = 20.0  # for connections to be closed on both sides
Figures = dict[str, Any]


def _chat(tokens: int, *, stream: bool) -> Ask:
    body = {
        "model": "any",
        "max_tokens": tokens,
        "stream": stream,
        "ignore_eos": True,
        "messages": [{"role": "user", "content": "Tell me about the sea."}],
    }
    return Ask("chat", "chat", "/v1/chat/completions", body)


def _raw(ask: Ask, *, close: bool = False) -> bytes:
    body = json.dumps(ask.body).encode()
    extra = "Connection: close\r\n" if close else ""
    head = (
        f"POST {ask.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{extra}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@asynccontextmanager
async def _connection(
    served: Served, receive_bytes: int = 0
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect. `receive_bytes`: of the kernel's buffer, so that little is taken off the wire."""
    plug = socket.socket()
    if receive_bytes:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    plug.setblocking(False)
    port = int(served.url.rpartition(":")[2])
    await asyncio.get_running_loop().sock_connect(plug, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=plug, limit=receive_bytes or 1 << 16)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _ask(http: aiohttp.ClientSession, served: Served, ask: Ask) -> Outcome:
    status = 0
    try:
        async with asyncio.timeout(LIMIT_S), http.post(served.url + ask.path, json=ask.body) as got:
            status = got.status
            return judge(ask, status, await got.read())
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return Outcome("lost", status, f"{type(error).__name__}: {error}"[:200])


def _process(served: Served) -> Figures:
    process = psutil.Process(served.process.pid)
    return {
        "rss_mib": round(process.memory_info().rss / (1 << 20), 1),
        "descriptors": process.num_fds() if hasattr(process, "num_fds") else 0,
    }


async def crowd(served: Served) -> Figures:
    """Ask with 200 clients at once, each on a connection of its own."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    longest = 0.0
    health: Figures = {}

    async def one(http: aiohttp.ClientSession, number: int) -> Outcome:
        nonlocal longest
        began = time.monotonic()
        outcome = await _ask(http, served, _chat(4, stream=number % 2 == 0))
        longest = max(longest, time.monotonic() - began)
        return outcome

    with probing(served.url, health):
        async with aiohttp.ClientSession(connector=connector, trust_env=False) as http:
            outcomes = await asyncio.gather(*(one(http, number) for number in range(CROWD)))
    return {
        **{kind: sum(o.kind == kind for o in outcomes) for kind in ("answered", "refused", "lost")},
        "whys": sorted({o.why for o in outcomes if o.why})[:5],
        "longest_s": round(longest, 1),
        "health_ms": health,
    }


async def vanishing(served: Served) -> Figures:
    """Ask with 100 clients that are gone: at once, while it is read, while it is written."""
    before = _process(served)

    async def one(number: int) -> None:
        async with _connection(served) as (reader, writer):
            writer.write(_raw(_chat(2000, stream=number % 2 == 0)))
            await writer.drain()
            with suppress(TimeoutError):
                await asyncio.wait_for(reader.read(200), (0.0, 0.2, 1.0, 3.0)[number % 4] or 0.001)
            writer.transport.abort()

    await asyncio.gather(*(one(number) for number in range(100)))
    began = time.monotonic()
    async with aiohttp.ClientSession(trust_env=False) as http:
        outcome = await _ask(http, served, _chat(2, stream=False))
    return {
        "next_answer": outcome.kind,
        "next_answer_after_s": round(time.monotonic() - began, 1),
        **await _settled(served, before),
    }


async def half_closed(served: Served) -> Figures:
    """Close the sending side after the request, and still read."""
    async with _connection(served) as (reader, writer):
        writer.write(_raw(_chat(20, stream=False)))
        writer.write_eof()
        data = await asyncio.wait_for(reader.read(), LIMIT_S)
    return {"answered": data.startswith(b"HTTP/1.1 200"), "bytes": len(data)}


async def connection_close(served: Served) -> Figures:
    """Send `Connection: close`: the answer is whole, and the connection ends with it."""
    async with _connection(served) as (reader, writer):
        writer.write(_raw(_chat(20, stream=True), close=True))
        data = await asyncio.wait_for(reader.read(), LIMIT_S)
    return {"answered": b"[DONE]" in data, "bytes": len(data)}


async def pipelined(served: Served) -> Figures:
    """Send two requests at once on one connection: two answers, in order."""
    async with _connection(served) as (reader, writer):
        writer.write(_raw(_chat(5, stream=False)) + _raw(_chat(5, stream=False), close=True))
        data = await asyncio.wait_for(reader.read(), LIMIT_S)
    return {"answers": data.count(b"HTTP/1.1 200")}


async def slow_readers(served: Served) -> Figures:
    """Ask for long answers without reading them; somebody else asks meanwhile."""
    before = _process(served)
    async with aiohttp.ClientSession(trust_env=False) as http:
        release = asyncio.Event()

        async def one() -> int:
            async with _connection(served, receive_bytes=4096) as (reader, writer):
                writer.write(_raw(_chat(6000, stream=True)))
                await release.wait()
                writer.transport.abort()
                return len(await reader.read(1))

        tasks = [asyncio.create_task(one()) for _ in range(SLOW_READERS)]
        most = 0.0
        until = time.monotonic() + 30
        while time.monotonic() < until:
            most = max(most, _process(served)["rss_mib"])
            await asyncio.sleep(0.5)
        began = time.monotonic()
        try:
            async with asyncio.timeout(60):
                other = await _ask(http, served, _chat(2, stream=False))
        except TimeoutError:
            other = Outcome("lost", 0, "no answer in 60 s")
        waited = time.monotonic() - began
        release.set()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {
        "rss_before_mib": before["rss_mib"],
        "rss_most_mib": most,
        "somebody_else": f"{other.kind} {other.why}".strip(),
        "somebody_else_waited_s": round(waited, 1),
        **await _settled(served, before),
    }


async def _settled(served: Served, before: Figures) -> Figures:
    await asyncio.sleep(SETTLE_S)
    after = _process(served)
    return {f"{name}_before_after": [before[name], after[name]] for name in before}


SCENARIOS: Final[dict[str, Callable[[Served], Awaitable[Figures]]]] = {
    "crowd": crowd,
    "vanishing": vanishing,
    "half_closed": half_closed,
    "connection_close": connection_close,
    "pipelined": pipelined,
    "slow_readers": slow_readers,
}


async def _run(served: Served, names: list[str]) -> Figures:
    report = {}
    for name in names:
        try:
            async with asyncio.timeout(2 * LIMIT_S):
                report[name] = await SCENARIOS[name](served)
        except (OSError, TimeoutError) as error:
            report[name] = {"error": f"{type(error).__name__}: {error}"}
        print(f"{name}: {json.dumps(report[name])}", flush=True)
    return report


def main(argv: list[str] | None = None) -> int:
    """Serve a model, and run the scenarios that are named, or all."""
    parser = argparse.ArgumentParser(prog="scripts/stress_gateway", description=__doc__)
    parser.add_argument("--model", required=True, help="GGUF that is served")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where the figures are written as JSON")
    parser.add_argument("scenario", nargs="*", help=", ".join(SCENARIOS))
    options = parser.parse_args(argv)
    end_in_order()
    arguments = ["--model", options.model, "--ctx", "8192", "--parallel", "4"]
    with (
        tempfile.TemporaryDirectory(prefix="steprun-hostile-") as name,
        gateway(Path(name), arguments, port=options.port) as served,
    ):
        report = asyncio.run(_run(served, options.scenario or list(SCENARIOS)))
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return 0
