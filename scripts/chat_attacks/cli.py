"""`scripts/attack_chat`: kill a chat again and again, and print what it kept and lost."""

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from chat_attacks import kills

MOST_S = 1.0  # the goal of the chat: no word is lost that is older


def main(argv: list[str]) -> int:
    """Attack; return 1 where the chat lost what it must not."""
    parser = argparse.ArgumentParser(description="Kill a chat at random moments.")
    parser.add_argument("--kills", type=int, default=50, help="SIGKILLs (default: 50)")
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    parser.add_argument(
        "--within", type=float, default=MOST_S, help=f"seconds (default: {MOST_S:g})"
    )
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    options = parser.parse_args(argv)
    seed = options.seed or random.SystemRandom().randrange(1, 1 << 30)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="attack-chat-"))
    print(f"seed {seed}, folder {folder}", flush=True)
    began = time.monotonic()
    report = kills.attack(folder, options.kills, random.Random(seed), options.within)  # noqa: S311
    during = ", ".join(f"{name} {count}" for name, count in report.killed.most_common())
    print(f"{options.kills} kills in {time.monotonic() - began:.0f} s, during: {during}")
    print(
        f"{report.typed} words typed and {report.received} received; {report.lost} lost, the "
        f"oldest {report.oldest_s:.2f} s before the kill"
    )
    for failure in report.failures:
        print(f"LOST: {failure}", file=sys.stderr)
    if report.failures:
        print(f"Again: scripts/attack_chat --seed {seed}", file=sys.stderr)
        return 1
    if options.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    return 0
