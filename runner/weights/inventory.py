"""Which files of the catalog are on this disk, in what state and how large; and removing them."""

import enum
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runner.base.disk import explained
from runner.catalog import shards
from runner.catalog.model import ModelFile
from runner.hub.address import hub_name
from runner.weights import cache_layout, published, verified
from runner.weights.hub_files import local
from runner.weights.published import Published


class FileState(enum.StrEnum):
    """The state of a file; the values are those of `steprun models --json`."""

    ABSENT = "absent"
    PARTIAL = "begun"  # its download has begun
    INSTALLED = "here"  # in full size, not verified yet
    VERIFIED = "proven"
    DAMAGED = "wrong"


@dataclass(frozen=True, slots=True)
class Kept:
    """A file of the catalog, as it is on this disk.

    `bytes`: what removing it would free: 0 where it is a link to another program's file, which is
    `target` then, and where it ships with steprun.
    """

    file: ModelFile
    state: FileState
    path: Path | None
    bytes: int
    target: Path | None = None


def look(files: Iterable[ModelFile], model: str) -> list[Kept]:
    """Return how some files of a model are on this disk. Only the verdicts are read."""
    known = verified.recall_all()
    return [_kept(file, model, known) for file in files]


def _kept(file: ModelFile, model: str, known: verified.Verdicts) -> Kept:
    path = cache_layout.locate(file, model)
    if path is None:
        begun = _size(cache_layout.part_path(file)) if file.source == "hf" and file.sha256 else 0
        return Kept(file, FileState.PARTIAL if begun else FileState.ABSENT, None, begun)
    verdict = verified.of(known, path)
    state = FileState.INSTALLED
    if file.source == "wheel" or (verdict and verdict.intact):
        state = FileState.VERIFIED  # a wheel's file is only installed once verified
    elif verdict:
        state = FileState.DAMAGED
    if file.ships:
        return Kept(file, state, path, 0)
    if path == cache_layout.linked_path(file, model):
        return Kept(file, state, path, 0, path.resolve())
    return Kept(file, state, path, _size(path))


@dataclass(frozen=True, slots=True)
class Removal:
    """A file or link to remove. `frees`: bytes of the disk."""

    path: Path
    frees: int


def removals(files: Sequence[ModelFile], model: str) -> list[Removal]:
    """Return all that has to be removed so that nothing is left of some files.

    Another program's files are not among it, nor what ships with steprun, and bytes that another
    snapshot links to stay.
    """
    gone: list[Removal] = []
    blobs: dict[Path, ModelFile] = {}
    for file in (file for file in files if not file.ships):
        gone += [replace(link, frees=0) for link in _present(cache_layout.linked_path(file, model))]
        gone += _present(cache_layout.expected_path(file, model))
        if file.source == "hf" and file.sha256:
            gone += _present(cache_layout.part_path(file))
            blobs[cache_layout.blob_path(file)] = file
    going = {each.path for each in gone}
    for blob, file in blobs.items():
        # Under any name. Bytes without a link were left by a kill, as were links of odd names.
        shows = {path for path in _links(file) if _named(path) == blob.name}
        lost = {path for path in shows if re.fullmatch(r"\..+\.[0-9a-f]{8}", path.name)}
        gone += [Removal(path, 0) for path in sorted(lost)]
        if shows - lost <= going:
            # One that is itself a link leads to the hub's shared store, which is not ours.
            gone += _present(blob)
    return list(dict.fromkeys(gone))


def _present(path: Path) -> list[Removal]:
    """Return a path if it exists, as a removal; a symbolic link frees nothing."""
    # Path.exists raises below a folder that this user may not enter (Python < 3.14).
    if os.path.islink(path):  # noqa: PTH114
        return [Removal(path, 0)]
    return [Removal(path, _frees(path))] if os.path.exists(path) else []  # noqa: PTH110


def _links(file: ModelFile) -> Iterable[Path]:
    found = (cache_layout.repo_folder(file.repo) / "snapshots").rglob("*")
    return (path for path in found if path.is_symlink())


def _frees(path: Path) -> int:
    """Return what removing one name of a file frees: nothing while it has another name."""
    return 0 if path.stat().st_nlink > 1 else _size(path)


def _named(path: Path) -> str:
    """Return the name of the blob that a snapshot's link leads to; "" where it is not a link.

    A blob may itself be a link, to bytes that the hub's tools keep under a name of another kind.
    """
    try:
        return path.readlink().name
    except OSError:
        return ""


def other_revisions(files: Iterable[ModelFile]) -> tuple[ModelFile, ...]:
    """Return the same files as other revisions of their repositories have them on this disk.

    One that is no link, and that nobody knows the sha256 of, has none.
    """
    known = published.recall_all()
    found: list[ModelFile] = []
    for file in (file for file in files if file.source == "hf"):
        snapshots = cache_layout.repo_folder(file.repo) / "snapshots"
        for path in snapshots.glob(f"*/{file.path}"):
            revision = path.parents[file.path.count("/")].name
            sha256, _ = _promised(path, file.repo, revision, file.path, known)
            if revision != file.revision and (sha256 or not path.is_symlink()):
                found.append(replace(file, revision=revision, sha256=sha256))
    return tuple(found)


def remove(gone: Sequence[Removal]) -> int:
    """Remove files and links; return how many bytes that frees."""
    for each in gone:
        with explained(each.path.parent):
            each.path.unlink(missing_ok=True)
            verified.forget(each.path)  # afterwards: a removed link takes no verdict with it
    return sum(each.frees for each in gone)


def _size(path: Path) -> int:
    """Return what a file takes of the disk; one with holes takes less than its length."""
    try:
        found = path.stat()
    except OSError:
        return 0
    blocks = getattr(found, "st_blocks", None)
    return found.st_size if blocks is None else min(found.st_size, blocks * 512)


def named(text: str) -> tuple[ModelFile, ...]:
    """Return the parts of a model named by `hf:`, if all are in the hub's cache.

    The network is not used: the cache keeps bytes under their sha256. Where it has no links, the
    sha256 is the one that was published when the hub was last asked; None where it never was.
    """
    first, name = local(text), hub_name(text)
    if first is None or name is None:
        return ()
    top = first.parents[name.path.count("/")]
    known = published.recall_all()
    found = []
    for path in shards.series(name.path):
        sha256, size = _promised(top / path, name.repo, top.name, path, known)
        found.append(ModelFile("weights", "hf", name.repo, top.name, path, size, sha256))
    return tuple(found)


def _promised(
    path: Path, repo: str, commit: str, name: str, known: Mapping[str, Published]
) -> tuple[str | None, int]:
    """Return the sha256 that a file of the hub's cache should have, if known, and its bytes."""
    blob, promise = _named(path), published.of(known, repo, commit, name)
    if re.fullmatch(shards.SHA256, blob):
        return blob, promise.bytes if promise and promise.sha256 == blob else path.stat().st_size
    if promise is not None:
        return promise.sha256, promise.bytes
    verdict = verified.recall(path)
    return verdict.sha256 if verdict else None, path.stat().st_size
