"""A long run under mixed load, while the engine is killed or stopped again and again.

Counts what was sent, answered, refused in words, cancelled by the client, and lost without a word.
The last must be 0, and the gateway's memory and descriptors must not grow after the first minutes.
"""

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil

from gateway_checks.load import Ask, Load
from gateway_checks.outcomes import Outcome, judge
from gateway_checks.probe import probing
from gateway_checks.serving import Served, end_in_order, gateway

GROWTH: Final = 1.05  # of memory and descriptors, from the first quiet moment to the last
WARM_S: Final = 120.0  # until the first quiet moment
PAUSE_S: Final = 5.0  # an engine that is stopped and continued, as by a suspended machine
QUIET_S: Final = 20.0  # without requests, before the process is read: idle connections end by then
EXAMPLES: Final = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """One soak. Times in seconds. `hang_s`: a stopped engine must be replaced by then."""

    minutes: float
    clients: int
    every_s: float
    limit_s: float
    hang_s: float
    seed: int
    actions: tuple[str, ...]
    quiet_s: float = QUIET_S


@dataclass(slots=True)
class Tally:
    """What has been counted so far."""

    outcomes: Counter[str] = field(default_factory=Counter)
    by_kind: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    losses: list[dict[str, Any]] = field(default_factory=list)
    sent: int = 0

    def take(self, ask: Ask, outcome: Outcome, at_s: float) -> None:
        """Count one request that has ended, `at_s` after the start."""
        self.outcomes[outcome.kind] += 1
        self.by_kind[f"{ask.kind}: {outcome.kind}"] += 1
        if outcome.kind == "refused":
            self.refusals[f"{outcome.status} {outcome.why[:120]}"] += 1
        elif outcome.kind == "lost" and len(self.losses) < EXAMPLES:
            self.losses.append(
                {
                    "request": ask.kind,
                    "stream": ask.stream,
                    "at_s": round(at_s, 1),
                    "status": outcome.status,
                    "why": outcome.why,
                }
            )


@dataclass(frozen=True, slots=True)
class Quiet:
    """The gateway's process while nobody asks anything."""

    at_s: float
    rss: int
    descriptors: int
    threads: int


class Soak:
    """One run against one gateway. `spans`: when each request began and ended, and how."""

    def __init__(self, served: Served, plan: Plan) -> None:
        self.served = served
        self.plan = plan
        self._began = time.monotonic()
        self.open = asyncio.Event()
        self._over = asyncio.Event()
        self._busy = 0
        self.tally = Tally()
        self.disturbed: list[dict[str, Any]] = []
        self.health: dict[str, Any] = {}
        self.quiet: list[Quiet] = []
        self.spans: list[tuple[float, float, str]] = []

    async def run(self, *, ollama: bool, sees: bool) -> None:
        """Load the gateway until the time is over, or until it has ended."""
        length = self.plan.minutes * 60
        self.open.set()
        with probing(self.served.url, self.health):
            await self._load(length, ollama=ollama, sees=sees)

    async def _load(self, length: float, *, ollama: bool, sees: bool) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self.plan.clients):
                load = Load(self.plan.seed + number, ollama=ollama, sees=sees)
                group.create_task(self._client(number, load))
            group.create_task(self.disturb())
            try:
                await self.wait(min(WARM_S, length / 4))
                await self._be_quiet()
                await self.wait(length - self.at())
                await self._be_quiet()
            finally:
                self._over.set()
                self.open.set()

    def at(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._began

    def serves(self) -> bool:
        """Tell whether the gateway is there, and the soak goes on."""
        return self.served.process.poll() is None and not self._over.is_set()

    async def wait(self, seconds: float) -> None:
        """Wait, no longer than the soak goes on."""
        until = time.monotonic() + seconds
        while self.serves() and time.monotonic() < until:  # noqa: ASYNC110 - a process has no event
            await asyncio.sleep(0.2)

    async def _be_quiet(self) -> None:
        """Hold the clients back, let what is running end, and read the process."""
        self.open.clear()
        until = time.monotonic() + self.plan.limit_s + self.plan.hang_s
        while self._busy and self.serves() and time.monotonic() < until:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.1)
        await self.wait(self.plan.quiet_s)
        with suppress(psutil.Error):
            process = psutil.Process(self.served.process.pid)
            descriptors = process.num_fds() if hasattr(process, "num_fds") else 0
            self.quiet.append(
                Quiet(
                    round(self.at(), 1),
                    process.memory_info().rss,
                    descriptors,
                    process.num_threads(),
                )
            )
        self.open.set()

    async def _client(self, number: int, load: Load) -> None:
        """Ask one request after the other. Every second client takes a new connection for each."""
        chance = random.Random(number)  # noqa: S311 - thinking time
        while self.serves():
            await self.open.wait()
            connector = aiohttp.TCPConnector(force_close=number % 2 == 0)
            async with aiohttp.ClientSession(connector=connector, trust_env=False) as http:
                while self.serves() and self.open.is_set():
                    await self._count(http, load.draw())
                    await asyncio.sleep(chance.random() * 0.3)

    async def _count(self, http: aiohttp.ClientSession, ask: Ask) -> None:
        self.tally.sent += 1
        self._busy += 1
        began = self.at()
        try:
            outcome = await self._ask(http, ask)
        finally:
            self._busy -= 1
        self.tally.take(ask, outcome, began)
        self.spans.append((began, self.at(), outcome.kind))

    async def _ask(self, http: aiohttp.ClientSession, ask: Ask) -> Outcome:
        limit = self.plan.limit_s if ask.cancel_s is None else ask.cancel_s
        status, got = 0, bytearray()
        try:
            async with asyncio.timeout(limit):
                async with http.post(self.served.url + ask.path, json=ask.body) as answer:
                    status = answer.status
                    async for data in answer.content.iter_any():
                        got += data
        except TimeoutError:
            if ask.cancel_s is not None:
                return Outcome("cancelled", status)
            return Outcome("lost", status, f"no end within {limit:.0f} s, {len(got)} bytes")
        except (aiohttp.ClientError, OSError) as error:
            return Outcome("lost", status, f"{type(error).__name__}: {error}"[:200])
        return judge(ask, status, bytes(got))

    async def disturb(self) -> None:
        """Kill or stop the engine every so many seconds, in turn."""
        number = 0
        while self.serves():
            await self.wait(self.plan.every_s)
            await self.open.wait()
            if not self.serves():
                return
            engine = self.served.engine()
            action = self.plan.actions[number % len(self.plan.actions)]
            number += 1
            entry: dict[str, Any] = {"at_s": round(self.at(), 1), "action": action}
            self.disturbed.append(entry)
            if engine is None:
                entry["result"] = "no engine at that time"
                continue
            began = time.monotonic()
            with suppress(psutil.Error):
                engine.send_signal(signal.SIGKILL if action == "kill" else signal.SIGSTOP)
            entry["result"] = await self.replaced(engine, action)
            entry["after_s"] = round(time.monotonic() - began, 1)

    async def replaced(self, engine: psutil.Process, action: str) -> str:
        """Wait until the gateway has an engine again; say how it came to that."""
        if action == "pause":
            await self.wait(PAUSE_S)
            with suppress(psutil.Error):
                engine.send_signal(signal.SIGCONT)
            return "continued"
        until = time.monotonic() + self.plan.hang_s
        while self.serves() and time.monotonic() < until:
            now = self.served.engine()
            if now is not None and now.pid != engine.pid:
                return "another engine"
            await asyncio.sleep(0.2)
        with suppress(psutil.Error):  # else nothing would be answered any more
            engine.send_signal(signal.SIGCONT)
        return "not replaced"

    def report(self) -> dict[str, Any]:
        """Return the whole account, as JSON values."""
        tally = self.tally
        lost = tally.outcomes["lost"]
        ratios = {}
        if len(self.quiet) == 2:
            first, last = self.quiet
            ratios = {
                "rss": round(last.rss / first.rss, 3),
                "descriptors": round(last.descriptors / max(first.descriptors, 1), 3),
            }
        ended = self.served.process.poll()
        kept = {name: ratio <= GROWTH for name, ratio in ratios.items()}
        return {
            "schema": "steprun.soak/1",
            "plan": asdict(self.plan),
            "seconds": round(self.at(), 1),
            "serve_ended": ended,
            "sent": tally.sent,
            **{kind: tally.outcomes[kind] for kind in ("answered", "refused", "cancelled", "lost")},
            "refusals": dict(tally.refusals.most_common(40)),
            "by_kind": dict(sorted(tally.by_kind.items())),
            "losses": tally.losses,
            "disturbed": self.disturbed,
            "health_ms": self.health,
            "quiet": [asdict(each) for each in self.quiet],
            "ratios": ratios,
            "passed": lost == 0
            and ended is None
            and self.health.get("lost") == 0
            and len(kept) == 2
            and all(kept.values()),
        }


