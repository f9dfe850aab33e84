"""Parses and validates GGUF headers.

Format: docs/gguf.md of ggml, versions 2 and 3, little endian. Strictness follows llama.cpp's own
reader (ggml/src/gguf.cpp): a file that it would refuse is refused here, with a better reason and
before 100 GB are read. Arrays of strings are skipped, since a vocabulary's length is enough.
`runner.gguf.header` is the public interface.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from runner.base.errors import BadFile
from runner.base.text import shown
from runner.gguf.scan import ENTRIES_LIMIT, TENSOR_TYPES, Scanner, other_format

KEEP_ENTRIES = 4096  # per array of numbers; a longer one is a vocabulary's
_KEEP_ALL = 1 << 18  # in all arrays together
_MAX_DIMS = 4
_MAX_NAME = 63  # bytes; GGML_MAX_NAME less the closing zero
_ALIGNMENTS = frozenset(1 << n for n in range(21))  # 32 in practice
_VERSIONS = (2, 3)
_SWAPPED = tuple(int.from_bytes(bytes((0, 0, 0, version)), "little") for version in (1, *_VERSIONS))

# GGUF's numbers for value types: 8 is a string, 9 an array, the rest are numbers.
_STRING, _ARRAY = 8, 9
_CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_SCALARS = {kind: struct.Struct("<" + code) for kind, code in _CODES.items()}


@dataclass(frozen=True, slots=True)
class Skipped:
    """An array whose entries were not kept."""

    length: int


Value = str | int | float | bool | tuple[int | float | bool, ...] | Skipped


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor. `offset`: bytes from `Header.data_offset`; `bytes`: without padding."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Shards:
    """A shard's place in its series: `number` counts from 1, `tensors` is of all shards."""

    number: int
    count: int
    tensors: int


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a GGUF file. Sizes and offsets are bytes."""

    version: int
    metadata: Mapping[str, Value]
    tensors: tuple[TensorInfo, ...]
    data_offset: int
    alignment: int
    file_size: int
    shards: Shards | None = None
    path: Path | None = None

    @property
    def arch(self) -> str:
        """The architecture's name, empty where there is none (shards after the first)."""
        return str(self.metadata.get("general.architecture", ""))


def parse_header(stream: BinaryIO, size: int, name: str = "the file") -> Header:
    """Read a header from a seekable stream of `size` bytes; errors call it `name`.

    Raises BadFile, which names the field, for anything that an engine would refuse, such as
    tensor data past the end of the file.
    """
    scan = Scanner(stream, size, shown(name))
    version = _magic(scan)
    tensor_count, key_count = scan.u64("tensor count"), scan.u64("key count")
    for what, count in (("tensors", tensor_count), ("keys", key_count)):
        if count > ENTRIES_LIMIT:
            scan.fail(f"the header: it declares {count:,} {what}; the most is {ENTRIES_LIMIT:,}.")
    metadata = _metadata(scan, key_count)
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or alignment not in _ALIGNMENTS:
        scan.fail("key 'general.alignment': it is not a power of two up to 1 MiB.")
    tensors = _tensors(scan, tensor_count, alignment)
    header = Header(
        version=version,
        metadata=MappingProxyType(metadata),
        tensors=tensors,
        data_offset=_aligned(scan.position, alignment),
        alignment=alignment,
        file_size=size,
        shards=_shards(scan, metadata),
    )
    for tensor in tensors:
        end = header.data_offset + tensor.offset + tensor.bytes
        if end > size:
            raise BadFile(
                f"{scan.name} is cut off.",
                why=f"Tensor {shown(tensor.name)} ends at byte {end:,}, the file at {size:,}.",
                next="Download the file again; a download may still be running.",
            )
    return header


