"""Compare the catalog's files with those on the hub now, and switch to newer ones.

Nothing is replaced before all of its successor is downloaded and verified: newer files have a
snapshot of their own, and only then does `catalog.overlay` put them in the catalog's place.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from runner.base.disk import check_room, explained
from runner.base.errors import SteprunError
from runner.base.progress import OnProgress
from runner.catalog import overlay, shards
from runner.catalog.model import Catalog, Model, ModelFile
from runner.hub.listing import ListedFile, Listing
from runner.weights import cache_layout, links, pull, verified


class UpdateState(StrEnum):
    """What has become of some files on the hub; part of `steprun models check --json`."""

    SAME = "same"
    CHANGED = "changed"
    MOVED = "moved"  # under other names, or in another number of parts
    PARTIAL = "partial"  # some of them are missing; they may still be uploading
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class CatalogSet:
    """A quant, a projector or draft heads: the files in use, and the first of those that ship.

    `label` names it for people. `quant`: its name; empty for a projector or draft heads.
    """

    model: str
    label: str
    quant: str
    shipped: ModelFile
    files: tuple[ModelFile, ...]

    @property
    def installed(self) -> bool:
        """Whether all its files are installed."""
        return not pull.missing(self.files, self.model)


@dataclass(frozen=True, slots=True)
class Change:
    """What the hub has in place of a set: `files`, none where they are gone."""

    old: CatalogSet
    state: UpdateState
    files: tuple[ModelFile, ...] = ()

    @property
    def new_files(self) -> tuple[ModelFile, ...]:
        """Those whose bytes are not the bytes of any file in use."""
        known = {file.sha256 for file in self.old.files}
        return tuple(file for file in self.files if file.sha256 not in known)

    @property
    def is_update(self) -> bool:
        """Whether there are files to switch to."""
        return self.state in {UpdateState.CHANGED, UpdateState.MOVED}


def catalog_sets(shipped: Catalog, used: Catalog) -> tuple[CatalogSet, ...]:
    """Return all that the catalog takes from the hub, given as it ships and as it is used."""
    return tuple(
        CatalogSet(model.name, label, quant, old[0], now)
        for model, current in zip(shipped.models, used.models, strict=True)
        for (label, quant, old), (_, _, now) in zip(_sets(model), _sets(current), strict=True)
        if old[0].source == "hf"
    )


def _sets(model: Model) -> Iterator[tuple[str, str, tuple[ModelFile, ...]]]:
    for quant in model.quants:
        yield quant.name, quant.name, quant.files
    if model.projector:
        yield "projector", "", (model.projector,)
    for file in (model.mtp, *model.mtp_others):
        if file:
            yield f"draft heads {file.name}", "", (file,)


def compare(old: CatalogSet, listing: Listing) -> Change:
    """Return what has become of a set in its repository."""
    at, first = listing.by_path, old.files[0]
    found = [at[file.path] for file in old.files if file.path in at]
    if len(found) < len(old.files):
        state, found = UpdateState.MOVED, _moved(old.files, listing)
    elif all(  # a sha256 may not be published
        file.bytes == now.bytes and now.sha256 in {file.sha256, None}
        for file, now in zip(old.files, found, strict=True)
    ):
        state = UpdateState.SAME
    else:
        state = UpdateState.CHANGED
    if found and (old.quant or len(found) == 1):  # the engine takes a projector as one file only
        commit = listing.commit
        files = (replace(first, revision=commit, **asdict(each)) for each in found)
        return Change(old, state, tuple(files))
    partial = old.quant and any(_stem(f.path) == _stem(first.path) for f in listing.files)
    return Change(old, UpdateState.PARTIAL if partial else UpdateState.GONE)


def _moved(old: Sequence[ModelFile], listing: Listing) -> list[ListedFile]:
    """Return the complete model with the old bytes, or else with the old name."""
    stem, sums = _stem(old[0].path), [file.sha256 for file in old]
    found = [each for each in series(listing) if is_complete(each)]
    same = (each for each in found if [file.sha256 for file in each] == sums)
    named = (each for each in found if _stem(each[0].path) == stem)
    return next(same, None) or next(named, [])


def _stem(path: str) -> str:
    return shards.stem(path).casefold()


def series(listing: Listing) -> list[list[ListedFile]]:
    """Sort a repository into models: for each its parts in order, missing ones left out."""
    at = listing.by_path
    names = dict.fromkeys(shards.series(file.path) for file in listing.files)
    return [[at[name] for name in parts if name in at] for parts in names]


def not_in_catalog(changes: Sequence[Change], listing: Listing) -> list[list[ListedFile]]:
    """Return the other models of a repository, as `series` does."""
    known = {file.path for change in changes for file in change.files}
    return [each for each in series(listing) if known.isdisjoint(file.path for file in each)]


def is_complete(found: Sequence[ListedFile]) -> bool:
    """Return whether all parts of a model are there."""
    return len(found) == len(shards.series(found[0].path))


# --- switching to newer files


def download_bytes(changes: Sequence[Change]) -> int:
    """Return how many bytes switching to some changes would download."""
    total = 0
    for change in changes:
        adopted = {file for file, _ in _adopted(change)}
        missing = pull.missing(change.files, change.old.model)
        total += pull.remaining_bytes([file for file in missing if file not in adopted])
    return total


def switch(changes: Sequence[Change], report: OnProgress) -> None:
    """Download the files of some changes, and use them once all are complete and verified.

    All have a sha256 (`listing.must_be_verifiable`). Raises what `pull` raises; then the old files
    stay in use, and partial downloads are kept.
    """
    folder = cache_layout.hub_cache()
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    check_room(folder, download_bytes(changes))
    for change in changes:
        for file, path in _adopted(change):
            links.link_adopted(file, change.old.model, path)
        pull.pull(change.files, change.old.model, report)
        if pull.missing(change.files, change.old.model):
            raise SteprunError(
                f"{change.old.label} was not updated.",
                why="A file was removed while the others were downloaded.",
                next=f"Try again: steprun models update {change.old.quant}".rstrip(),
            )
        if weights := [file for file in change.files if file.role == "weights"]:
            links.gather(weights, change.old.model)
    overlay.add(map(_overlay_series, changes))


def _adopted(change: Change) -> list[tuple[ModelFile, Path]]:
    """Return the new files whose bytes are installed outside the hub's blobs, and where."""
    model = change.old.model
    at = {file.sha256: cache_layout.locate(file, model) for file in change.old.files}
    found = []
    for file in pull.missing(change.files, model):
        path = at.get(file.sha256)
        if path is not None and not cache_layout.blob_path(file).exists():
            verdict = verified.recall(path)
            if verdict is None or verdict.intact:
                found.append((file, path))
    return found


def _overlay_series(change: Change) -> overlay.Series:
    old = change.old.shipped
    files = tuple(overlay.NewFile(f.path, f.bytes, f.sha256 or "") for f in change.files)
    return overlay.Series(old.repo, old.revision, old.path, change.files[0].revision, files)
