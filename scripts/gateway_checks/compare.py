"""The gateway against the engine started by hand with the same flags, in turns.

Both serve the same model at the same time; only one computes at a time, and which is first changes
with every pair. What is compared is each pair's ratio or difference, so that what else the machine
does falls on both alike; the median over all pairs is reported. The processor time of the gateway
is measured with a fake engine that sends 60 events a second (`paced_engine`).
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import aiohttp
import psutil

from gateway_checks import serving

CLIENTS: Final = (1, 4)
PROMPT: Final = "Tell a story of a small red boat. " * 8
# The limits of a gateway that nobody notices: of the rate, of the two times in ms.
RATE: Final = (0.99, 1.01)
FIRST_MS: Final = 3.0
GAP_MS: Final = 2.0
PACED_S: Final = 20.0  # of a stream at 60 events a second


@dataclass(frozen=True, slots=True)
class Load:
    """What clients saw together.

    `rate`: tokens/s of all. In seconds: the time to the first token, and the 99th percentile of
    the time between two of one answer.
    """

    rate: float
    first_s: float
    gap_s: float


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `limit`: the least and the most that `figure` may be."""

    what: str
    gateway: float
    by_hand: float
    figure: float
    figures: tuple[float, ...]
    limit: tuple[float, float]

    @property
    def within(self) -> bool:
        """Whether the figure is within its limit."""
        return self.limit[0] <= self.figure <= self.limit[1]


async def _stream(http: aiohttp.ClientSession, url: str, tokens: int, tag: str) -> list[float]:
    """Ask for one answer; return when each of its events arrived, preceded by the start."""
    asked = {
        "messages": [{"role": "user", "content": f"{tag} {PROMPT}"}],
        "stream": True,
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "cache_prompt": False,
    }
    arrived = [time.perf_counter()]
    async with http.post(f"{url}/v1/chat/completions", json=asked) as reply:
        if reply.status != 200:
            sys.exit(f"{url} answered {reply.status}: {(await reply.read())[:300]!r}")
        async for data in reply.content.iter_any():
            now = time.perf_counter()
            arrived += [now] * (data.count(b"_content") + data.count(b'"content"'))
    if len(arrived) < tokens // 2:
        sys.exit(f"{url} sent {len(arrived) - 1} tokens of {tokens}.")
    return arrived


async def load(url: str, tokens: int, clients: int, tag: str) -> Load:
    """Let so many clients ask at once."""
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as http:
        answers = await asyncio.gather(
            *(_stream(http, url, tokens, f"{tag}-{each}") for each in range(clients))
        )
    began = min(answer[1] for answer in answers)
    took = max(answer[-1] for answer in answers) - began
    gaps = sorted(later - earlier for answer in answers for earlier, later in pairwise(answer[1:]))
    return Load(
        sum(len(answer) - 2 for answer in answers) / max(took, 1e-9),
        statistics.median(answer[1] - answer[0] for answer in answers),
        gaps[int(len(gaps) * 0.99)],
    )


def compare(ours: str, theirs: str, pairs: int, tokens: int, clients: int) -> list[Row]:
    """Measure both in turns."""
    seen: dict[str, list[Load]] = {ours: [], theirs: []}
    for number in range(pairs):
        for url in (ours, theirs) if number % 2 else (theirs, ours):
            seen[url].append(asyncio.run(load(url, tokens, clients, f"{clients}.{number}")))
        print(f"{clients} at once: pair {number + 1} of {pairs}", file=sys.stderr, flush=True)
    both = list(zip(seen[ours], seen[theirs], strict=True))
    rates = tuple(a.rate / b.rate for a, b in both)
    firsts = tuple((a.first_s - b.first_s) * 1000 for a, b in both)
    gaps = tuple((a.gap_s - b.gap_s) * 1000 for a, b in both)

    def middle(url: str, field: str, scale: float) -> float:
        values: list[float] = [getattr(each, field) for each in seen[url]]
        return statistics.median(values) * scale

    rows = (
        ("tokens/s", "rate", 1.0, rates, RATE),
        ("first token, ms", "first_s", 1000.0, firsts, (-1e9, FIRST_MS)),
        ("gap p99, ms", "gap_s", 1000.0, gaps, (-1e9, GAP_MS)),
    )
    return [
        Row(
            f"{what}, {clients} at once",
            middle(ours, field, scale),
            middle(theirs, field, scale),
            statistics.median(figures),
            figures,
            limit,
        )
        for what, field, scale, figures, limit in rows
    ]


