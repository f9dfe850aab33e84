"""One trial: an engine, somebody beside it, and a balloon; who lives, and how fast it was over."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from runner.engine.process.memory_watch import MARK, LinuxMeter
from runner.engine.process.supervisor import EngineProcess
from runner.plan.launch import LaunchSpec

HERE = Path(__file__).parent
BEYOND = 2 << 30  # the balloon takes so much more than there is: less than the engine gives back
NEAR = 3 << 30  # a slow balloon begins so far above the floors, else a trial takes minutes
TRIAL_S = 90.0


@dataclass(frozen=True)
class Attack:
    """What is done. `rate` in GiB a second, 0 for as fast as it goes; `busy`: all cores are."""

    rate: float
    busy: bool
    watch: bool


@dataclass(frozen=True)
class Outcome:
    """What became of it. Times in seconds, `lowest` in bytes; `rate` reached, in GiB a second.

    `stopped`: the watch ended the engine; `killed`: how many processes the kernel ended.
    """

    attack: Attack
    engine_bytes: int
    stopped: bool
    killed: int
    others_alive: bool
    reaction: float | None
    pause: float
    lowest: int
    rate: float
    words: str

    @property
    def right(self) -> bool:
        """Whether the engine alone went, before the kernel did anything."""
        return self.stopped and not self.killed and self.others_alive


async def attempt(attack: Attack, program: tuple[str, ...], spec: LaunchSpec) -> Outcome:
    """Make one trial; `spec.floors` are those of the watch, which are kept without it, too."""
    if (floors := spec.floors) is None:
        raise ValueError("a trial needs floors")
    engine = EngineProcess(program, spec if attack.watch else replace(spec, floors=None))
    kernel = _killed()
    async with engine:
        await engine.wait_ready()
        held = psutil.Process(engine.pid).memory_info().rss
        with ExitStack() as stack:
            looks = (engine.pid, floors.least, floors.mapped)
            desk = stack.enter_context(_running("bystander.py", *looks))
            _line(desk)
            if attack.busy:
                for _ in range(psutil.cpu_count() or 1):
                    stack.callback(_busy().kill)
            left = LinuxMeter(engine.pid, floors.mapped).left() or 0
            first = max(0, left - floors.low - NEAR) if 0 < attack.rate < 1 else 0
            if first:
                _line(stack.enter_context(_running("balloon.py", first, 0)))
            rate = attack.rate * (1 << 30)
            balloon = stack.enter_context(_running("balloon.py", left - first + BEYOND, rate))
            full = asyncio.create_task(asyncio.to_thread(_line, balloon))
            await asyncio.wait([full], timeout=TRIAL_S + (NEAR + BEYOND) / (rate or 1 << 30))
            alive = [each.poll() is None for each in (balloon, desk)]
            dead = not engine.alive()
            words = engine.verdict().what if dead else "it runs"
            stopped = dead and MARK in engine.log_path.read_text("utf-8", "replace")
            seen = json.loads(desk.communicate("\n", timeout=20)[0]) if alive[1] else {}
            filled = await full if full.done() else ""
            balloon.kill()
    return Outcome(
        attack,
        held,
        stopped,
        _killed() - kernel,
        all(alive),
        seen.get("reaction"),
        seen.get("pause", 0.0),
        seen.get("lowest", 0),
        float(filled.split()[1]) if filled.startswith("full") else 0.0,
        words,
    )


@contextmanager
def _running(script: str, *words: float) -> Iterator["subprocess.Popen[str]"]:
    argv = [sys.executable, str(HERE / script), *map(str, words)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _busy() -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", "while True: pass"])


def _line(process: "subprocess.Popen[str]") -> str:
    return process.stdout.readline().strip() if process.stdout is not None else ""


def _killed() -> int:
    """Return how many processes the kernel has killed for want of memory since it started."""
    for line in Path("/proc/vmstat").read_text("ascii").splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0
