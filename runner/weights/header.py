"""GGUF headers: read with suspicion, then asked what they mean for memory.

`runner.weights.parse` knows the format, `runner.weights.scan` does the reading; both are strict,
because a header may come from anywhere and says how many gigabytes will be allocated.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from runner.catalog import Geometry, Layer
from runner.errors import BadFile
from runner.weights.parse import Header, Shards, Skipped, Tensor, Value, parse
from runner.weights.scan import shown

__all__ = [
    "Header",
    "Kind",
    "Shards",
    "Skipped",
    "Tensor",
    "Value",
    "WeightBytes",
    "geometry",
    "kind",
    "parse",
    "read_header",
    "read_split",
    "weights_bytes",
]

Kind = Literal["model", "projector", "mtp", "other"]

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
_MAX_LAYERS = 1024  # llama.cpp's LLAMA_MAX_LAYERS is 512
_NAMED = 3  # missing shards named in an error

# Architectures whose files may leave the pattern of sliding layers to the engine: of each so many
# layers the last attends to everything (`load_swa_pattern` in llama.cpp's src/models/*.cpp).
# For any other, no pattern means that every layer is taken as full: too much memory, never less.
_FULL_EVERY = {
    "cohere2": 4,
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gpt-oss": 2,
    "olmo2": 4,
}


@dataclass(frozen=True, slots=True)
class WeightBytes:
    """A model's tensor bytes: the trunk, and draft heads that lie in the same files.

    `experts` is that part of the trunk which holds routed experts.
    """

    trunk: int
    mtp: int
    experts: int

    @property
    def total(self) -> int:
        """All tensors together."""
        return self.trunk + self.mtp


def read_header(path: Path) -> Header:
    """Read the header of one file; BadFile says what is wrong. An OSError is the caller's."""
    with path.open("rb", buffering=0) as stream:
        header = parse(stream, path.stat().st_size, path.name)
    return replace(header, path=path)


def read_split(path: Path) -> tuple[Header, ...]:
    """Read the headers of all shards of a model, in order, from the path of any one of them.

    A model in one file gives one header. BadFile names the shards that are missing, and those
    that do not belong together.
    """
    given = read_header(path)
    match = _SHARD.fullmatch(path.name)
    claimed = (int(match["number"]), int(match["count"])) if match else (1, 1)
    said = (given.shards.number, given.shards.count) if given.shards else (1, 1)
    if claimed != said:
        raise BadFile(
            f"{shown(path.name)} is not the part that its name says",
            why=f"Its header says part {said[0]} of {said[1]}; the engine finds the parts by name.",
            next="Give the files their original names, ...-00001-of-0000N.gguf.",
        )
    if not match or not given.shards:
        return (given,)
    count = given.shards.count
    names = [f"{match['stem']}-{n:05d}-of-{count:05d}.gguf" for n in range(1, count + 1)]
    there = {entry.name for entry in path.parent.iterdir()}
    missing = [name for name in names if name not in there]
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise BadFile(
            f"{len(missing)} of {count} parts of {shown(match['stem'])} are missing",
            why=f"Not in {path.parent}: {', '.join(map(shown, missing[:_NAMED]))}{more}.",
            next="Fetch the missing parts into the same folder.",
        )
    headers = tuple(given if n == path.name else read_header(path.with_name(n)) for n in names)
    why = _quarrel(headers, given.shards)
    if why:
        raise BadFile(
            f"the parts of {shown(match['stem'])} do not belong together",
            why=why,
            next="Fetch the whole series again from one place.",
        )
    return headers


def _quarrel(headers: Sequence[Header], series: Shards) -> str:
    """Say why the shards are not one series; nothing if they are."""
    for number, header in enumerate(headers, 1):
        told = header.shards or Shards(1, 1, len(header.tensors))
        if told != Shards(number, series.count, series.tensors):
            return (
                f"The file named part {number} of {series.count} ({series.tensors:,} tensors in"
                f" all) says that it is part {told.number} of {told.count} ({told.tensors:,})."
            )
    names = [tensor.name for header in headers for tensor in header.tensors]
    if len(names) != series.tensors:
        return f"They hold {len(names):,} tensors; their headers promise {series.tensors:,}."
    if len(set(names)) != len(names):
        return "Two of them hold the same tensor."
    return ""


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


def weights_bytes(headers: Sequence[Header]) -> WeightBytes:
    """Add up the tensors of a model's shards (all of them: the first one knows the layers)."""
    count = _number(headers[0], "block_count", 0, _MAX_LAYERS, 0)
    trunk_layers = count - _number(headers[0], "nextn_predict_layers", 0, count, 0)
    trunk = mtp = experts = 0
    for header in headers:
        for tensor in header.tensors:
            block = re.match(r"blk\.(\d+)\.", tensor.name, re.ASCII)
            if count and block and int(block[1]) >= trunk_layers:
                mtp += tensor.bytes
            else:
                trunk += tensor.bytes
                experts += tensor.bytes if "_exps." in tensor.name else 0
    return WeightBytes(trunk, mtp, experts)


