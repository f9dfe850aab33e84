"""An hour in which memory is taken and given back, and the engine is killed: what clients see.

Every 3 minutes a balloon goes below the first floor, every 5 the engine is killed, and every 10
balloons go below the second floor: first one, then two, and so on, so that each rung of the ladder
is seen; then it is asked to climb. Gateway, engine and balloons share a control group, in which
alone memory is short. Fewer minutes than an hour go through the same more quickly.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil

from gateway_checks.serving import ROOT, Served, end_in_order, gateway
from gateway_checks.soak import Plan, Soak
from memory_attacks import group, wide_step
from runner.catalog import models_toml
from runner.engine.builder.recipe import load_recipe
from runner.engine.process.memory_watch import LinuxMeter
from runner.plan.floors import floors
from runner.plan.ladder import Rung, ladder
from runner.plan.launch import Floors
from runner.plan.request import PlanRequest
from runner.run import machine_view
from runner.run.model_ref import CatalogModel, read_model
from runner.run.prepare import choose_plan

GIB: Final = 1 << 30
LIMIT_BYTES: Final = 12 * GIB  # 8 are planned; what is left is for balloons, and mapped weights
CONTEXT: Final = 131_072
SLOTS: Final = 4
FOLDER: Final = ROOT / ".cache" / "wide-step"
BALLOON: Final = Path(__file__).with_name("balloon.py")
FULL_S: Final = 60.0  # for a balloon to have what it wants
HELD_S: Final = 20.0  # of an hour: a balloon stays so long at its full size
FALL_S: Final = 90.0  # for an engine to be stopped, and another one to be there
LOOK_S: Final = 0.25
BELOW: Final = 256 << 20  # the second floor, by so much
ACTIONS: Final = {"short": 180.0, "kill": 300.0, "fall": 600.0}
"""Every how many seconds of an hour what happens, by the issue that asked for it."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What the balloons are measured by: the rungs of the plan, the floors of its engine."""

    rungs: tuple[Rung, ...]
    floors: Floors


class Hour(Soak):
    """A soak whose disturbances are balloons.

    `steps`: where on the ladder it was, and when. `events`: what the gateway said of it.
    """

    def __init__(self, served: Served, plan: Plan, room: Path, known: Weights, pace: float) -> None:
        super().__init__(served, plan)
        self._room = room
        self._known = known
        self._pace = pace
        self._depth = 0  # how many rungs the last fall went down
        self.steps: list[dict[str, Any]] = []
        self.events: dict[str, Any] = {}
        self.troubled: list[tuple[float, float]] = []

    async def disturb(self) -> None:
        """Do what is due, one thing after the other."""
        due = {action: every * self._pace for action, every in ACTIONS.items()}
        watch = asyncio.create_task(self._watch())
        try:
            while self.serves():
                action = min(due, key=lambda each: due[each])
                await self.wait(due[action] - self.at())
                await self.open.wait()
                if not self.serves():
                    return
                due[action] = self.at() + ACTIONS[action] * self._pace
                began = self.at()
                entry: dict[str, Any] = {"at_s": round(began, 1), "action": action}
                self.disturbed.append(entry)
                entry["result"] = await self._do(action, entry)
                entry["after_s"] = round(self.at() - began, 1)
                self.troubled.append((began, self.at()))
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def _do(self, action: str, entry: dict[str, Any]) -> str:
        engine = self.served.engine()
        if engine is None:
            return "no engine at that time"
        if action == "kill":
            with suppress(psutil.Error):
                engine.send_signal(signal.SIGKILL)
            return await self.replaced(engine, action)
        if action == "short":
            left = self._left(engine.pid)
            if left is None:
                return "memory cannot be read"
            # Near the first floor: what the engine grows by meanwhile is left above the second.
            target = (3 * self._known.floors.low + self._known.floors.least) // 4
            with self._balloon(left - target) as full:
                await asyncio.wait([full], timeout=FULL_S)
                await self.wait(HELD_S * self._pace)
                entry["left_gib"] = round((self._left(engine.pid) or 0) / GIB, 2)
            return "another engine" if self._replaced(engine) else "held"
        return await self._fall(entry)

    async def _fall(self, entry: dict[str, Any]) -> str:
        """Stop the engine again and again, once more each time; then ask for what was given up."""
        self._depth = self._depth % (len(self._known.rungs) - 1) + 1
        entry["rungs"] = places = []
        for number in range(self._depth):
            engine = self.served.engine()
            left = self._left(engine.pid) if engine is not None else None
            if engine is None or left is None:
                return "no engine at that time"
            with self._balloon(left - self._known.floors.least + BELOW):
                until = time.monotonic() + FULL_S
                while not self._replaced(engine) and time.monotonic() < until:
                    await self.wait(LOOK_S)
                if not number:  # the next one has to wait for memory
                    await self.wait(HELD_S * self._pace)
            places.append(await self._ready_again())
            await self.wait(HELD_S * self._pace / 2)  # answers come from there, too
        entry["climb"] = await self._climb()
        entry["top"] = await self._ready_again(rung=0)
        return "climbed"

    async def _ready_again(self, rung: int | None = None) -> Any:
        """Wait until requests are answered, at that rung; return the gateway's place."""
        until = time.monotonic() + FALL_S
        while self.serves() and time.monotonic() < until:
            document = await self._status()
            place = _place(document)
            if document.get("state") in {"ready", "busy"} and rung in {None, place["rung"]}:
                return place
            await asyncio.sleep(LOOK_S)
        return "not ready in time"

    async def _climb(self) -> Any:
        with suppress(aiohttp.ClientError, TimeoutError, ValueError):
            async with (
                aiohttp.ClientSession(trust_env=False) as http,
                http.post(f"{self.served.url}/steprun/climb", json={}) as answer,
            ):
                return answer.status
        return "no answer"

    async def _status(self) -> dict[str, Any]:
        limit = aiohttp.ClientTimeout(total=5)
        with suppress(aiohttp.ClientError, TimeoutError, ValueError):
            async with (
                aiohttp.ClientSession(trust_env=False, timeout=limit) as http,
                http.get(f"{self.served.url}/steprun/status") as answer,
            ):
                found = await answer.json()
                return found if isinstance(found, dict) else {}
        return {}

    async def _watch(self) -> None:
        """Note each change of the gateway's place on the ladder."""
        while True:
            document = await self._status()
            for event in document.get("events", ()):
                self.events[json.dumps(event)] = event
            if document.get("state") in {"ready", "busy"}:
                place = _place(document)
                if not self.steps or self.steps[-1]["place"] != place:
                    self.steps.append({"at_s": round(self.at(), 1), "place": place})
            await asyncio.sleep(1)

    def _left(self, pid: int) -> int | None:
        """Return what is left in the group, as the watch over the engine sees it."""
        with group.entered(self._room):  # it reads the groups of the process that makes it
            meter = LinuxMeter(pid, self._known.floors.mapped)
        return meter.left()

    def _replaced(self, engine: psutil.Process) -> bool:
        now = self.served.engine()
        return now is None or now.pid != engine.pid

    @contextmanager
    def _balloon(self, size: int) -> Iterator["asyncio.Task[bytes]"]:
        """Take `size` bytes of the group within the block; what it yields ends when it has them."""
        argv = group.inside(self._room, [sys.executable, str(BALLOON), str(size), str(GIB)])
        pipe = subprocess.PIPE
        with subprocess.Popen(argv, stdin=pipe, stdout=pipe) as process:
            read = process.stdout.readline if process.stdout else bytes
            try:
                yield asyncio.create_task(asyncio.to_thread(read))
            finally:
                process.kill()

    def report(self) -> dict[str, Any]:
        """Return the account of the soak, and of the ladder."""
        found = super().report()
        waited = sum(
            kind == "answered"
            and any(began < end and ended > start for start, end in self.troubled)
            for began, ended, kind in self.spans
        )
        passed = found["lost"] == 0 and found["serve_ended"] is None
        return {
            **found,
            "schema": "steprun.soak-memory/1",
            "answered_in_trouble": waited,
            "longest_answer_s": round(
                max((end - start for start, end, _ in self.spans), default=0)
            ),
            "steps": self.steps,
            "events": list(self.events.values()),
            "passed": passed and not found["health_ms"].get("lost"),
        }


