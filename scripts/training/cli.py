"""The command line of training.

`compare` writes random weights and prints by how much the PyTorch graph and the embedded engine
differ, and `examine` scores trained files through an engine. The others train, in this order:
`vision` (the encoder alone), `text` beside it, `pictures` (the trunk on the encoder's tokens) and
`heads`. Start one in the background, stop it and start it again at will: it resumes from its
folder, which git ignores. Each begins with the files of those before it in the same folder; where
there are none, with those that ship or are kept. `pack` makes what ships of a folder's last files.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.model import Weights
    from training.shape import Shape
    from training.stage_language import LanguageStage

KEPT = Path(__file__).parent / "kept"
"""What the trunk's first stage left, with its hash and scores: see the README there."""

SCALED = "mmproj-tiny-step-scaled.gguf"
"""The encoder whose tokens vary by 1, which the trunk is trained with: it is what ships."""

NEEDED = """error: PyTorch is not installed.
  why:  Training is an extra, which steprun itself never needs.
  next: pip install "torch==2.13.0+cpu" && pip install -e ".[train]"
"""


def main(arguments: list[str] | None = None) -> int:
    """Do what was asked for; return the exit status."""
    asked = _parser().parse_args(arguments)
    if asked.stage == "examine":
        return asyncio.run(_examine(asked))
    if asked.stage == "pack":
        return _pack(asked)
    if asked.stage == "doubts":
        return _doubts()
    if find_spec("torch") is None:
        sys.stderr.write(NEEDED)
        return 3
    # Threads that wait for each other spin: two on a busy machine are ten times slower than one.
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch  # noqa: PLC0415 - an extra

    torch.set_num_threads(1)
    if asked.stage == "compare":
        return _compare(asked)
    if hasattr(os, "nice"):
        os.nice(10)
    return _train(asked)


async def _examine(asked: argparse.Namespace) -> int:
    from training.engine import PROGRAM  # noqa: PLC0415
    from training.examine import DRAFTING, SUBJECTS, examine  # noqa: PLC0415

    program = (asked.engine,) if asked.engine else PROGRAM
    subjects = asked.subject or (*SUBJECTS, DRAFTING)
    files = (asked.weights, asked.projector)
    async for score in examine(*files, subjects, asked.number, program):
        print(score, flush=True)
    return 0


def _pack(asked: argparse.Namespace) -> int:
    from training import pack  # noqa: PLC0415

    made = pack.pack(asked.folder / f"tiny-step-{asked.of}.gguf", asked.folder / SCALED)
    pack.renew(made)
    for each in made:
        print(f"{each.path.name:28} {each.bytes:>10,} {each.sha256}")
    return 0


def _doubts() -> int:
    from training import doubts  # noqa: PLC0415

    found = asyncio.run(doubts.record())
    doubts.keep(found)
    for told in found:
        print(told.text)
    return 0


def _compare(asked: argparse.Namespace) -> int:
    from training import compare, compare_trained, pack, shape  # noqa: PLC0415 - they need PyTorch

    if asked.shipped:
        files = pack.PLACE / f"tiny-step-{asked.quant}.gguf", pack.PLACE / pack.PROJECTOR
        for one in asyncio.run(compare_trained.compared(*files, asked.number)):
            print(one)
        return 0
    sizes = shape.TRAINED if asked.size == "trained" else shape.SMALL
    with tempfile.TemporaryDirectory() as folder:
        model = compare.random_model(Path(folder), sizes, asked.quant, asked.seed)
        print(asyncio.run(compare.differences(model, seed=asked.seed)))
    return 0


def _train(asked: argparse.Namespace) -> int:
    from training import loop, shape, stage_vision, world_pictures  # noqa: PLC0415

    sizes = shape.TRAINED if asked.size == "trained" else shape.SMALL
    stage: loop.Stage
    if asked.stage == "vision":
        stage = stage_vision.VisionStage(sizes, world_pictures.pictures(), asked.seed)
    else:
        stage = _language(asked, sizes)
    budget = loop.Budget(60 * asked.minutes, 60 * (asked.this_run or asked.minutes))
    moment = loop.run(stage, asked.folder, budget)
    print(f"{moment.seconds / 60:.1f} of {asked.minutes:g} minutes, {moment.step} steps")
    return 0


