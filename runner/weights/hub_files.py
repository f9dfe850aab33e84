"""The files of a model named on the hub, `hf:OWNER/REPO/FILE.gguf[@REVISION]`.

All its parts, at the commit that the revision stands for, with the sha256 that the hub publishes.
Downloaded files are found without the network: a branch is looked up in the hub's cache.
"""

import difflib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runner.base.disk import explained, sync_folder
from runner.base.errors import BadFile, UsageError
from runner.base.shell import quoted
from runner.base.text import shown
from runner.catalog import shards
from runner.catalog.model import ModelFile, Role
from runner.hub.address import HubName, address, hub_name, is_remote
from runner.weights import cache_layout, published

if TYPE_CHECKING:
    from runner.hub.listing import ListedFile, Listing

_REF_BYTES: Final = 100  # a commit and a line feed, and no more is read
_NAMED: Final = 3  # files that are named in an error


def files(
    model: str | None, projector: str | None = None, mtp: str | None = None
) -> tuple[ModelFile, ...]:
    """Ask the hub for all parts of the model in order, then for the projector and draft heads.

    A projector or draft heads that are paths on this disk are left out. Raises UsageError (no such
    file), BadFile (parts are missing), Refused (no sha256 is published) and what
    `listing.list_repository` does.
    """
    from runner.hub import listing  # noqa: PLC0415 - the network, which `local` does without

    roles: tuple[tuple[Role, str | None], ...] = (
        ("weights", model),
        ("projector", projector),
        ("mtp", mtp),
    )
    named = [
        (role, _must_be_on_hub(text))
        for role, text in roles
        if text and (role == "weights" or is_remote(text))
    ]
    places = {(name.repo, name.revision) for _, name in named}
    listings = {place: listing.list_repository(*place) for place in places}
    made: list[ModelFile] = []
    for role, name in named:
        there = listings[name.repo, name.revision]
        made += [
            ModelFile(role, "hf", there.repo, there.commit, file.path, file.bytes, file.sha256)
            for file in _series(name, there)
        ]
    listing.must_be_verifiable(made)
    published.remember(made)
    return tuple(made)


def local(text: str) -> Path | None:
    """Return where the named model's first part is, if all parts are in the hub's cache.

    The network is not used: a branch stands for the commit that was downloaded last.
    """
    name = hub_name(text)
    commit = _commit(name) if name else None
    if name is None or commit is None or not re.fullmatch(shards.PATH, name.path):
        return None
    folder = cache_layout.repo_folder(name.repo) / "snapshots" / commit
    try:
        found = [folder / path for path in shards.series(name.path)]
        return found[0] if all(path.stat().st_size for path in found) else None
    except OSError:
        return None


def note(text: str, file: ModelFile) -> None:
    """Note for `local` which commit a branch stood for when its files were downloaded."""
    name = hub_name(text)
    if name and name.repo == file.repo and not re.fullmatch(shards.COMMIT, name.revision):
        _write(name, file.revision)


def _must_be_on_hub(text: str) -> HubName:
    found = hub_name(text)
    if found is None:
        if text.lower().startswith("hf:"):
            address(text)  # raises, with an example
        raise UsageError(
            f"{shown(text)} does not name a file on the hub.",
            why="Only files on the hub can be downloaded as a model: they have a published sha256.",
            next="Download the file yourself, then: --model PATH",
        )
    return found


def _series(name: HubName, there: "Listing") -> "list[ListedFile]":
    at = there.by_path
    wanted = shards.series(name.path)
    missing = [path for path in wanted if path not in at]
    if len(missing) == len(wanted):
        raise _no_file(name, list(at))
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise BadFile(
            f"{len(missing)} of {len(wanted)} parts of {shown(name.path)} are missing.",
            why=f"{name.repo} lacks {', '.join(missing[:_NAMED])}{more}.",
            next="Name another quant, or wait: they may still be uploading.",
        )
    return [at[path] for path in wanted]


def _no_file(name: HubName, known: list[str]) -> UsageError:
    # Model cards name single files where the repository holds parts.
    first = list(dict.fromkeys(shards.series(path)[0] for path in known))
    by_name = {shards.stem(path).rpartition("/")[2].casefold(): path for path in first}
    wanted = shards.stem(name.path).rpartition("/")[2].casefold()
    near = [by_name[each] for each in difflib.get_close_matches(wanted, by_name, _NAMED, 0.6)]
    odd = not re.fullmatch(shards.PATH, name.path)
    why = "Its name has characters that steprun does not allow." if odd else "No such file."
    rest = "" if name.revision == "main" else f"@{name.revision}"
    return UsageError(
        f"{shown(name.path)} is not in {name.repo}.",
        why="It has another name there, or several parts." if near else why,
        next="Did you mean "
        + " or ".join(quoted(f"hf:{name.repo}/{path}{rest}") for path in near)
        + "?"
        if near
        else "Look the name up in the repository's list of files.",
    )


# --- which commit a branch stands for


def _ref(name: HubName) -> Path:
    return cache_layout.repo_folder(name.repo) / "refs" / name.revision


def _commit(name: HubName) -> str | None:
    if re.fullmatch(shards.COMMIT, name.revision):
        return name.revision
    try:
        with _ref(name).open("rb") as file:
            commit = file.read(_REF_BYTES).decode("ascii").strip()
    except (OSError, ValueError):
        return None
    return commit if re.fullmatch(shards.COMMIT, commit) else None


def _write(name: HubName, commit: str) -> None:
    ref = _ref(name)
    # Not among the refs, where it would be one.
    new = cache_layout.repo_folder(name.repo) / f".ref-{os.getpid()}"
    with explained(ref.parent):
        ref.parent.mkdir(parents=True, exist_ok=True)
        try:
            with new.open("w", encoding="ascii") as file:
                file.write(commit)
                file.flush()
                os.fsync(file.fileno())
            new.replace(ref)
        finally:
            new.unlink(missing_ok=True)
        sync_folder(ref.parent)
