"""Writes GGUF files, and keeps sets of them: a set is whole or it is not there.

A set of files is written into a scratch folder beside its place and moved there file by file, then
its entry in the key file is renewed; a set whose key and sizes are right is left alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from gguf.gguf_writer import GGUFWriter
from gguf.quants import quantize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runner.testbed.geometry import Tensor
    from runner.testbed.metadata import MetadataEntry

KEY_FILE = ".testbed-key"


@dataclass(frozen=True)
class Written:
    """One file of a set and its length in bytes (a sparse file takes far less disk)."""

    path: Path
    size: int


def write_weights(
    path: Path,
    arch: str,
    entries: Iterable[MetadataEntry],
    tensors: Iterable[tuple[Tensor, npt.NDArray[np.float32]]],
) -> None:
    """Write a file whose data is given; arrays have the tensor's shape back to front."""
    writer = new_writer(path, arch, entries)
    for tensor, values in tensors:
        if values.shape != tensor.shape[::-1]:
            raise ValueError(f"{tensor.name}: {values.shape} is not {tensor.shape[::-1]}")
        writer.add_tensor(tensor.name, quantize(values, tensor.kind), raw_dtype=tensor.kind)
    with closing(writer):
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()


def new_writer(
    path: Path, arch: str, entries: Iterable[MetadataEntry], shard_limit: int = 0
) -> GGUFWriter:
    """Return a writer that has the metadata; `shard_limit`: bytes of tensor data in one file."""
    writer = GGUFWriter(path, arch, split_max_size=shard_limit)
    for entry in entries:
        writer.add_key_value(entry.key, entry.value, entry.kind, entry.item)
    return writer


def ensure(
    folder: Path,
    name: str,
    write: Callable[[Path], None],
    *,
    also: Path | None = None,
    force: bool = False,
) -> tuple[bool, list[Written]]:
    """Have the set `name` in `folder`; tell whether it had to be written, and its files.

    `write` fills an empty folder. The set is current if it was written by this very source, and by
    that of `also` where `write` lies elsewhere.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = source_key(also)
    known = _read_keys(folder).get(name, {})
    if not force and known.get("key") == key and _as_recorded(folder, known["files"]):
        return False, [Written(folder / file, size) for file, size in known["files"].items()]
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder) as scratch:
        write(Path(scratch))
        sizes = {path.name: path.stat().st_size for path in sorted(Path(scratch).iterdir())}
        for file in sizes:
            with (Path(scratch) / file).open("rb+") as made:
                os.fsync(made.fileno())  # before the rename: a crash must not leave zeros
            (Path(scratch) / file).replace(folder / file)
        keys = _read_keys(folder) | {name: {"key": key, "files": sizes}}
        draft = Path(scratch) / KEY_FILE
        draft.write_text(json.dumps(keys, indent=1) + "\n", encoding="utf-8")
        draft.replace(folder / KEY_FILE)
    return True, [Written(folder / file, size) for file, size in sizes.items()]


def source_key(also: Path | None = None) -> str:
    """Hash of everything in this package, and in `also`, that decides what is written."""
    digest = hashlib.sha256()
    package = Path(__file__).parent
    sources = sorted([*package.glob("*.py"), *package.glob("*.jinja")])
    for source in (*sources, *([also] if also else ())):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()


def _read_keys(folder: Path) -> dict[str, Any]:
    try:
        keys = json.loads((folder / KEY_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return keys if isinstance(keys, dict) else {}


def _as_recorded(folder: Path, sizes: dict[str, int]) -> bool:
    return all(
        (folder / file).is_file() and (folder / file).stat().st_size == size
        for file, size in sizes.items()
    )
