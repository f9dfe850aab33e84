"""Newer files that the user has updated to, laid over the catalog that ships with steprun.

`steprun models update` lists them in `models.json` in the data folder. A damaged file counts as
none, and entries for another catalog are ignored: they must never keep steprun from starting.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from runner.base.paths import data_dir
from runner.base.state import JsonState
from runner.base.toml import Strict, matching
from runner.catalog import shards
from runner.catalog.model import Catalog, Model, ModelFile, Quant, WeightLayout

_Repo = Annotated[str, matching(shards.REPO)]
_Commit = Annotated[str, matching(shards.COMMIT)]
_FilePath = Annotated[str, matching(shards.PATH)]


class NewFile(Strict, frozen=True):
    """A file as it is at the newer commit."""

    path: _FilePath
    bytes: Annotated[int, msgspec.Meta(ge=1)]
    sha256: Annotated[str, matching(shards.SHA256)]


class Series(Strict, frozen=True):
    """The files that replace a quant, a projector or draft heads of the catalog.

    `replaces`: the commit of `repo` that the catalog names. `first`: the path of the first
    replaced file there. `revision`: the commit of `files`.
    """

    repo: _Repo
    replaces: _Commit
    first: _FilePath
    revision: _Commit
    files: Annotated[tuple[NewFile, ...], msgspec.Meta(min_length=1)]

    def __post_init__(self) -> None:
        """Raise ValueError where the files are not all parts of one model, in order."""
        if shards.series(self.files[0].path) != tuple(file.path for file in self.files):
            raise ValueError(self.files[0].path)

    @property
    def key(self) -> tuple[str, str, str]:
        """What it replaces."""
        return self.repo, self.replaces, self.first


class _Overlay(Strict, frozen=True):
    schema: Literal["steprun.overlay/1"] = "steprun.overlay/1"
    series: tuple[Series, ...] = ()


def path() -> Path:
    """Return where the overlay is."""
    return data_dir() / "models.json"


_STATE: Final = JsonState(path, _Overlay, _Overlay)


def read() -> tuple[Series, ...]:
    """Return what the user has updated to."""
    return _STATE.read().series


def is_damaged() -> bool:
    """Return whether there is an overlay that cannot be read; `add` writes no empty ones."""
    return path().exists() and not read()


def add(new: Iterable[Series]) -> None:
    """Use newer files from now on; drops those for another commit of the same repositories.

    Raises Refused where it cannot be written.
    """
    added = {each.key: each for each in new}
    pinned = {each.repo: each.replaces for each in added.values()}

    def change(old: _Overlay) -> _Overlay:
        kept = {s.key: s for s in old.series if pinned.get(s.repo, s.replaces) == s.replaces}
        return _Overlay(series=tuple((kept | added).values()))

    _STATE.change(change)


def apply(catalog: Catalog, overlay: Sequence[Series]) -> Catalog:
    """Return the catalog with the newer files in it; entries for another commit are ignored."""
    by_key = {each.key: each for each in overlay}

    def newer(files: tuple[ModelFile, ...]) -> tuple[ModelFile, ...]:
        old = files[0]
        found = by_key.get((old.repo, old.revision, old.path))
        if found is None or (len(found.files) > 1 and old.role != "weights"):
            return files  # the engine takes a projector or draft heads as one file only
        return tuple(
            replace(old, revision=found.revision, path=f.path, bytes=f.bytes, sha256=f.sha256)
            for f in found.files
        )

    def newer_quant(quant: Quant) -> Quant:
        files = newer(quant.files)
        layout = quant.layout if quant.layout and in_step(quant.layout, files) else None
        return replace(quant, files=files, layout=layout)

    def newer_model(model: Model) -> Model:
        return replace(
            model,
            quants=tuple(map(newer_quant, model.quants)),
            projector=newer((model.projector,))[0] if model.projector else None,
            mtp=newer((model.mtp,))[0] if model.mtp else None,
            mtp_others=tuple(newer((file,))[0] for file in model.mtp_others),
        )

    return Catalog(tuple(map(newer_model, catalog.models))) if overlay else catalog


def in_step(layout: WeightLayout, files: Sequence[ModelFile]) -> bool:
    """Return whether a layout can be that of some files: padding and headers add 0.2 % at most."""
    whole = sum(file.bytes for file in files)
    return 0 <= whole - layout.total <= whole // 500
