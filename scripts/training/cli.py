"""The command line of training.

`compare` writes random weights and prints by how much the PyTorch graph and the embedded engine
differ. `vision` trains the vision encoder (stage 3): start it in the background, stop it and start
it again at will; it resumes from its folder, which git ignores.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

NEEDED = """error: PyTorch is not installed.
  why:  Training is an extra, which steprun itself never needs.
  next: pip install "torch==2.13.0+cpu" && pip install -e ".[train]"
"""


def main(arguments: list[str] | None = None) -> int:
    """Do what was asked for; return the exit status."""
    asked = _parser().parse_args(arguments)
    if find_spec("torch") is None:
        sys.stderr.write(NEEDED)
        return 3
    # Threads that wait for each other spin: two on a busy machine are ten times slower than one.
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch  # noqa: PLC0415 - an extra

    torch.set_num_threads(1)
    return _compare(asked) if asked.stage == "compare" else _vision(asked)


def _compare(asked: argparse.Namespace) -> int:
    from training import compare, shape  # noqa: PLC0415 - they need PyTorch

    sizes = shape.TRAINED if asked.size == "trained" else shape.SMALL
    with tempfile.TemporaryDirectory() as folder:
        model = compare.random_model(Path(folder), sizes, asked.quant, asked.seed)
        print(asyncio.run(compare.differences(model, seed=asked.seed)))
    return 0


def _vision(asked: argparse.Namespace) -> int:
    from training import loop, shape, stage_vision, world_pictures  # noqa: PLC0415

    if hasattr(os, "nice"):
        os.nice(10)
    sizes = shape.TRAINED if asked.size == "trained" else shape.SMALL
    stage = stage_vision.VisionStage(sizes, world_pictures.pictures(), asked.seed)
    budget = loop.Budget(60 * asked.minutes, 60 * (asked.this_run or asked.minutes))
    moment = loop.run(stage, asked.folder, budget)
    print(f"{moment.seconds / 60:.1f} of {asked.minutes:g} minutes, {moment.step} steps")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="train_tiny_step", description="Train the tiny Step, and compare it with the engine."
    )
    stages = parser.add_subparsers(dest="stage", required=True)
    text = "compare random weights in PyTorch and in the embedded engine"
    command = stages.add_parser("compare", help=text, description=text.capitalize() + ".")
    command.add_argument("--size", choices=("small", "trained"), default="small")
    command.add_argument("--quant", choices=("F16", "Q8_0"), default="F16")
    command.add_argument("--seed", type=int, default=17)
    text = "train the vision encoder on labels of each cell"
    command = stages.add_parser("vision", help=text, description=text.capitalize() + ".")
    command.add_argument("--size", choices=("small", "trained"), default="trained")
    command.add_argument("--folder", type=Path, default=Path(".training"))
    command.add_argument("--minutes", type=float, default=130.0, help="planned, in all runs")
    command.add_argument("--this-run", type=float, metavar="MINUTES", help="end this run earlier")
    command.add_argument("--seed", type=int, default=1)
    return parser
