"""The command line of training.

`compare` writes random weights (or takes the files given) and prints by how much the PyTorch graph
and the embedded engine differ.
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
    return _compare(asked)


def _compare(asked: argparse.Namespace) -> int:
    from training import compare, shape  # noqa: PLC0415 - they need PyTorch

    sizes = shape.TRAINED if asked.size == "trained" else shape.SMALL
    with tempfile.TemporaryDirectory() as folder:
        model = compare.random_model(Path(folder), sizes, asked.quant, asked.seed)
        print(asyncio.run(compare.differences(model, seed=asked.seed)))
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
    return parser
