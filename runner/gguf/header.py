"""The public interface to GGUF headers: one file, or all shards of a model.

`runner.gguf.parse` knows the format, `runner.gguf.scan` reads it; both are strict, because a header
may come from anywhere and decides how many gigabytes will be allocated. `runner.gguf.shape` and
`runner.gguf.sizes` interpret a header.
"""

import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from runner.base.errors import BadFile
from runner.base.text import shown
from runner.catalog import shards
from runner.gguf.architectures import table
from runner.gguf.parse import Header, Shards, Skipped, TensorInfo, Value, parse_header
from runner.gguf.scan import HEADER_LIMIT
from runner.gguf.shape import geometry
from runner.gguf.sizes import WeightBytes, layout, weights_bytes

__all__ = [
    "Header",
    "Kind",
    "Shards",
    "Skipped",
    "TensorInfo",
    "Value",
    "WeightBytes",
    "geometry",
    "kind",
    "layout",
    "parse_header",
    "read_header",
    "read_series",
    "read_split",
    "weights_bytes",
    "why_no_chat",
]

Kind = Literal["model", "projector", "mtp", "other"]

_NAMED = 3  # missing shards named in an error


def read_header(path: Path) -> Header:
    """Read the header of one file; BadFile says what is wrong. An OSError is the caller's."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for ever
        raise BadFile(
            f"{shown(path.name)} is not a regular file.",
            why="A model is mapped into memory, which needs one.",
            next="Give the path of a .gguf file.",
        )
    with path.open("rb", buffering=0) as stream:
        header = parse_header(stream, found.st_size, path.name)
    return replace(header, path=path)


def read_split(path: Path) -> tuple[Header, ...]:
    """Read the headers of all shards of a model, in order, from the path of any one of them.

    A model in one file gives one header. BadFile names the shards that are missing, and those
    that do not belong together.
    """

    def look_for(names: Sequence[str]) -> None:
        there = {entry.name for entry in path.parent.iterdir()}
        missing = [name for name in names if name not in there]
        if missing:
            more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
            raise BadFile(
                f"{len(missing)} of {len(names)} parts of this model are missing.",
                why=f"Not in {path.parent}: {', '.join(map(shown, missing[:_NAMED]))}{more}.",
                next="Download the missing parts into the same folder.",
            )

    return read_series(path.name, lambda name: read_header(path.with_name(name)), look_for)


def read_series(
    name: str,
    read: Callable[[str], Header],
    look_for: Callable[[Sequence[str]], None] = lambda _names: None,
) -> tuple[Header, ...]:
    """Read all shards of a model with `read`, which takes a file's name, from any one's name.

    `look_for` is given all names before more than one is read, and raises if some are missing.
    BadFile says which shards do not belong together.
    """
    given = read(name)
    claimed = shards.part(name)
    stated = (given.shards.number, given.shards.count) if given.shards else (1, 1)
    if claimed != stated:
        raise BadFile(
            f"{shown(name)} is not the part that its name says.",
            why=f"Its header says part {stated[0]} of {stated[1]}; an engine finds parts by name.",
            next="Give the files their original names, ...-00001-of-0000N.gguf.",
        )
    if not given.shards:
        return (given,)
    count = given.shards.count
    if count > shards.MOST:
        raise BadFile(
            f"{shown(name)} is part of an impossible series.",
            why=f"Key 'split.count': {count:,} parts; the most is {shards.MOST}.",
            next="Download another quant of the model.",
        )
    names = shards.series(name)
    look_for(names)
    headers: list[Header] = []
    for part in names:
        headers.append(given if part == name else read(part))
        why = _quarrel(headers, given.shards)
        if why:
            raise BadFile(
                f"The parts of {shown(shards.stem(name))} do not belong together.",
                why=why,
                next="Download the whole series again from one place.",
            )
    return tuple(headers)


def _quarrel(headers: Sequence[Header], series: Shards) -> str:
    """Return why the shards so far are not one series; empty if they are."""
    number = len(headers)
    stated = headers[-1].shards or Shards(1, 1, len(headers[-1].tensors))
    if stated != Shards(number, series.count, series.tensors):
        return (
            f"The file named part {number} of {series.count} ({series.tensors:,} tensors in"
            f" all) says that it is part {stated.number} of {stated.count} ({stated.tensors:,})."
        )
    held = sum(len(header.tensors) for header in headers)
    if held > series.tensors or (number == series.count and held < series.tensors):
        return f"They hold {held:,} tensors; their headers promise {series.tensors:,}."
    # What bounds a single header must bound a series of them.
    if sum(header.data_offset for header in headers) > HEADER_LIMIT:
        return "Their headers are larger than 256 MiB in all."
    if number < series.count:
        return ""
    names = {tensor.name for header in headers for tensor in header.tensors}
    return "" if len(names) == held else "Two of them hold the same tensor."


def kind(header: Header) -> Kind:
    """Tell a model from what only goes with one: a projector, draft heads, anything else."""
    if header.arch in {"clip", "mmproj"}:
        return "projector"
    if header.metadata.get("general.type", "model") != "model" or not header.arch:
        return "other"  # an adapter, an importance matrix, a shard after the first
    names = {tensor.name for tensor in header.tensors}
    # Draft heads in a file of their own keep their numbers after the trunk's, which is absent.
    if (
        names
        and not any(n.startswith("blk.0.") for n in names)
        and any(".nextn." in n for n in names)
    ):
        return "mtp"
    return "model"


def why_no_chat(headers: Sequence[Header]) -> str:
    """Return why a file is no model to chat with, in a sentence; empty where it is one.

    `headers`: of all shards, the first of which tells.
    """
    first = headers[0]
    what = kind(first)
    if what != "model":
        stated = first.metadata.get("general.type")
        return _NOT_MODELS.get(stated if what == "other" else what, _NOT_MODELS["other"])
    for entry in table().not_chat:
        if first.arch in entry.architectures.split():
            return entry.why
    if first.metadata.get(f"{first.arch}.pooling_type") in range(1, 5):
        return "It computes embeddings or ranks texts, and does not write answers."
    if not any(header.tensors for header in headers):
        return "It holds a vocabulary and no weights."
    return ""


_NOT_MODELS: Final[Mapping[object, str]] = {
    "projector": "It is a projector for images or audio, which goes with a model.",
    "mtp": "It holds draft heads only, which go with a model.",
    "adapter": "It is an adapter (LoRA), which goes with a model.",
    "imatrix": "It is an importance matrix, which is for making quants.",
    "other": "It is not a language model; it may be an adapter or an importance matrix.",
}
