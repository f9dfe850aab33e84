"""`scripts/attack_chat`: kill a chat again and again, or send it what no server should send."""

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from chat_attacks import kills, streams

MOST_S = 1.0  # the goal of the chat: no word is lost that is older


def main(argv: list[str]) -> int:
    """Attack; return 1 where the chat lost what it must not, or did what it must not."""
    parser = argparse.ArgumentParser(description="Attack the chat.")
    parser.add_argument("--kills", type=int, help="SIGKILLs (default: 50; with --streams 0)")
    parser.add_argument("--streams", type=int, default=0, help="hostile answers (default: 0)")
    parser.add_argument("--against", default="", help="of client, plain, window: only this one")
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    parser.add_argument(
        "--within", type=float, default=MOST_S, help=f"seconds (default: {MOST_S:g})"
    )
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    options = parser.parse_args(argv)
    if options.kills is None:
        options.kills = 0 if options.streams else 50
    seed = options.seed or random.SystemRandom().randrange(1, 1 << 30)
    print(f"seed {seed}", flush=True)
    failures = [*_kill(options, seed), *_stream(options, seed)]
    for failure in failures:
        print(f"WRONG: {failure}", file=sys.stderr)
    if failures:
        again = argv if options.seed else [*argv, "--seed", str(seed)]
        print(f"Again: scripts/attack_chat {' '.join(again)}", file=sys.stderr)
    return 1 if failures else 0


def _kill(options: argparse.Namespace, seed: int) -> list[str]:
    if not options.kills:
        return []
    folder = options.folder or Path(tempfile.mkdtemp(prefix="attack-chat-"))
    print(f"folder {folder}", flush=True)
    began = time.monotonic()
    report = kills.attack(folder, options.kills, random.Random(seed), options.within)  # noqa: S311
    during = ", ".join(f"{name} {count}" for name, count in report.killed.most_common())
    print(f"{options.kills} kills in {time.monotonic() - began:.0f} s, during: {during}")
    print(
        f"{report.typed} words typed and {report.received} received; {report.lost} lost, the "
        f"oldest {report.oldest_s:.2f} s before the kill"
    )
    if options.folder is None and not report.failures:
        shutil.rmtree(folder, ignore_errors=True)
    return report.failures


def _stream(options: argparse.Namespace, seed: int) -> list[str]:
    if not options.streams:
        return []
    failures = []
    dice = random.Random(seed)  # noqa: S311 - chance, not a secret
    for name, report in streams.attack(options.streams, dice, options.against).items():
        stall = (
            f", its longest step {report.stall_s:.2f} s ({report.stalled})"
            if report.stall_s
            else ""
        )
        print(
            f"{report.sent.total()} hostile answers to {name}: {len(report.failures)} went wrong; "
            f"the slowest ({report.slowest}) took {report.slowest_s:.1f} s{stall}; memory grew by "
            f"{report.grown_bytes >> 20} MiB",
            flush=True,
        )
        failures += [f"{name}: {failure}" for failure in report.failures]
    return failures