async def _paced(url: str, process: psutil.Process) -> tuple[float, float]:
    """Return the share of one core that the gateway takes, idle and with one stream of 60/s."""
    shares = []
    for events in (0, int(PACED_S * 60)):
        before, began = process.cpu_times(), time.monotonic()
        if events:
            async with aiohttp.ClientSession(trust_env=False) as http:
                await _stream(http, url, events, "paced")
        else:
            await asyncio.sleep(PACED_S / 2)
        after, took = process.cpu_times(), time.monotonic() - began
        used = after.user + after.system - before.user - before.system
        shares.append(used / took)
    return shares[0], shares[1]


def _of_gateway(folder: Path, arguments: Sequence[str]) -> tuple[float, float]:
    """Start a gateway with the paced engine, and return what `_paced` says of it."""
    port = serving.free_port()
    paths = os.pathsep.join((str(serving.ROOT), str(serving.ROOT / "scripts")))
    words = ("-m", "gateway_checks.paced_engine", "serve", *arguments, "--port", str(port))
    with (folder / "paced.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "STEPRUN_HOME": str(folder / "paced"), "PYTHONPATH": paths},
        )
        try:
            url = f"http://127.0.0.1:{port}"
            serving.wait_ready(url, process)
            return asyncio.run(_paced(url, psutil.Process(process.pid)))
        finally:
            serving.end(process)


def _of_both(folder: Path, arguments: Sequence[str], args: argparse.Namespace) -> list[Row]:
    """Start both sides, and compare them with 1 client and with 4."""
    rows: list[Row] = []
    with serving.gateway(folder / "home", arguments) as served:
        engine = served.engine()
        if engine is None:
            sys.exit("The gateway has no engine.")
        flags = serving.flags_of(engine)
        with serving.engine_alone(flags, log=folder / "hand.log") as by_hand:
            for url in (served.url, by_hand):
                asyncio.run(load(url, 16, 1, "warm"))
            for clients in CLIENTS:
                found = compare(served.url, by_hand, args.pairs, args.tokens, clients)
                _show(found, args.pairs)
                rows += found
    return rows


def _show(rows: Sequence[Row], pairs: int) -> None:
    print(f"{'':28}{'gateway':>10}{'by hand':>10}{'cost':>9}   of {pairs} pairs: least to most")
    for row in rows:
        spread = f"{min(row.figures):+.3f} to {max(row.figures):+.3f}"
        word = "" if row.within else "   beyond the limit"
        print(
            f"{row.what:28}{row.gateway:10.2f}{row.by_hand:10.2f}{row.figure:9.3f}",
            f"  {spread}{word}",
            flush=True,
        )


def main() -> int:
    """Measure, print the table, and return 1 where a limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a GGUF file, such as the tiny Step")
    parser.add_argument("--pairs", type=int, default=11)
    parser.add_argument("--tokens", type=int, default=128, help="of each answer")
    parser.add_argument("--ctx", type=int, default=4096)
    args = parser.parse_args()
    serving.end_in_order()
    arguments = ["--model", args.model, "--ctx", str(args.ctx), "--parallel", "4"]
    with tempfile.TemporaryDirectory(prefix="compare_gateway") as name:
        rows = _of_both(Path(name), arguments, args)
        idle, busy = _of_gateway(Path(name), arguments)
    print(f"processor time of the gateway, of one core: {idle:.2%} idle, {busy:.2%} at 60 tokens/s")
    return int(not all(row.within for row in rows))