async def _offers_ollama(url: str) -> bool:
    async with (
        aiohttp.ClientSession(trust_env=False) as http,
        http.get(f"{url}/api/version") as answer,
    ):
        return answer.status == 200


async def soak(served: Served, plan: Plan, *, sees: bool) -> dict[str, Any]:
    """Run one soak; return its report."""
    ollama = await _offers_ollama(served.url)
    run = Soak(served, plan)
    await run.run(ollama=ollama, sees=sees)
    return {**run.report(), "ollama": ollama}


def main(argv: list[str] | None = None) -> int:
    """Serve, load, report; 1 where something was lost or has grown."""
    parser = argparse.ArgumentParser(prog="scripts/soak_gateway", description=__doc__)
    parser.add_argument("--model", required=True, help="GGUF that is served")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--every", type=float, default=20, help="seconds between two attacks (20)")
    parser.add_argument("--limit", type=float, default=180, help="seconds for one answer (180)")
    parser.add_argument("--hang", type=float, default=120, help="to notice a stopped engine (120)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--actions", default="kill,stop,kill,pause", help="in turn")
    parser.add_argument("--blind", action="store_true", help="send no pictures")
    parser.add_argument("--home", type=Path, help="STEPRUN_HOME; kept")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("soak-report.json"))
    parser.add_argument("serve", nargs="*", help="more of steprun serve's options, after --")
    options = parser.parse_args(argv)
    end_in_order()
    actions = tuple(each for each in options.actions.split(",") if each)
    if unknown := set(actions) - {"kill", "stop", "pause"}:
        sys.exit(f"Unknown: {', '.join(sorted(unknown))}. Actions are kill, stop and pause.")
    plan = Plan(
        minutes=options.minutes,
        clients=options.clients,
        every_s=options.every,
        limit_s=options.limit,
        hang_s=options.hang,
        seed=options.seed,
        actions=actions,
    )
    arguments = ["--model", options.model, "--ctx", "8192", "--parallel", "4", *options.serve]
    with tempfile.TemporaryDirectory(prefix="steprun-soak-") as name:
        home = options.home or Path(name)
        with gateway(home, arguments, port=options.port) as served:
            report = asyncio.run(soak(served, plan, sees=not options.blind))
    options.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    for key in ("sent", "answered", "refused", "cancelled", "lost", "ratios", "health_ms"):
        print(f"{key}: {report[key]}")
    for loss in report["losses"]:
        print(f"  lost: {loss}")
    print(f"{'passed' if report['passed'] else 'FAILED'}; report: {options.out}")
    return 0 if report["passed"] else 1