def geometry(header: Header) -> Geometry:
    """Read a model's shape from the header of its first shard; BadFile names a missing key.

    Where a header leaves something open, the answer is the one that takes more memory.
    """
    count = _number(header, "block_count", 1, _MAX_LAYERS)
    heads = _number(header, "nextn_predict_layers", 0, count - 1, 0)
    embedding = _number(header, "embedding_length", 1, 1 << 20)
    query_heads = _per_layer(header, "attention.head_count", count)
    kv_heads = _per_layer(header, "attention.head_count_kv", count, query_heads)
    head_size = embedding // max(1, query_heads[0])
    key = _number(header, "attention.key_length", 1, 1 << 16, head_size)
    value = _number(header, "attention.value_length", 1, 1 << 16, head_size)
    window = _number(header, "attention.sliding_window", 0, 1 << 30, 0)
    sliding = _sliding(header, count) if window else [False] * count
    key_swa = _number(header, "attention.key_length_swa", 1, 1 << 16, key)
    value_swa = _number(header, "attention.value_length_swa", 1, 1 << 16, value)
    layers = tuple(
        Layer(kv_heads[i], key_swa, value_swa, sliding=True)
        if sliding[i]
        else Layer(kv_heads[i], key, value, sliding=False)
        for i in range(count)
    )
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    listed = tokens.length if isinstance(tokens, Skipped) else 0
    return Geometry(
        arch=header.arch,
        context_length=_number(header, "context_length", 1, 1 << 40),
        embedding_length=embedding,
        vocab_size=listed or _number(header, "vocab_size", 0, 1 << 30, 0),
        layers=layers[: count - heads],
        sliding_window=window if any(sliding) else 0,
        mtp_layers=layers[count - heads :],
        experts=_number(header, "expert_count", 0, 1 << 16, 0),
        experts_used=_number(header, "expert_used_count", 0, 1 << 16, 0),
        feed_forward_length=max(_per_layer(header, "feed_forward_length", count, [0] * count)),
        expert_feed_forward_length=max(
            _per_layer(header, "expert_feed_forward_length", count, [0] * count)
        ),
    )


def _sliding(header: Header, count: int) -> list[bool]:
    """Say for each layer whether it slides: by a flag each, by a period, or by the table."""
    pattern = header.metadata.get(f"{header.arch}.attention.sliding_window_pattern")
    if isinstance(pattern, tuple) or (pattern is None and header.arch not in _FULL_EVERY):
        flags = _per_layer(header, "attention.sliding_window_pattern", count, [0] * count)
        return [bool(flag) for flag in flags]
    period = _number(
        header, "attention.sliding_window_pattern", 0, 1 << 16, _FULL_EVERY.get(header.arch)
    )
    # 0: all slide. Some architectures put the full layer first; as it is not known which, an
    # unlisted one counts so, which gives as many full layers or one more.
    full = period - 1 if header.arch in _FULL_EVERY else 0
    return [period == 0 or i % period != full for i in range(count)]


def _number(header: Header, key: str, least: int, most: int, default: int | None = None) -> int:
    value = header.metadata.get(f"{header.arch}.{key}", default)
    if type(value) is not int or not least <= value <= most:
        raise _bad(header, key, "it is missing" if value is None else f"it is {_brief(value)}")
    return value


def _per_layer(
    header: Header, key: str, count: int, default: Sequence[int] | None = None
) -> Sequence[int]:
    """Read a key that is either one number for all layers or one for each."""
    value = header.metadata.get(f"{header.arch}.{key}")
    if value is None and default is not None:
        return default
    values = [value] * count if type(value) is int else value
    if not isinstance(values, (list, tuple)) or len(values) < count:
        raise _bad(header, key, f"it does not say a number for each of {count} layers")
    numbers = [entry for entry in values[:count] if isinstance(entry, int) and 0 <= entry < 1 << 24]
    if len(numbers) < count:
        raise _bad(header, key, f"it is {_brief(value)}")
    return numbers


def _brief(value: object) -> str:
    return shown(str(value))


def _bad(header: Header, key: str, why: str) -> BadFile:
    name = shown(header.path.name) if header.path else "the file"
    return BadFile(
        f"{name} is not a model that can be planned for",
        why=f"Key {shown(f'{header.arch}.{key}')}: {why}.",
        next="Fetch the file again, or another quant of the model.",
    )
