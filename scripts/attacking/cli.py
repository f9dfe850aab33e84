"""Attacks a running gateway, and prints a table: what was sent, what it answered, its health.

Exit 1 where it answered something with a fault of its own (500, 502), or not at all, or let
somebody in, or where `/health` took 100 ms or more at the 99th percentile.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attacking.attacks import KINDS, Attack, Shot
from attacking.health import Watch, percentile
from attacking.wire import Target

MOST_S = 0.1  # of /health at the 99th percentile
SHOWN = 10


@dataclass(frozen=True)
class Round:
    """What came of one kind of attack. Times are of `time.monotonic`."""

    kind: str
    shots: tuple[Shot, ...]
    began: float
    ended: float

    @property
    def missed(self) -> list[Shot]:
        """What the gateway did not stand."""
        return [shot for shot in self.shots if shot.missed]


def main(argv: list[str]) -> int:
    """Attack; 1 where something was not stood."""
    parser = argparse.ArgumentParser(prog="attack_gateway", description=__doc__)
    parser.add_argument("url", help="of a server on this machine, such as http://127.0.0.1:8080")
    parser.add_argument("--count", type=int, default=1000, help="malformed requests (1,000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=8.0, help="that slow clients stay (8)")
    parser.add_argument("--only", choices=KINDS, action="append", help="this kind; repeatable")
    parser.add_argument("--api-key-file", type=Path, help="its last word is the key")
    options = parser.parse_args(argv)
    key = options.api_key_file.read_text("utf-8").split()[-1] if options.api_key_file else ""
    attack = Attack(Target(options.url, key), options.count, options.seed, options.seconds)
    with Watch(attack.target.place) as watch:
        rounds = asyncio.run(_attack(attack, options.only or KINDS))
    return _report(rounds, watch)


async def _attack(attack: Attack, kinds: Sequence[str]) -> list[Round]:
    rounds = []
    for kind in kinds:
        began = time.monotonic()
        shots = [shot async for shot in getattr(attack, kind)()]
        rounds.append(Round(kind, tuple(shots), began, time.monotonic()))
    return rounds


def _report(rounds: list[Round], watch: Watch) -> int:
    print(f"{'attack':10} {'sent':>5} {'missed':>6} {'seconds':>7}  /health: asked, p50, p99, max")
    for each in rounds:
        times = [took for at, took in watch.times if each.began <= at <= each.ended]
        print(
            f"{each.kind:10} {len(each.shots):5} {len(each.missed):6} "
            f"{each.ended - each.began:7.1f}  {_times(times)}"
        )
        answers = Counter(shot.status for shot in each.shots)
        print("           " + ", ".join(f"{count} x {code}" for code, count in answers.items()))
        for shot in each.missed[:SHOWN]:
            print(f"           missed: {shot.name}: {shot.status}")
    took = [took for _, took in watch.times]
    print(f"{'all':10} {'':5} {'':6} {'':7}  {_times(took)}")
    slow = percentile(took, 0.99) >= MOST_S
    return int(slow or any(each.missed for each in rounds))


def _times(times: list[float]) -> str:
    figures = (percentile(times, 0.5), percentile(times, 0.99), max(times, default=0.0))
    return f"{len(times)}, " + ", ".join(f"{1e3 * each:.0f} ms" for each in figures)
