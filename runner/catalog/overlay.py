"""The newer files that the user has taken into use, laid over the catalog that ships.

They are told in `models.json` in the data folder, which `steprun models update` writes. What is
damaged there, or was meant for another catalog, is left out: it must never stop a start.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from runner.base.errors import BadFile
from runner.base.paths import data_dir
from runner.base.tables import Table
from runner.catalog import shards
from runner.catalog.model import Catalog, Model, ModelFile, Quant, WeightLayout

SCHEMA: Final = "steprun.overlay/1"
_MOST_BYTES: Final = 1 << 20  # all quants of the catalog take 12 KB


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file as it is at the newer commit."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Series:
    """The files that stand for a quant, a projector or draft heads of the catalog.

    `replaces`: the commit of `repo` that the catalog names. `first`: the path there of what is
    replaced, of its first part. `revision`: the commit of `files`.
    """

    repo: str
    replaces: str
    first: str
    revision: str
    files: tuple[NewFile, ...]


def path() -> Path:
    """Return where the overlay is."""
    return data_dir() / "models.json"


def read() -> tuple[Series, ...] | None:
    """Return what the user has taken into use; None where it cannot be read."""
    try:
        with path().open("rb") as file:
            return parse(file.read(_MOST_BYTES + 1))
    except FileNotFoundError:
        return ()
    except OSError:
        return None


def parse(text: bytes) -> tuple[Series, ...] | None:
    """Read an overlay; None where anything in it is not as it should be."""
    if len(text) > _MOST_BYTES:
        return None
    try:
        top = Table(json.loads(text), "models.json")
        top.text("schema", SCHEMA)
        made = tuple(_series(row) for row in top.rows("series"))
        top.close()
    except (ValueError, RecursionError, BadFile):
        return None
    return made


def _series(table: Table) -> Series:
    made = Series(
        repo=table.text("repo", shards.REPO),
        replaces=table.text("replaces", shards.COMMIT),
        first=table.text("first", shards.PATH),
        revision=table.text("revision", shards.COMMIT),
        files=tuple(_file(row) for row in table.rows("files")),
    )
    table.close()
    if not made.files or shards.series(made.files[0].path) != tuple(f.path for f in made.files):
        raise table.wrong("its files are no series of shards in order")
    return made


def _file(table: Table) -> NewFile:
    made = NewFile(
        table.text("path", shards.PATH), table.whole("bytes"), table.text("sha256", shards.SHA256)
    )
    table.close()
    return made


def apply(catalog: Catalog, overlay: Sequence[Series]) -> Catalog:
    """Return the catalog with the newer files in it; what replaces another commit is left out."""
    if not overlay:
        return catalog
    by = {(each.repo, each.replaces, each.first): each for each in overlay}

    def newer(files: tuple[ModelFile, ...]) -> tuple[ModelFile, ...]:
        found = by.get((files[0].repo, files[0].revision, files[0].path)) if files else None
        if found is None or files[0].source != "hf":
            return files
        return tuple(
            replace(files[0], revision=found.revision, path=f.path, bytes=f.bytes, sha256=f.sha256)
            for f in found.files
        )

    def newer_file(file: ModelFile | None) -> ModelFile | None:
        made = newer((file,)) if file else ()
        return made[0] if len(made) == 1 else file  # what is no shard cannot become several

    def newer_quant(quant: Quant) -> Quant:
        files = newer(quant.files)
        if files is quant.files:
            return quant
        layout = quant.layout if quant.layout and in_step(quant.layout, files) else None
        return replace(quant, files=files, layout=layout)

    def newer_model(model: Model) -> Model:
        return replace(
            model,
            quants=tuple(newer_quant(quant) for quant in model.quants),
            projector=newer_file(model.projector),
            mtp=newer_file(model.mtp),
            mtp_others=tuple(file for each in model.mtp_others if (file := newer_file(each))),
        )

    return Catalog(tuple(newer_model(model) for model in catalog.models))


def in_step(layout: WeightLayout, files: Sequence[ModelFile]) -> bool:
    """Tell whether a layout can be that of these files: padding and headers add 0.2 % at most."""
    whole = sum(file.bytes for file in files)
    return 0 <= whole - layout.total <= whole // 500
