"""The command line of the test bed.

`tiny` writes four files (25 MB): ``tiny-step.gguf`` (trunk and three MTP heads),
``tiny-step-trunk.gguf`` (no heads), ``tiny-step-mtp.gguf`` (heads as a draft file) and
``mmproj-tiny-step.gguf``. `twin` writes six sparse ones: ``step-twin-QUANT.gguf``, the same as
three shards, ``step-twin-mtp.gguf`` and ``mmproj-step-twin.gguf``. Each prints one line a file,
path and bytes with a tab between.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from runner.testbed import files, tiny_step
from testbed import twin


def main(arguments: list[str] | None = None) -> int:
    """Write what was asked for, unless it is there; return the exit status."""
    asked = _parser().parse_args(arguments)
    if asked.set == "twin":
        if sys.platform == "win32":
            sys.stderr.write("The twin needs sparse files, which this system does not make.\n")
            return 3
        written = twin.ensure(asked.out, asked.quant, force=asked.force)
    else:
        _, written = files.ensure(asked.out, "tiny", tiny_step.write, force=asked.force)
    for file in written:
        sys.stdout.write(f"{file.path}\t{file.size}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make_testbed", description="Write the models that steprun is rehearsed with."
    )
    sets = parser.add_subparsers(dest="set", required=True)
    for name, text in (
        ("tiny", "a Step of ten megabytes that really runs, and its projector"),
        ("twin", "the full-size model as sparse files of zeros"),
    ):
        command = sets.add_parser(name, help=text, description=f"Write {text}.")
        command.add_argument("--out", type=Path, required=True, metavar="DIR")
        command.add_argument("--force", action="store_true", help="write even what is current")
        if name == "twin":
            command.add_argument("--quant", choices=sorted(twin.QUANTS), default="IQ4_XS")
    return parser