def _place(document: dict[str, Any]) -> dict[str, Any]:
    rung = (document.get("lowered") or {}).get("rung", 0)
    return {"rung": rung, **{name: document.get(name) for name in ("context", "quant")}}


def known(catalog: Path) -> Weights:
    """Plan as the gateway does, in the same group."""
    wide_step.use(catalog)
    model_spec, _ = read_model(CatalogModel(models_toml.load_catalog().models[0]), see=True)
    ask = PlanRequest(context=CONTEXT, parallel=SLOTS)
    plan = choose_plan(machine_view.probed(), model_spec, ask)
    run = load_recipe(plan.machine.backend).run
    return Weights(ladder(plan, run, frozenset(wide_step.QUANTS)), floors(plan))


def main(argv: Sequence[str] | None = None) -> int:
    """Serve, disturb, report; 1 where something was lost without a word."""
    parser = argparse.ArgumentParser(prog="scripts/soak_memory", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of the model (1.5 GB)")
    parser.add_argument("--out", type=Path, default=Path("soak-memory.json"))
    options = parser.parse_args(argv)
    if not sys.platform.startswith("linux"):
        parser.error("only Linux has control groups")
    end_in_order()
    os.environ.setdefault("OMP_THREAD_LIMIT", "1")
    catalog = wide_step.ensure(options.folder).resolve()
    plan = Plan(options.minutes, options.clients, 0.0, 600.0, FALL_S, options.seed, ("memory",))
    program = (sys.executable, "-m", "memory_attacks.wide_step", str(catalog))
    words = ["--model", wide_step.NAME, "--ctx", str(CONTEXT), "--parallel", str(SLOTS)]
    with tempfile.TemporaryDirectory(prefix="steprun-hour-") as name, group.made(LIMIT_BYTES) as at:
        with group.entered(at):
            weights = known(catalog)
        with gateway(Path(name), words, program=group.inside(at, program)) as served:
            run = Hour(served, plan, at, weights, min(1.0, options.minutes / 60))
            asyncio.run(run.run(ollama=True, sees=True))
            report = run.report()
    options.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    for key in ("sent", "answered", "answered_in_trouble", "refused", "cancelled", "lost"):
        print(f"{key}: {report[key]}")
    for step in (*report["disturbed"], *report["steps"], *report["events"], *report["losses"]):
        print(f"  {step}")
    print(f"{'passed' if report['passed'] else 'FAILED'}; report: {options.out}")
    return 0 if report["passed"] else 1
