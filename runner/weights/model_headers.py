"""What the headers of a user's own GGUF files (`--model PATH`) say about the model.

The files may also be on the network (`hub.remote_header`): then the model can be planned for, but
not started.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from runner.base.errors import BadFile
from runner.base.text import shown
from runner.gguf import local_file
from runner.gguf import projector as projectors
from runner.gguf.header import Header, geometry, kind, layout, read_header, weights_bytes
from runner.hub import remote_header
from runner.hub.address import address, is_remote
from runner.plan.launch import EngineFiles
from runner.plan.memory.compute_buffers import STEP_VISION, Vision
from runner.plan.model_spec import ModelSpec, Variant

_MOST_BESIDE = 8  # projectors read in a model's folder
_MOST_WIDE = 1 << 16  # no vision encoder has images, patches or layers wider than this


def read_local(
    path: Path, projector: Path | None, mtp: Path | None, *, see: bool
) -> tuple[ModelSpec, EngineFiles]:
    """Read a model's headers and return it as a `ModelSpec`, with its files.

    A projector that fits and is in the same folder is used by default. `see`: whether one is
    wanted. Raises BadFile or UsageError with what is wrong with a file.
    """
    headers = local_file.read_model(path)
    first = headers[0].path or path
    width = geometry(headers[0]).embedding_length
    encoder = _projector(projector, width) or _beside(first, width)
    return _spec(path.stem, headers, encoder, (path, projector, mtp)), EngineFiles(
        weights=first,
        projector=encoder.path if encoder and see else None,
        mtp=mtp,
    )


def read_anywhere(
    model: str | Path, projector: str | Path | None, mtp: str | Path | None
) -> ModelSpec:
    """Read the headers of a model that is partly on the network; raises as `read_local` does.

    Only the named files are read; nothing is looked for beside them.
    """
    text = str(model)
    far = is_remote(text)
    headers = remote_header.read_model(text) if far else local_file.read_model(model)
    name = re.split(r"[/\\]", re.sub(r"(?i)\.gguf([?@].*)?$", "", text))[-1]
    encoder = _projector(projector, geometry(headers[0]).embedding_length)
    return replace(_spec(name, headers, encoder, (model, projector, mtp)), verb="plan")


def _shown(file: str | Path) -> str:
    """Return a path, or an address as it may be shown: a signed link without its signature."""
    return address(file).text if isinstance(file, str) and is_remote(file) else str(file)


def _spec(
    stem: str,
    headers: Sequence[Header],
    encoder: Header | None,
    named: tuple[str | Path, str | Path | None, str | Path | None],
) -> ModelSpec:
    """Describe a model. `named`: the model, the projector and the draft heads, as requested."""
    mtp_header = _part(named[2], "mtp") if named[2] else None
    words = zip(("--model", "--projector", "--mtp"), named, strict=True)
    shape, tensors = geometry(*headers), weights_bytes(headers)
    if encoder and not projectors.is_verified(encoder):
        unsure = "Whether the projector belongs to this model is not verified: neither its tensors "
        unsure += "nor its keys say how wide its output is."
        shape = replace(shape, unverified=(*shape.unverified, unsure))
    variant = Variant(_main_type(headers), tensors.trunk, len(headers), layout=layout(headers))
    return ModelSpec(
        name=re.sub(r"-\d{5}-of-\d{5}$", "", stem),
        geometry=replace(shape, mtp_layers=geometry(mtp_header).mtp_layers)
        if mtp_header
        else shape,
        variants=(variant,),
        projector_bytes=encoder.file_size if encoder else 0,
        vision=_vision(encoder) if encoder else STEP_VISION,
        mtp_bytes=mtp_header.file_size if mtp_header else tensors.mtp,
        mtp_inside=tensors.mtp > 0,
        mtp_input_bytes=layout([mtp_header]).input if mtp_header else 0,
        words=tuple(word for flag, file in words if file for word in (flag, _shown(file))),
    )


def _vision(projector: Header) -> Vision:
    """Return the shape of a vision encoder; what its header leaves out is taken from Step's."""

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
    """Return the type that most of the weights have; file names cannot be trusted for it."""
    sizes: Counter[str] = Counter()
    for header in headers:
        for tensor in header.tensors:
            sizes[tensor.type] += tensor.bytes
    return sizes.most_common(1)[0][0] if sizes else "empty"


def _part(file: str | Path, role: str) -> Header:
    far = is_remote(str(file))
    header = remote_header.read_file(str(file)) if far else local_file.read_file(file)
    if kind(header) != role:
        raise BadFile(
            f"{_name(file)} is not what --{role} needs.",
            why=f"Its header says that it is: {kind(header)}.",
            next="Give the right file, or leave the option out.",
        )
    return header


def _projector(file: str | Path | None, width: int) -> Header | None:
    """Read the projector that was named; its width must be the model's."""
    if file is None:
        return None
    header = _part(file, "projector")
    if not projectors.sees(header):
        raise BadFile(
            f"{_name(file)} is not for images.",
            why="It is a projector for audio, which this chat cannot send.",
            next="Give the model's projector for images, or leave --projector out.",
        )
    found = projectors.width(header)
    if found is not None and found.elements != width:
        raise BadFile(
            f"{_name(file)} belongs to another model.",
            why=f"Its embeddings have {found.elements} dimensions; the model takes {width}.",
            next="Give this model's own projector, or leave --projector out.",
        )
    return header


def _beside(model: Path, width: int) -> Header | None:
    """Return the projector in the model's folder that fits; None if several do.

    One whose width is seen goes before those of which nothing tells.
    """
    found: list[Header] = []
    for path in sorted(model.parent.glob("*.gguf")):
        if "mmproj" in path.name.lower() and len(found) < _MOST_BESIDE:
            try:
                header = read_header(path)
            except (BadFile, OSError):
                continue  # it was not requested
            if kind(header) == "projector" and projectors.fits(header, width):
                found.append(header)
    found = [header for header in found if projectors.is_verified(header)] or found
    return found[0] if len(found) == 1 else None


def _name(file: str | Path) -> str:
    return shown(str(file).partition("?")[0].replace("\\", "/").rpartition("/")[2])
