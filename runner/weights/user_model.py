"""A model of the user's own: `--model PATH`, its parts, and what its headers say of it.

It may also lie on the network (`hub.remote_header`): then it can be planned for, not started.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from runner.base.errors import BadFile
from runner.base.text import shown
from runner.gguf import local_file
from runner.gguf.header import Header, geometry, kind, layout, read_header, weights_bytes
from runner.hub import remote_header
from runner.hub.address import address
from runner.plan.launch import EngineFiles
from runner.plan.memory.compute_buffers import STEP_VISION, Vision
from runner.plan.model_spec import ModelSpec, Variant

_MOST_WIDE = 1 << 16  # no tower has pictures, patches or layers wider than this
WIDTH_KEY = "clip.vision.projection_dim"


def read_local(
    path: Path, projector: Path | None, mtp: Path | None, *, see: bool
) -> tuple[ModelSpec, EngineFiles]:
    """Read a model's headers and return it as a `ModelSpec`, with its files.

    A projector that lies beside it and fits is taken by itself. `see`: whether one is wanted.
    Raises BadFile or UsageError with what is wrong with a file.
    """
    headers = local_file.read_model(path)
    first = headers[0].path or path
    width = geometry(headers[0]).embedding_length
    sight = _projector(projector, width) or _beside(first, width)
    heads = _part(mtp, "mtp") if mtp else None
    words = (("--model", path), ("--projector", projector), ("--mtp", mtp))
    return _subject(path.stem, headers, sight, heads, words), EngineFiles(
        weights=first,
        projector=sight.path if sight and see else None,
        mtp=mtp,
    )


def read_anywhere(
    model: str | Path, projector: str | Path | None, mtp: str | Path | None
) -> ModelSpec:
    """Read the headers of a model that is partly on the network; raises as `read_local` does.

    Nothing is looked for beside it: only what was named is asked for.
    """
    text = str(model)
    far = remote_header.is_remote(text)
    headers = remote_header.read_model(text) if far else local_file.read_model(model)
    name = re.split(r"[/\\]", re.sub(r"(?i)\.gguf([?@].*)?$", "", text))[-1]
    sight = _projector(projector, geometry(headers[0]).embedding_length)
    heads = _part(mtp, "mtp") if mtp else None
    words = (("--model", _told(model)), ("--projector", _told(projector)), ("--mtp", _told(mtp)))
    return replace(_subject(name, headers, sight, heads, words), verb="plan")


def _told(file: str | Path | None) -> str | Path | None:
    """Return what people are shown of an address: a signed link keeps its signature to itself."""
    return address(str(file)).text if file and remote_header.is_remote(str(file)) else file


def _subject(
    stem: str,
    headers: Sequence[Header],
    sight: Header | None,
    heads: Header | None,
    words: Iterable[tuple[str, str | Path | None]],
) -> ModelSpec:
    shape, tensors = geometry(headers[0]), weights_bytes(headers)
    variant = Variant(_main_type(headers), tensors.trunk, len(headers), layout=layout(headers))
    return ModelSpec(
        name=re.sub(r"-\d{5}-of-\d{5}$", "", stem),
        geometry=replace(shape, mtp_layers=geometry(heads).mtp_layers) if heads else shape,
        variants=(variant,),
        projector_bytes=sight.file_size if sight else 0,
        vision=_shape(sight) if sight else STEP_VISION,
        mtp_bytes=heads.file_size if heads else tensors.mtp,
        mtp_inside=tensors.mtp > 0,
        mtp_input_bytes=layout([heads]).input if heads else 0,
        words=tuple(str(word) for flag, file in words if file for word in (flag, file)),
    )


def _shape(projector: Header) -> Vision:
    """Return the shape of a vision tower; what its header leaves open is taken from Step's."""

    def number(key: str, default: int) -> int:
        value = projector.metadata.get(f"clip.vision.{key}", default)
        return value if isinstance(value, int) and 0 < value <= _MOST_WIDE else default

    return Vision(
        image=number("image_size", STEP_VISION.image),
        patch=number("patch_size", STEP_VISION.patch),
        width=number("embedding_length", STEP_VISION.width),
        feed_forward=number("feed_forward_length", STEP_VISION.feed_forward),
    )


def _main_type(headers: Sequence[Header]) -> str:
    """Return the type that most of the weights have: file names promise what they like."""
    sizes: Counter[str] = Counter()
    for header in headers:
        for tensor in header.tensors:
            sizes[tensor.type] += tensor.bytes
    return sizes.most_common(1)[0][0] if sizes else "empty"


def _part(file: str | Path, role: str) -> Header:
    far = remote_header.is_remote(str(file))
    header = remote_header.read_file(str(file)) if far else local_file.read_file(file)
    if kind(header) != role:
        raise BadFile(
            f"{_name(file)} is not what --{role} needs.",
            why=f"Its header says that it is: {kind(header)}.",
            next="Give the right file, or leave the option out",
        )
    return header


def _projector(file: str | Path | None, width: int) -> Header | None:
    """Read the projector that was named; it must speak the model's width."""
    if file is None:
        return None
    header = _part(file, "projector")
    if not _fits(header, width):
        raise BadFile(
            f"{_name(file)} belongs to another model.",
            why=f"It gives {shown(str(header.metadata[WIDTH_KEY]))} numbers a token; the model "
            f"takes {width}.",
            next="Give this model's own projector, or leave --projector out",
        )
    return header


def _beside(model: Path, width: int) -> Header | None:
    """Return the one projector in the model's folder that fits; two would be a guess: none."""
    found: list[Header] = []
    for path in sorted(model.parent.glob("*.gguf")):
        if "mmproj" in path.name.lower() and len(found) < 2:
            try:
                header = read_header(path)
            except (BadFile, OSError):
                continue  # nobody asked for it
            if kind(header) == "projector" and _fits(header, width):
                found.append(header)
    return found[0] if len(found) == 1 else None


def _fits(header: Header, width: int) -> bool:
    return header.metadata.get(WIDTH_KEY, width) == width


def _name(file: str | Path) -> str:
    return shown(str(file).partition("?")[0].replace("\\", "/").rpartition("/")[2])
