"""What the hub has now in place of the catalog's files, and taking it into use.

Nothing is replaced before all that replaces it is here and proven: the files lie in a snapshot of
their own, and only then does the overlay say that they stand for the catalog's.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from runner.base import files as writing
from runner.base.disk import alone, check_room, explained
from runner.base.errors import SteprunError
from runner.base.progress import OnProgress
from runner.catalog import overlay, shards
from runner.catalog.model import Catalog, Model, ModelFile
from runner.catalog.overlay import NewFile, Series
from runner.hub.listing import ListedFile, Listing
from runner.weights import cache_layout, links, pull, verified

BRANCH: Final = "main"


class UpdateState(StrEnum):
    """What has become of a quant's files on the hub."""

    SAME = "same"
    CHANGED = "changed"
    MOVED = "moved"  # under other names, or in another number of parts
    PARTIAL = "partial"  # some of them are missing; they may be on their way
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class CatalogSet:
    """A quant, a projector or draft heads: the files in use, and the first of those that ship.

    `quant` is empty where it is none; `label` names it for people.
    """

    model: str
    label: str
    quant: str
    shipped: ModelFile
    files: tuple[ModelFile, ...]

    @property
    def here(self) -> bool:
        """Whether all of it is on this disk."""
        return not pull.missing(self.files, self.model)


@dataclass(frozen=True, slots=True)
class Change:
    """What the hub has in place of some files: `files`, none where they are gone."""

    held: CatalogSet
    state: UpdateState
    files: tuple[ModelFile, ...] = ()

    @property
    def fresh(self) -> tuple[ModelFile, ...]:
        """Those whose bytes are not the bytes of any file in use."""
        known = {file.sha256 for file in self.held.files}
        return tuple(file for file in self.files if file.sha256 not in known)

    @property
    def wanted(self) -> bool:
        """Whether there is something to take into use."""
        return self.state in {UpdateState.CHANGED, UpdateState.MOVED}


@dataclass(frozen=True, slots=True)
class ExtraModel:
    """A model in a repository that the catalog does not know, in `parts`; `whole` if all came."""

    name: str
    parts: int
    bytes: int
    whole: bool


@dataclass(frozen=True, slots=True)
class RepoDiff:
    """What there is to say of a repository. `pinned`: the commit that the catalog names."""

    repo: str
    pinned: str
    commit: str
    changes: tuple[Change, ...]
    beside: tuple[ExtraModel, ...]
    skipped: int


def held(shipped: Catalog, used: Catalog) -> tuple[CatalogSet, ...]:
    """Return all that the catalog takes from the hub: as it ships, and as it is used."""
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
    for file in (*((model.mtp,) if model.mtp else ()), *model.mtp_others):
        yield f"draft heads {file.name}", "", (file,)


def news(mine: Sequence[CatalogSet], there: Listing) -> RepoDiff:
    """Compare what is in use of one repository with what is there."""
    mine = [each for each in mine if each.shipped.repo == there.repo]
    changes = tuple(compare(each, there) for each in mine)
    known = {file.path for change in changes for file in change.files}
    beside = [found for found in _series(there) if known.isdisjoint(file.path for file in found)]
    return RepoDiff(
        there.repo,
        mine[0].shipped.revision if mine else "",
        there.commit,
        changes,
        tuple(_beside(found) for found in beside),
        there.skipped,
    )


def compare(mine: CatalogSet, there: Listing) -> Change:
    """Say what has become of some files."""
    at = there.by_path
    old = mine.files
    state = UpdateState.CHANGED
    found: Sequence[ListedFile] = [at[file.path] for file in old if file.path in at]
    if len(found) < len(old):
        state = UpdateState.MOVED
        whole = [each for each in _series(there) if _is_whole(each)]
        found = _same_name(old, whole) or _same_bytes(old, whole)
    elif all(_alike(file, now) for file, now in zip(old, found, strict=True)):
        state = UpdateState.SAME
    if found and (len(found) == 1 or mine.quant):  # what is no quant cannot become several files
        return Change(mine, state, tuple(_file(old[0], there, now) for now in found))
    stem = _stem(old[0].path)
    begun = mine.quant and any(_stem(file.path) == stem for file in there.files)
    return Change(mine, UpdateState.PARTIAL if begun else UpdateState.GONE)


def _alike(file: ModelFile, now: ListedFile) -> bool:
    """Tell whether nothing says that a file has changed; the hub may not tell its sha256."""
    return file.bytes == now.bytes and now.sha256 in {file.sha256, None}