def _magic(scan: Scanner) -> int:
    """Read the first eight bytes and return the version."""
    if scan.size == 0:
        scan.fail("It is empty.")
    head = scan.peek(512)
    if head[:4] != b"GGUF":
        scan.fail(other_format(head), "Give the path of a .gguf file, or download it again.")
    scan.skip(4, "magic")
    version = scan.u32("version")
    if version in _SWAPPED:
        scan.fail(
            "It is big endian, made for IBM Z; no machine that steprun runs on reads it.",
            "Download the little-endian file.",
        )
    if version not in _VERSIONS:
        scan.fail(f"version: it is {version}; versions 2 and 3 are known.")
    return version


def _metadata(scan: Scanner, count: int) -> dict[str, Value]:
    metadata: dict[str, Value] = {}
    keep = _KEEP_ALL
    for number in range(1, count + 1):
        scan.what = f"key {number} of {count}"
        key = scan.text("name")
        if not key:
            scan.fail(f"{scan.what}: its name is empty.")
        scan.what = f"key {shown(key)}"
        if key in metadata:
            scan.fail(f"{scan.what}: it occurs twice.")
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
    if kind not in _CODES:
        scan.fail(f"{scan.what}: its entries are of type {kind}, which no array may hold.")
    if length > min(KEEP_ENTRIES, keep):
        scan.skip(length * _SCALARS[kind].size, "array")
        return Skipped(length)
    return tuple(scan.fields(struct.Struct(f"<{length}{_CODES[kind]}"), "array"))


def _tensors(scan: Scanner, count: int, alignment: int) -> tuple[TensorInfo, ...]:
    tensors: list[TensorInfo] = []
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
            scan.fail(f"{scan.what}: it occurs twice.")
        names.add(name)
        tensor = _tensor(scan, name)
        # llama.cpp takes no gaps either, so this also rules out tensors that share bytes.
        if tensor.offset != offset:
            scan.fail(
                f"{scan.what}: its offset is {tensor.offset:,}, not {offset:,}: tensors follow"
                f" each other, aligned to {alignment:,} bytes."
            )
        offset = _aligned(offset + tensor.bytes, alignment)
        tensors.append(tensor)
    return tuple(tensors)


def _tensor(scan: Scanner, name: str) -> TensorInfo:
    dims = scan.u32("dimensions")
    if dims > _MAX_DIMS:
        scan.fail(f"{scan.what}: it has {dims:,} dimensions; the most is {_MAX_DIMS}.")
    shape = tuple(scan.u64("shape") for _ in range(dims))
    if 0 in shape or prod(shape) >= 1 << 63:
        scan.fail(f"{scan.what}: its shape {list(shape)} is empty or overflows.")
    kind, offset = scan.u32("type"), scan.u64("offset")
    if kind not in TENSOR_TYPES:
        scan.fail(
            f"{scan.what}: its type is number {kind}: withdrawn, or newer than this steprun.",
            "Update steprun, or download another quant.",
        )
    type_name, block, block_bytes = TENSOR_TYPES[kind]
    row = shape[0] if shape else 1
    if row % block:
        scan.fail(f"{scan.what}: rows of {row:,} do not divide into {type_name} blocks of {block}.")
    return TensorInfo(name, shape, type_name, offset, prod(shape) // block * block_bytes)


def _shards(scan: Scanner, metadata: Mapping[str, Value]) -> Shards | None:
    count = metadata.get("split.count", 0)
    if count in {0, 1}:
        return None
    number, tensors = metadata.get("split.no"), metadata.get("split.tensors.count")
    # `type`, not isinstance: a bool is not a count.
    if type(count) is not int or type(number) is not int or type(tensors) is not int:
        scan.fail("keys 'split.count', 'split.no', 'split.tensors.count': one is missing.")
    if not 0 <= number < count or not 0 <= tensors <= ENTRIES_LIMIT:
        scan.fail(f"key 'split.no': part {number + 1} of {count}, {tensors:,} tensors: impossible.")
    return Shards(number + 1, count, tensors)


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
