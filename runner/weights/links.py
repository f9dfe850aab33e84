"""Place files where the engine finds them without copying: links, and the hub's cache."""

import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from runner.base.disk import check_room, explained, sync_folder
from runner.base.errors import Refused
from runner.base.shell import quoted
from runner.catalog.model import ModelFile
from runner.weights import cache_layout


def settle(file: ModelFile, part: Path) -> Path:
    """Move a complete, verified download to its place in the hub's cache; return its path."""
    blob, shown = cache_layout.blob_path(file), cache_layout.expected_path(file, "")
    with explained(blob.parent):
        part.replace(blob)
        sync_folder(blob.parent)
        show(file)
    return shown


def show(file: ModelFile, twin: ModelFile | None = None) -> None:
    """Link a file's bytes, which are in the hub's cache, to its name in the pinned snapshot.

    `twin`: a file of the same bytes, which may be stored under its name only.
    """
    blob, shown = cache_layout.blob_path(file), cache_layout.expected_path(file, "")
    shown.parent.mkdir(parents=True, exist_ok=True)
    try:
        _replace(shown, Path(os.path.relpath(blob, shown.parent)))
    except OSError:  # no symlinks here (Windows without developer mode): the hub's own way
        if twin is not None and not blob.exists():
            share(file, cache_layout.expected_path(twin, ""))
        elif _has_links(file):  # made elsewhere, or when they were allowed
            share(file, blob)
        else:
            blob.replace(shown)
    sync_folder(shown.parent)


def share(file: ModelFile, source: Path) -> Path:
    """Give a file of the pinned snapshot the bytes of another; return its path.

    By a hard link; where this file system has none (exFAT), by a copy. Raises Refused (no room).
    """
    shown = cache_layout.expected_path(file, "")
    new = shown.with_name(f".{shown.name}.{secrets.token_hex(4)}")
    with explained(shown.parent):
        shown.parent.mkdir(parents=True, exist_ok=True)
        try:
            try:
                new.hardlink_to(source)
            except OSError:
                check_room(shown.parent, file.bytes)
                shutil.copyfile(source, new)
            new.replace(shown)
        finally:
            new.unlink(missing_ok=True)
        sync_folder(shown.parent)
    return shown


def _has_links(file: ModelFile) -> bool:
    """Return whether any snapshot has a link to a file's blob."""
    blob = cache_layout.blob_path(file)
    found = (cache_layout.repo_folder(file.repo) / "snapshots").rglob("*")
    return any(path.is_symlink() and path.readlink().name == blob.name for path in found)


def link_adopted(file: ModelFile, model: str, found: Path) -> Path:
    """Link a file in another program's folder; return the link.

    A hard link where symbolic ones are not allowed; Refused where neither can be.
    """
    link = cache_layout.linked_path(file, model)
    with explained(link.parent):
        link.parent.mkdir(parents=True, exist_ok=True)
        try:
            _replace(link, found.resolve())
        except OSError:
            _hard(link, found)
        sync_folder(link.parent)
    return link


def gather(files: Sequence[ModelFile], model: str) -> Path:
    """Make all shards available in one folder, and return the path of the first.

    The engine opens the first, and makes up the others' names from it.
    """
    found = [cache_layout.locate(file, model) for file in files]
    if all(
        path == cache_layout.expected_path(f, model) for path, f in zip(found, files, strict=True)
    ):
        return cache_layout.expected_path(files[0], model)
    for file, path in zip(files, found, strict=True):
        if path is not None and path != cache_layout.linked_path(file, model):
            link_adopted(file, model, path)
    return cache_layout.linked_path(files[0], model)


def _replace(link: Path, target: Path) -> None:
    new = link.with_name(f".{link.name}.{secrets.token_hex(4)}")
    new.symlink_to(target)
    try:
        new.replace(link)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def _hard(link: Path, found: Path) -> None:
    try:
        link.unlink(missing_ok=True)
        link.hardlink_to(found)
    except OSError as error:
        raise Refused(
            f"{found} cannot be linked.",
            why=f"{error.strerror}: this system does not allow a link to it from {link.parent}.",
            next=f"Use it in place: steprun chat --model {quoted(str(found))}",
        ) from error
