"""Takes an engine's memory away by balloons, many times, and prints who died and how fast."""

import argparse
import asyncio
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from memory_attacks.group import limited
from memory_attacks.trial import Attack, Outcome, attempt
from runner.engine.installed import store
from runner.engine.process.memory_watch import LinuxMeter
from runner.machine.facts import processor_reserve
from runner.plan.launch import Floors, LaunchSpec

GIB = 1 << 30
TOKEN_BYTES = 2 * 30 * 3 * 64 * 2  # SmolLM2-135M: keys and values of 30 layers, 3 heads of 64, f16
ROOM_BYTES = 5 * GIB  # beside the engine, in a control group


def main(argv: list[str]) -> int:
    """Attack; returns 1 where anybody but the engine died, or the kernel had to act."""
    parser = argparse.ArgumentParser(prog="attack_memory", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="SmolLM2-135M, a GGUF file")
    parser.add_argument("--engine-gib", type=float, default=8)
    parser.add_argument("--times", type=int, default=20, help="trials in all")
    parser.add_argument("--rates", default="0,1,0.1", help="GiB a second, in turn; 0: full speed")
    parser.add_argument("--inside", action="store_true", help="in a control group with a limit")
    parser.add_argument("--no-watch", action="store_true", help="what happens without it")
    asked = parser.parse_args(argv)
    if not sys.platform.startswith("linux"):
        parser.error("only Linux has /proc")
    os.environ.setdefault("OMP_THREAD_LIMIT", "1")
    engine_bytes = int(asked.engine_gib * GIB)
    limit = engine_bytes + ROOM_BYTES if asked.inside else None
    with limited(limit):
        left = LinuxMeter(os.getpid(), 0).left() or 0
        reserve = processor_reserve(limit or left)
        spec = _spec(asked.model, engine_bytes, Floors(reserve * 3 // 4, reserve // 2))
        print(
            f"{left / GIB:.1f} GiB are left; floors {reserve * 3 / 4 / GIB:.2f}, "
            f"{reserve / 2 / GIB:.2f} GiB"
        )
        rates = [float(rate) for rate in asked.rates.split(",")]
        outcomes = []
        for number in range(asked.times):
            rate, busy = rates[number % len(rates)], number // len(rates) % 2 == 1
            attack = Attack(rate, busy, not asked.no_watch)
            outcomes.append(asyncio.run(attempt(attack, store.embedded().program, spec)))
            _show(number, outcomes[-1])
    return _sum_up(outcomes)


def _spec(model: Path, engine_bytes: int, floors: Floors) -> LaunchSpec:
    context = engine_bytes // TOKEN_BYTES // 256 * 256
    words = {"--model": model, "--ctx-size": context, "--parallel": 1, "--cache-ram": 0}
    argv = [str(word) for pair in words.items() for word in pair]
    return LaunchSpec((*argv, "--fit", "off", "--no-warmup"), engine_bytes, floors=floors)


def _show(number: int, outcome: Outcome) -> None:
    attack = outcome.attack
    reaction = "-" if outcome.reaction is None else f"{outcome.reaction * 1000:.0f} ms"
    print(
        f"{number + 1:3} {'right' if outcome.right else 'WRONG'}  "
        f"asked {attack.rate or 'full':>4} GiB/s, was {outcome.rate:.2f}"
        f"{', busy cores' if attack.busy else ''}; engine {outcome.engine_bytes / GIB:.1f} GiB "
        f"{'stopped' if outcome.stopped else outcome.words}, by the kernel {outcome.killed}, "
        f"others {'alive' if outcome.others_alive else 'DEAD'}; after the floor {reaction}, "
        f"least left {outcome.lowest / GIB:.2f} GiB, worst pause {outcome.pause * 1000:.0f} ms",
        flush=True,
    )


def _sum_up(outcomes: Sequence[Outcome]) -> int:
    right = sum(each.right for each in outcomes)
    times = [each.reaction for each in outcomes if each.reaction is not None]
    print(f"{right} of {len(outcomes)}: the engine alone was stopped, before the kernel acted")
    if times:
        print(
            f"after the second floor: median {statistics.median(times) * 1000:.0f} ms, "
            f"worst {max(times) * 1000:.0f} ms ({len(times)} were below it)"
        )
    print(f"worst pause of the bystander: {max(each.pause for each in outcomes) * 1000:.0f} ms")
    return 0 if right == len(outcomes) else 1
