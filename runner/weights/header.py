"""GGUF headers, read with suspicion: what a file says it holds, checked against what it is.

Format: docs/gguf.md of ggml, versions 2 and 3, little endian. Strictness follows llama.cpp's own
reader (ggml/src/gguf.cpp): a file that it would refuse is refused here, with a better reason and
before 100 GB are read. Arrays of strings are skipped, since a vocabulary's length is enough.
"""

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from runner.catalog import Geometry, Layer
from runner.errors import BadFile
from runner.weights.scan import ENTRIES_LIMIT, TENSOR_TYPES, Scanner, other_format, shown

KEEP_ENTRIES = 4096  # per array of numbers; a longer one is a vocabulary's
_KEEP_ALL = 1 << 18  # in all arrays together
_MAX_DIMS = 4
_MAX_NAME = 63  # bytes; GGML_MAX_NAME less the closing zero
_MAX_LAYERS = 1024  # llama.cpp's LLAMA_MAX_LAYERS is 512
_BIG_ENDIAN = frozenset(int.from_bytes(v.to_bytes(4, "little"), "big") for v in (1, 2, 3))
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")

# GGUF's value type number -> struct code; 8 is a string and 9 an array.
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}  # fmt: skip  # noqa: E501
_STRING, _ARRAY, _U32_TYPE = 8, 9, 4
_SCALARS = {kind: struct.Struct("<" + code) for kind, code in _NUMBERS.items()}


@dataclass(frozen=True, slots=True)
class Skipped:
    """An array whose entries were not kept."""

    length: int


Value = str | int | float | bool | tuple[int | float | bool, ...] | Skipped


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor. `offset`: bytes from `Header.data_offset`; `bytes`: without padding."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Shards:
    """A shard's own account of its series: `number` counts from 1, `tensors` is of all."""

    number: int
    count: int
    tensors: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a GGUF file says of itself. Sizes and offsets are bytes."""

    version: int
    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    data_offset: int
    alignment: int
    file_size: int
    shards: Shards | None = None
    path: Path | None = None

    @property
    def arch(self) -> str:
        """The architecture's name, empty where there is none (shards after the first)."""
        return str(self.metadata.get("general.architecture", ""))


