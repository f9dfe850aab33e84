"""Processes that save, open and evict in a loop, and are killed at a moment that nobody chose."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import IO

from kv_attacks.contents import (
    BOUNDS,
    ENGINES,
    Wrong,
    check_clean,
    check_found,
    check_given,
    content,
    prompt,
)
from runner.kv.saved import Pending
from runner.kv.store import Store

_ROOT = Path(__file__).resolve().parents[2]
STEPS = ("start", "begin", "write", "finish", "open", "find", "used", "abandon", "drop")


def work(folder: Path, seed: int) -> None:
    """Use the store until killed; what it does is written to stdout, one byte for each step."""
    dice = random.Random(seed)  # noqa: S311 - chance, not secrecy
    at = seed % len(ENGINES)
    _say("start")
    store = Store(folder, ENGINES[at], BOUNDS)
    while True:
        number, size = dice.randrange(40), dice.randrange(32, 400_000)
        _say("begin")
        pending = store.begin(prompt(number), int(size * dice.uniform(0.5, 1.5)))
        if isinstance(pending, Pending):
            _say("write")
            path = store.slot_folder / pending.name
            data = content(ENGINES[at], number, size)
            with path.open("wb") as file:
                for start in range(0, size, 65_536):
                    file.write(data[start : start + 65_536])
            if dice.random() < 0.1:
                _say("abandon")
                store.abandon(pending)
            else:
                _say("finish")
                store.finish(pending, 1, dice.random() * 10, size)
        elif not pending:
            raise Wrong("refused without a word")
        for saved in dice.sample(listed := store.listed(), min(3, len(listed))):
            _say("open")
            if saved.depends != ENGINES[at].key():
                continue
            if check_given(store, ENGINES[at], saved) is not None:
                _say("used")
                store.used(saved, dice.randrange(3), 1.0)
        _say("find")
        check_found(store, ENGINES[at], dice.randrange(40))
        if listed and dice.random() < 0.1:
            _say("drop")
            store.drop(dice.choice(listed))


def _say(step: str) -> None:
    os.write(1, bytes([STEPS.index(step)]))


def attack(folder: Path, count: int, dice: random.Random) -> tuple[Counter[str], int]:
    """Kill so many processes, two at work at a time; raise `Wrong` where a start is not clean.

    Returns in which step they were, and how many steps all of them did.
    """
    killed: Counter[str] = Counter()
    steps = 0
    for number in range(count):
        pair = [_started(folder, dice.randrange(1 << 30) * 2 + at) for at in range(2)]
        said = [b"", b""]
        least = dice.choice((1, 2, 10))  # some while they start, most in the middle of their work
        until = 0.0
        while time.monotonic() < until or min(map(len, said)) < least:
            if not until and all(said):
                until = time.monotonic() + dice.uniform(0, 1.5) * (least > 1)
            for at, each in enumerate(pair):
                said[at] += _read(each)
                if each.poll() is not None:
                    raise Wrong(f"A process ended by itself: {each.communicate()[1][-2000:]!r}")
            time.sleep(0.01 * dice.random())
        # Both at once, or one while the other lives on for a moment.
        for each in pair if dice.random() < 0.5 else pair[:1]:
            each.send_signal(signal.SIGKILL)
        if pair[1].poll() is None:
            time.sleep(dice.random() * 0.2)
        for at, each in enumerate(pair):
            each.send_signal(signal.SIGKILL)
            said[at] += each.communicate()[0]
            killed[STEPS[said[at][-1]]] += 1
            steps += len(said[at])
        check_clean(folder)
        for at, engine in enumerate(ENGINES):
            store = Store(folder, engine, BOUNDS)
            for saved in store.listed():
                mine = saved.depends == engine.key()
                if mine and check_given(store, engine, saved) is None:
                    raise Wrong(f"{saved.id} (engine {at}, kill {number}) was lost")
            store.close()
    return killed, steps


def _started(folder: Path, seed: int) -> subprocess.Popen[bytes]:
    call = f"work(Path({str(folder)!r}), {seed})"
    code = f"from pathlib import Path; from kv_attacks.kills import work; {call}"
    paths = os.pathsep.join((str(_ROOT), str(_ROOT / "scripts")))
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    os.set_blocking(_output(process).fileno(), False)
    return process


def _read(process: subprocess.Popen[bytes]) -> bytes:
    return _output(process).read() or b""


def _output(process: subprocess.Popen[bytes]) -> IO[bytes]:
    if process.stdout is None:
        raise TypeError("The process was started without a pipe.")
    return process.stdout
