"""`scripts/attack_kv`: run the attacks on a folder of their own, and print what came of them."""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from kv_attacks import disks, hostile, kills
from kv_attacks.contents import Wrong


def main(argv: list[str]) -> int:
    """Attack; return 1 where the store did what it must not."""
    parser = argparse.ArgumentParser(description="Attack the store of saved prompts.")
    parser.add_argument("--files", type=int, default=300, help="hostile files (default: 300)")
    parser.add_argument("--kills", type=int, default=50, help="SIGKILLs (default: 50)")
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    options = parser.parse_args(argv)
    seed = options.seed or random.SystemRandom().randrange(1, 1 << 30)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="attack-kv-"))
    print(f"seed {seed}, folder {folder}", flush=True)
    try:
        began = time.monotonic()
        done = hostile.attack(folder / "hostile", options.files, random.Random(seed))  # noqa: S311
        print(f"{done.total()} hostile files of {len(done)} kinds, {_seconds(began)}: ", end="")
        print("nothing wrong was given, each start was clean", flush=True)
        print(f"disks: {', '.join(disks.attack(folder / 'disk'))}", flush=True)
        began = time.monotonic()
        killed, steps = kills.attack(folder / "kills", options.kills, random.Random(seed))  # noqa: S311
        print(f"{options.kills} kills of 2 processes, {steps} steps, {_seconds(began)}: ", end="")
        print(f"each start was clean; killed during: {_counted(killed)}", flush=True)
    except Wrong as wrong:
        print(f"WRONG: {wrong}\nAgain: scripts/attack_kv --seed {seed}", file=sys.stderr)
        return 1
    if options.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _seconds(began: float) -> str:
    return f"{time.monotonic() - began:.0f} s"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())