def _language(asked: argparse.Namespace, sizes: Shape) -> LanguageStage:
    from training import export, stage_language, vision, world_texts  # noqa: PLC0415

    settings = {
        "text": stage_language.Settings("text", "trunk", rate=0.02),
        "pictures": stage_language.Settings("pictures", "trunk", rate=0.01),
        "heads": stage_language.Settings("heads", "heads", rate=0.015),
    }[asked.stage]
    model = world_texts.model(sizes)
    if asked.stage == "text":
        texts = world_texts.texts(world_texts.TALK)
        return stage_language.LanguageStage(model, texts, asked.seed, settings)
    path = _scaled(asked.folder, sizes)
    encoder = vision.VisionEncoder(sizes.vision, export.read(path))
    # By the encoder's content: a later one must not be trained with an earlier one's tokens.
    name = f"tokens-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}-{asked.cached}"
    seen = world_texts.cached(encoder, world_texts.SEEN[: asked.cached], asked.folder / name)
    unseen = world_texts.cached(encoder, world_texts.UNSEEN[:16])
    texts = world_texts.texts(world_texts.SEEING, seen, unseen)
    start = _start(asked, model.shape)
    return stage_language.LanguageStage(model, texts, asked.seed, settings, start)


def _scaled(folder: Path, sizes: Shape) -> Path:
    """Return the scaled encoder: the folder's own, made if need be, else the one that ships."""
    from training import export, pack, vision, world_texts  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    path, own = folder / SCALED, folder / "mmproj-tiny-step.gguf"
    if not (path.exists() or own.exists()):
        return pack.PLACE / pack.PROJECTOR
    if not path.exists():
        encoder = vision.VisionEncoder(sizes.vision, export.read(own))
        some = world_texts.cached(encoder, range(16))
        export.write_vision(path, sizes, world_texts.unit_variance(encoder.weights, some))
    return path


def _start(asked: argparse.Namespace, shape: Shape) -> Weights:
    """Return the weights that a stage begins with: the trunk's, and heads to be trained."""
    from training import export, initial, pack  # noqa: PLC0415

    before = {"pictures": "text", "heads": "pictures"}[asked.stage]
    own = asked.folder / f"tiny-step-{before}.gguf"
    if own.exists():
        return export.read(own)
    if before == "text":
        return export.read(KEPT / own.name)
    trunk = export.read(pack.PLACE / "tiny-step-F16.gguf")
    return initial.starting(shape.language_table(), asked.seed) | trunk


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="train_tiny_step", description="Train the tiny Step, and compare it with the engine."
    )
    stages = parser.add_subparsers(dest="stage", required=True)
    examine = stages.add_parser("examine", help="score trained files through an engine")
    examine.add_argument("weights", type=Path)
    examine.add_argument("projector", type=Path)
    examine.add_argument(
        "--subject", action="append", help="pictures, calling, zooming, thinking, drafting"
    )
    examine.add_argument("--number", type=int, default=200, help="questions of each subject")
    examine.add_argument("--engine", metavar="PROGRAM", help="llama-server instead of embedded")
    text = "make the files that ship, and renew models.toml"
    command = stages.add_parser("pack", help=text, description=text.capitalize() + ".")
    command.add_argument("--folder", type=Path, default=Path(".training"))
    command.add_argument("--of", default="heads", help="the stage whose weights to take")
    text = "record the odds that the self-test compares engines with"
    stages.add_parser("doubts", help=text, description=text.capitalize() + ".")
    text = "compare random weights in PyTorch and in the embedded engine"
    command = stages.add_parser("compare", help=text, description=text.capitalize() + ".")
    command.add_argument("--size", choices=("small", "trained"), default="small")
    command.add_argument("--quant", choices=("F16", "Q8_0"), default="F16")
    command.add_argument("--seed", type=int, default=17)
    command.add_argument("--shipped", action="store_true", help="the trained weights that ship")
    command.add_argument("--number", type=int, default=20, help="questions of each, with --shipped")
    for name, minutes, text in (
        ("vision", 130, "train the vision encoder on labels of each cell"),
        ("text", 60, "train the trunk on text and tools"),
        ("pictures", 60, "train the trunk on cached tokens of pictures"),
        ("heads", 15, "train the MTP heads on the frozen trunk"),
    ):
        command = stages.add_parser(name, help=text, description=text.capitalize() + ".")
        command.add_argument("--size", choices=("small", "trained"), default="trained")
        command.add_argument("--folder", type=Path, default=Path(".training"))
        command.add_argument("--minutes", type=float, default=minutes, help="planned, in all runs")
        command.add_argument("--this-run", type=float, metavar="MINUTES", help="end this run early")
        command.add_argument("--seed", type=int, default=1)
        command.add_argument("--cached", type=int, default=3000, help="pictures of each kind")
    return parser
