"""A model of the user's own: `--model PATH`, its parts, and what its headers say of it."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from runner.errors import BadFile
from runner.plan.launch import EngineFiles
from runner.plan.subject import Subject, Variant
from runner.weights import local
from runner.weights.header import Header, geometry, kind, read_header, weights_bytes

WIDTH_KEY = "clip.vision.projection_dim"


def read(
    path: Path, projector: Path | None, mtp: Path | None, *, see: bool
) -> tuple[Subject, EngineFiles]:
    """Read a model's headers and return it as a subject, with its files.

    A projector that lies beside it and fits is taken by itself. `see`: whether one is wanted.
    Raises BadFile or UsageError with what is wrong with a file.
    """
    headers = local.read_model(path)
    first = headers[0].path or path
    shape = geometry(headers[0])
    tensors = weights_bytes(headers)
    heads_bytes = tensors.mtp
    if mtp is not None:
        heads = _part(mtp, "mtp")
        heads_bytes = heads.file_size
        shape = replace(shape, mtp_layers=geometry(heads).mtp_layers)
    sight = _projector(projector, shape.embedding_length) or _beside(first, shape.embedding_length)
    words = [("--model", path), ("--projector", projector), ("--mtp", mtp)]
    subject = Subject(
        name=re.sub(r"-\d{5}-of-\d{5}$", "", path.stem),
        geometry=shape,
        variants=(Variant(_main_type(headers), tensors.trunk, files=len(headers)),),
        projector_bytes=sight.file_size if sight else 0,
        mtp_bytes=heads_bytes,
        words=tuple(str(word) for flag, file in words if file for word in (flag, file)),
    )
    return subject, EngineFiles(
        weights=first,
        projector=sight.path if sight and see else None,
        mtp=mtp,
    )


def _main_type(headers: Sequence[Header]) -> str:
    """Return the type that most of the weights have: file names promise what they like."""
    sizes: Counter[str] = Counter()
    for header in headers:
        for tensor in header.tensors:
            sizes[tensor.type] += tensor.bytes
    return sizes.most_common(1)[0][0] if sizes else "empty"


def _part(path: Path, role: str) -> Header:
    header = read_header(path)
    if kind(header) != role:
        raise BadFile(
            f"{path.name} is not what --{role} needs.",
            why=f"Its header says that it is: {kind(header)}.",
            next="Give the right file, or leave the option out",
        )
    return header


def _projector(path: Path | None, width: int) -> Header | None:
    """Read the projector that was named; it must speak the model's width."""
    if path is None:
        return None
    header = _part(path, "projector")
    if not _fits(header, width):
        raise BadFile(
            f"{path.name} belongs to another model.",
            why=f"It gives {header.metadata[WIDTH_KEY]} numbers a token; the model takes {width}.",
            next="Give this model's own projector, or leave --projector out",
        )
    return header


def _beside(model: Path, width: int) -> Header | None:
    """Return the one projector in the model's folder that fits; two would be a guess: none."""
    found = []
    for path in sorted(model.parent.glob("*.gguf")):
        if "mmproj" in path.name.lower():
            try:
                header = read_header(path)
            except (BadFile, OSError):
                continue  # nobody asked for it
            if kind(header) == "projector" and _fits(header, width):
                found.append(header)
    return found[0] if len(found) == 1 else None


def _fits(header: Header, width: int) -> bool:
    return header.metadata.get(WIDTH_KEY, width) == width