def _same_name(
    old: Sequence[ModelFile], series: Sequence[Sequence[ListedFile]]
) -> Sequence[ListedFile]:
    stem = _stem(old[0].path)
    return next((each for each in series if _stem(each[0].path) == stem), ())


def _same_bytes(
    old: Sequence[ModelFile], series: Sequence[Sequence[ListedFile]]
) -> Sequence[ListedFile]:
    sums = [file.sha256 for file in old]
    alike = (each for each in series if [file.sha256 for file in each] == sums)
    return next(alike, ()) if None not in sums else ()


def _stem(path: str) -> str:
    return shards.stem(path).casefold()


def _series(there: Listing) -> list[list[ListedFile]]:
    """Sort what is there into models: the parts of each, in order, those that are there."""
    at = there.by_path
    names = dict.fromkeys(shards.series(file.path) for file in there.files)
    return [[at[name] for name in series if name in at] for series in names]


def _is_whole(found: Sequence[ListedFile]) -> bool:
    return len(found) == len(shards.series(found[0].path))


def _beside(found: Sequence[ListedFile]) -> ExtraModel:
    whole = _is_whole(found)
    return ExtraModel(shards.stem(found[0].path), len(found), sum(f.bytes for f in found), whole)


def _file(like: ModelFile, there: Listing, now: ListedFile) -> ModelFile:
    return ModelFile(
        like.role,
        "hf",
        there.repo,
        there.commit,
        now.path,
        now.bytes,
        now.sha256,
        input_bytes=like.input_bytes,
    )


# --- taking it into use


def to_fetch(changes: Sequence[Change]) -> int:
    """Return how many bytes taking some changes into use would bring."""
    return sum(pull.to_fetch(_to_pull(change)) for change in changes)


def take(changes: Sequence[Change], tell: OnProgress) -> None:
    """Bring the files of some changes, and take them into use once all are whole and proven.

    They all have a sha256 (`listing.must_be_verifiable`). Raises what `pull` raises; then the files
    in use are those from before, and what came is kept.
    """
    folder = cache_layout.hub_cache()
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    check_room(folder, to_fetch(changes))
    for change in changes:
        _bring(change, tell)
    keep(changes)


def _bring(change: Change, tell: OnProgress) -> None:
    model = change.held.model
    for new, old in _carried(change):
        links.link_adopted(new, model, old)
    pull.pull(change.files, model, tell)
    if pull.missing(change.files, model):
        raise SteprunError(
            f"{change.held.label} was not taken into use",
            why="A file went away while the others were fetched.",
            next="Try again: steprun models update",
        )
    weights = [file for file in change.files if file.role == "weights"]
    if weights:
        links.gather(weights, model)


def _carried(change: Change) -> list[tuple[ModelFile, Path]]:
    """Return the new files whose bytes are here outside of the hub's blobs, and where."""
    model = change.held.model
    at = {file.sha256: cache_layout.locate(file, model) for file in change.held.files}
    found = []
    for file in pull.missing(change.files, model):
        path = at.get(file.sha256)
        if path is None or cache_layout.blob_path(file).exists():
            continue
        verdict = verified.recall(path)
        if verdict is None or verdict.sound:
            found.append((file, path))
    return found


def _to_pull(change: Change) -> list[ModelFile]:
    carried = {file.path for file, _ in _carried(change)}
    missing = pull.missing(change.files, change.held.model)
    return [file for file in missing if file.path not in carried]


def keep(changes: Sequence[Change]) -> None:
    """Say in the overlay that the files of some changes stand for the catalog's from now on."""
    path = overlay.path()
    writing.make_private_dir(path.parent)
    with alone(path.with_suffix(".lock"), lambda: None):
        made = {_key(each): each for each in (*(overlay.read() or ()), *map(_told, changes))}
        current = [asdict(each) for each in made.values() if not _outdated(each, changes)]
        told = {"schema": overlay.SCHEMA, "series": current}
        writing.write_private(path, json.dumps(told, indent=1))


def _told(change: Change) -> Series:
    first = change.held.shipped
    return Series(
        first.repo,
        first.revision,
        first.path,
        change.files[0].revision,
        tuple(NewFile(file.path, file.bytes, file.sha256 or "") for file in change.files),
    )


def _key(series: Series) -> tuple[str, str, str]:
    return series.repo, series.replaces, series.first


def _outdated(series: Series, changes: Sequence[Change]) -> bool:
    """Tell whether it is laid over a catalog that steprun no longer ships."""
    pinned = {change.held.shipped.repo: change.held.shipped.revision for change in changes}
    return pinned.get(series.repo, series.replaces) != series.replaces
