"""Attacks a running gateway, and says of each attack whether it stood it.

It did not where it answered something with a fault of its own (500, 502), or not at all, or let
somebody in; where the engine was started again, or a chat afterwards was not answered; or where
`/health` took 100 ms or more at the 99th percentile. Exit 1 if it did not stand one of them.
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
WATCHED_S = 2.0  # at least, for each attack
SHOWN = 10


@dataclass(frozen=True)
class Round:
    """What came of one kind of attack.

    `restarts`: of the engine meanwhile, None if unknown. `health`: seconds of each `/health`.
    """

    kind: str
    shots: tuple[Shot, ...]
    seconds: float
    restarts: int | None
    health: tuple[float, ...]

    @property
    def missed(self) -> list[Shot]:
        """What the gateway did not stand."""
        return [shot for shot in self.shots if shot.missed]

    def faults(self) -> list[str]:
        """Return why this attack was not stood; empty where it was. Pure."""
        found = []
        if not self.shots:
            found.append("nothing was sent")
        if self.missed:
            found.append(f"{len(self.missed)} of {len(self.shots)} answered wrongly or not at all")
        if self.restarts is None:
            found.append("the gateway does not say whether its engine runs")
        elif self.restarts:
            found.append(f"the engine was started again {self.restarts} times")
        slowest = percentile(list(self.health), 0.99)
        if not self.health:
            found.append("/health was never asked")
        elif slowest >= MOST_S:
            found.append(f"/health took {1e3 * slowest:.0f} ms at the 99th percentile")
        return found


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
    return report([_round(each, watch) for each in rounds])


@dataclass(frozen=True)
class _Sent:
    """What one kind of attack sent. Times are of `time.monotonic`."""

    kind: str
    shots: tuple[Shot, ...]
    began: float
    ended: float
    restarts: int | None


async def _attack(attack: Attack, kinds: Sequence[str]) -> list[_Sent]:
    rounds = []
    for kind in kinds:
        before, began = await attack.target.restarts(), time.monotonic()
        shots = []
        try:
            async for shot in getattr(attack, kind)():
                shots.append(shot)  # noqa: PERF401 - kept where the rest is not sent
            # A short attack is watched for a while: it is judged by its times of /health, too.
            await asyncio.sleep(max(0.0, began + WATCHED_S - time.monotonic()))
            ended = time.monotonic()
            shots.append(await attack.afterwards())
        except OSError as error:
            ended = time.monotonic()
            shots.append(Shot(f"no connection: {error}", 0, frozenset()))
        after = await attack.target.restarts()
        died = None if before is None or after is None else after - before
        rounds.append(_Sent(kind, tuple(shots), began, ended, died))
    return rounds


def _round(sent: _Sent, watch: Watch) -> Round:
    times = tuple(took for at, took in watch.times if sent.began <= at <= sent.ended)
    return Round(sent.kind, sent.shots, sent.ended - sent.began, sent.restarts, times)


def report(rounds: list[Round]) -> int:
    """Print a table and a verdict on each attack; return the exit code."""
    print(f"{'attack':10} {'sent':>5} {'missed':>6} {'seconds':>7}  /health: asked, p50, p99, max")
    for each in rounds:
        print(
            f"{each.kind:10} {len(each.shots):5} {len(each.missed):6} {each.seconds:7.1f}  "
            f"{_times(list(each.health))}"
        )
        answers = Counter(shot.status for shot in each.shots)
        print("           " + ", ".join(f"{count} x {code}" for code, count in answers.items()))
        for shot in each.missed[:SHOWN]:
            print(f"           missed: {shot.name}: {shot.status}")
    took = [time for each in rounds for time in each.health]
    print(f"{'all':10} {'':5} {'':6} {'':7}  {_times(took)}")
    for each in rounds:
        faults = each.faults()
        print(f"{each.kind}: {'NOT STOOD: ' + '; '.join(faults) if faults else 'stood'}")
    return int(not rounds or any(each.faults() for each in rounds))


def _times(times: list[float]) -> str:
    figures = (percentile(times, 0.5), percentile(times, 0.99), max(times, default=0.0))
    return f"{len(times)}, " + ", ".join(f"{1e3 * each:.0f} ms" for each in figures)
