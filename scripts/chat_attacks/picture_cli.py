"""`scripts/attack_pictures`: give the chat hostile pictures, and print what came of them."""

import argparse
import io
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from chat_attacks.hostile_pictures import PictureCase, make
from runner.base.errors import SteprunError
from runner.chat.images.tokens import LONGEST_PX, cheaper_size
from runner.tui.workshop import PATIENCE_S, Workshop

# `converting.DATA_BYTES`, the interpreter and its libraries.
MOST_BYTES = 1200 << 20


@dataclass
class Outcome:
    """What came of some cases. `slowest`: seconds and the case's number."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, int] = (0.0, -1)
    peak_bytes: int = 0
    crashes: int = 0
    faults: list[str] = field(default_factory=list)


def attack(folder: Path, seed: int, count: int, first: int = 0) -> Outcome:
    """Load `count` cases as the chat does, draw and shrink what loads, and note what is wrong."""
    outcome, workshop = Outcome(), Workshop()
    for number in range(first, first + count):
        case = make(seed, number)
        path = folder / case.name
        path.write_bytes(case.data)
        began = time.monotonic()
        try:
            came = _one(workshop, path, case)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault
            came = "fault"
            outcome.faults.append(f"case {number} ({case.kind}, {case.name}): {error!r}")
        outcome.outcomes[f"{case.kind}: {came}"] += 1
        outcome.slowest = max(outcome.slowest, (time.monotonic() - began, number))
        outcome.peak_bytes = max(outcome.peak_bytes, workshop.peak_bytes())
    outcome.crashes = workshop.started - 1
    workshop.close()
    if outcome.slowest[0] > PATIENCE_S:
        outcome.faults.append(f"case {outcome.slowest[1]} took {outcome.slowest[0]:.1f} s")
    if outcome.peak_bytes > MOST_BYTES:
        outcome.faults.append(f"the process took {outcome.peak_bytes >> 20} MiB")
    return outcome


def _one(workshop: Workshop, path: Path, case: PictureCase) -> str:
    try:
        picture = workshop.load(path)
    except SteprunError as error:
        if case.fine:
            raise ValueError(f"it was refused: {error}") from error
        for text in (error.what, error.why):
            if not text or "Traceback" in text or "\x1b" in text:
                raise ValueError(f"it was refused with {text!r}") from error
        return "refused"
    image = Image.open(io.BytesIO(picture.data), formats=("PNG", "JPEG"))
    image.load()
    if image.size != (picture.width, picture.height) or max(image.size) > LONGEST_PX:
        raise ValueError(f"it has {image.size}, and is said to have {picture.width}")
    workshop.pixels(picture, 20, 20)
    if size := cheaper_size(picture.width, picture.height):
        workshop.scaled(picture, *size)
    return "taken"


def main(argv: list[str]) -> int:
    """Attack; return 1 where anything was at fault."""
    parser = argparse.ArgumentParser(description="Give the chat hostile pictures.")
    parser.add_argument("--count", type=int, default=512, help="pictures (default: 512)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="only this one")
    options = parser.parse_args(argv)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="attack-pictures-") as folder:
        first = options.case or 0
        count = options.count if options.case is None else 1
        outcome = attack(Path(folder), options.seed, count, first)
    for name, number in sorted(outcome.outcomes.items()):
        print(f"{number:5,}  {name}")
    print(
        f"{count} pictures in {time.monotonic() - began:.0f} s; the slowest, number "
        f"{outcome.slowest[1]}, took {outcome.slowest[0]:.1f} s; the process that decodes took "
        f"{outcome.peak_bytes >> 20} MiB at most and was started again {outcome.crashes} times"
    )
    for fault in outcome.faults:
        print(f"FAULT: {fault}", file=sys.stderr)
    return 1 if outcome.faults else 0