@dataclass(frozen=True, slots=True)
class WeightBytes:
    """Where a model's tensor bytes are: the trunk, and draft heads that lie in the same files.

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
        return replace(parse(stream, path.stat().st_size, path.name), path=path)


def parse(stream: BinaryIO, size: int, name: str = "the file") -> Header:
    """Read a header from a seekable stream of `size` bytes; errors call it `name`."""
    scan = Scanner(stream, size, shown(name))
    if size == 0:
        scan.fail("It is empty.")
    head = scan.raw(min(size, 512), "the first bytes")
    if head[:4] != b"GGUF":
        scan.fail(other_format(head), "Give the path of a .gguf file, or fetch it again.")
    scan = Scanner(stream, size, scan.name)
    scan.skip(4, "magic")
    version = scan.u32("version")
    if version in _BIG_ENDIAN:
        scan.fail("It is big endian, made for IBM Z; no machine that steprun runs on reads it.",
                  "Fetch the little-endian file.")  # fmt: skip
    if version not in {2, 3}:
        scan.fail(f"Its version is {version}; versions 2 and 3 are known.")
    tensor_count, key_count = scan.u64("tensor count"), scan.u64("key count")
    for what, count in (("tensors", tensor_count), ("keys", key_count)):
        if count > ENTRIES_LIMIT:
            scan.fail(f"the header: it promises {count:,} {what}; the most is {ENTRIES_LIMIT:,}.")
    metadata = _metadata(scan, key_count)
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        scan.fail("key 'general.alignment': it is not a power of two.")
    tensors = _tensors(scan, tensor_count, alignment)
    data_offset = -(-scan.position // alignment) * alignment
    for tensor in tensors:
        end = data_offset + tensor.offset + tensor.bytes
        if end > size:
            raise BadFile(
                f"{scan.name} is cut off",
                why=f"Tensor {shown(tensor.name)} ends at byte {end:,}, the file at {size:,}.",
                next="Fetch the file again; a download may still be running.",
            )
    return Header(version, MappingProxyType(metadata), tensors, data_offset, alignment, size,
                  _shards(scan, metadata))  # fmt: skip


def _metadata(scan: Scanner, count: int) -> dict[str, Value]:
    metadata: dict[str, Value] = {}
    keep = _KEEP_ALL
    for number in range(1, count + 1):
        scan.what = f"key {number} of {count}"
        key = scan.text("name")
        scan.what = f"key {shown(key)}"
        if not key or key in metadata:
            scan.fail(f"{scan.what}: it is {'there twice' if key else 'empty'}.")
        kind = scan.u32("type")
        value: Value
        if kind == _ARRAY:
            value = _array(scan, keep)
            keep -= len(value) if isinstance(value, tuple) else 0
        elif kind == _STRING:
            value = scan.text("value")
        elif kind in _SCALARS:
            value = scan.fields(_SCALARS[kind], "value")[0]
        else:
            scan.fail(f"{scan.what}: its type is {kind}; there are 0 to 12.")
        metadata[key] = value
    return metadata


def _array(scan: Scanner, keep: int) -> Value:
    kind, length = scan.u32("array type"), scan.u64("array length")
    if kind == _STRING:
        scan.skip_strings(length, "strings")
        return Skipped(length)
    if kind not in _NUMBERS:
        scan.fail(f"{scan.what}: its entries are of type {kind}, which no array may hold.")
    if length > min(KEEP_ENTRIES, keep):
        scan.skip(length * _SCALARS[kind].size, "array")
        return Skipped(length)
    return tuple(scan.fields(struct.Struct(f"<{length}{_NUMBERS[kind]}"), "array"))


def _tensors(scan: Scanner, count: int, alignment: int) -> tuple[Tensor, ...]:
    tensors: list[Tensor] = []
    names: set[str] = set()
    offset = 0
    for number in range(1, count + 1):
        scan.what = f"tensor {number} of {count}"
        length = scan.u64("name")
        if length > _MAX_NAME:
            scan.fail(f"{scan.what}: its name has {length:,} bytes; the most is {_MAX_NAME}.")
        name = scan.raw(length, "name").decode("utf-8", "backslashreplace")
        scan.what = f"tensor {shown(name)}"
        if name in names:
            scan.fail(f"{scan.what}: it is there twice.")
        names.add(name)
        tensor = _tensor(scan, name)
        # llama.cpp takes no gaps either, so this also rules out tensors that share bytes.
        if tensor.offset != offset:
            scan.fail(f"{scan.what}: its offset is {tensor.offset:,}, not {offset:,}: the tensors"
                      f" must follow each other, aligned to {alignment}.")  # fmt: skip
        offset = -(-(offset + tensor.bytes) // alignment) * alignment
        tensors.append(tensor)
    return tuple(tensors)


def _tensor(scan: Scanner, name: str) -> Tensor:
    dims = scan.u32("dimensions")
    if dims > _MAX_DIMS:
        scan.fail(f"{scan.what}: it has {dims:,} dimensions; the most is {_MAX_DIMS}.")
    shape = tuple(scan.u64("shape") for _ in range(dims))
    if 0 in shape or prod(shape) >= 1 << 63:
        scan.fail(f"{scan.what}: its shape {list(shape)} is empty or overflows.")
    kind, offset = scan.u32("type"), scan.u64("offset")
    if kind not in TENSOR_TYPES:
        scan.fail(f"{scan.what}: its type is number {kind}, which is withdrawn, or newer than this"
                  " steprun.", "Update steprun, or fetch another quant.")  # fmt: skip
    type_name, block, block_bytes = TENSOR_TYPES[kind]
    row = shape[0] if shape else 1
    if row % block:
        scan.fail(f"{scan.what}: rows of {row:,} do not divide into {type_name} blocks of {block}.")
    return Tensor(name, shape, type_name, offset, prod(shape) // block * block_bytes)


def _shards(scan: Scanner, metadata: dict[str, Value]) -> Shards | None:
    count = metadata.get("split.count", 0)
    if count in {0, 1}:
        return None
    number, tensors = metadata.get("split.no"), metadata.get("split.tensors.count")
    if type(count) is not int or type(number) is not int or type(tensors) is not int:
        scan.fail("key 'split.count': its companions split.no and split.tensors.count are missing.")
    if not 0 <= number < count or not 0 <= tensors <= ENTRIES_LIMIT:
        scan.fail(f"key 'split.no': there can be no part {number + 1} of {count}.")
    return Shards(number + 1, count, tensors)


def read_split(path: Path) -> tuple[Header, ...]:
    """Read the headers of all shards of a model, in order, from the path of any one of them.

    A model in one file gives one header. BadFile names the shards that are missing, and those
    that do not belong together.
    """
    first = read_header(path)
    match = _SHARD.fullmatch(path.name)
    claimed = (int(match["number"]), int(match["count"])) if match else (1, 1)
    said = (first.shards.number, first.shards.count) if first.shards else (1, 1)
    if claimed != said:
        raise BadFile(
            f"{shown(path.name)} is not the part that its name says",
            why=f"Its header says part {said[0]} of {said[1]}; the engine finds the parts by name.",
            next="Give the files their original names, ...-00001-of-0000N.gguf.",
        )
    if not match or not first.shards:
        return (first,)
    count = first.shards.count
    names = [f"{match['stem']}-{n:05d}-of-{count:05d}.gguf" for n in range(1, count + 1)]
    there = {entry.name for entry in path.parent.iterdir()}
    missing = [name for name in names if name not in there]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""  # noqa: PLR2004
        raise BadFile(
            f"{len(missing)} of {count} parts of {shown(match['stem'])} are missing",
            why=f"Not in {path.parent}: {', '.join(shown(name) for name in missing[:3])}{more}.",
            next="Fetch the missing parts into the same folder.",
        )
    headers = tuple(first if n == path.name else read_header(path.with_name(n)) for n in names)
    _check_series(headers, first.shards, path.parent / names[0])
    return headers


def _check_series(headers: tuple[Header, ...], shards: Shards, path: Path) -> None:
    why = ""
    for number, header in enumerate(headers, 1):
        if header.shards != Shards(number, shards.count, shards.tensors):
            why = f"Part {number} says that it is {header.shards}."
    tensors = [tensor.name for header in headers for tensor in header.tensors]
    if not why and len(tensors) != shards.tensors:
        why = f"They hold {len(tensors):,} tensors; their headers promise {shards.tensors:,}."
    if not why and len(set(tensors)) != len(tensors):
        why = "Two of them hold the same tensor."
    if why:
        raise BadFile(
            f"the parts of {shown(path.name)} do not belong together",
            why=why,
            next="Fetch the whole series again from one place.",
        )
