"""Reads `models.toml`, the models that steprun knows, into the dataclasses of `catalog.model`."""

import functools
from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta, field

from runner.base.paths import packaged, shipped
from runner.base.toml import Strict, broken, check_distinct, matching, read_toml
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

_WHAT: Final = "The model catalog"


def load_catalog() -> Catalog:
    """Return the catalog, with the newer files that the user has taken into use."""
    return overlay.apply(as_shipped(), overlay.read())


@functools.cache
def as_shipped() -> Catalog:
    """Read the catalog that ships with steprun; BadFile, naming the entry, if it is broken."""
    return read_catalog(shipped("models.toml"))


def read_catalog(path: Path) -> Catalog:
    """Read a catalog file; BadFile, naming the entry, if anything in it is not as it should be."""
    document = read_toml(path, _CatalogDocument, _WHAT)
    try:
        return Catalog(tuple(model.made(document.source) for model in document.model))
    except ValueError as error:
        raise broken(path, _WHAT, str(error)) from error


# --- the file's own shape

_Name = Annotated[str, matching(r"[A-Za-z0-9][\w.-]*")]
_Repo = Annotated[str, matching(shards.REPO)]
_Sha256 = Annotated[str, matching(shards.SHA256)]
_Count = Annotated[int, Meta(ge=1)]
_Bytes = Annotated[int, Meta(ge=0)]


class _Source(Strict, frozen=True):
    """A `[source.NAME]`: where the files that name it come from.

    The hub, a Python package, or a folder of this very package: they ship with steprun.
    """

    repo: _Repo | None = None
    revision: Annotated[str, matching(shards.COMMIT)] | None = None
    package: _Name | None = None
    version: _Name | None = None
    wheel_bytes: _Count | None = None
    wheel_sha256: _Sha256 | None = None
    folder: Annotated[str, matching(shards.PATH)] | None = None

    def __post_init__(self) -> None:
        """Refuse keys that do not go together: ValueError."""
        keys = {key for key in self.__struct_fields__ if getattr(self, key) is not None}
        hub, wheel = {"repo", "revision"}, {"package", "version", "wheel_bytes", "wheel_sha256"}
        if keys not in (hub, wheel, {"folder"}):
            raise ValueError(
                f"A source has all of {sorted(hub)}, all of {sorted(wheel)}, or `folder`"
            )

    @property
    def kind(self) -> Source:
        """How files of it are found."""
        return "file" if self.folder else "wheel" if self.package else "hf"


class _File(Strict, frozen=True):
    path: Annotated[str, matching(shards.PATH)]
    bytes: _Count
    sha256: _Sha256

    def made(self, role: Role, source: _Source, input_bytes: int = 0) -> ModelFile:
        return ModelFile(
            role=role,
            source=source.kind,
            repo=source.package or source.repo or "",
            revision=source.version or source.revision or "",
            path=str(packaged(source.folder) / self.path) if source.folder else self.path,
            bytes=self.bytes,
            sha256=self.sha256,
            archive_bytes=source.wheel_bytes or 0,
            archive_sha256=source.wheel_sha256,
            input_bytes=input_bytes,
        )


class _Part(_File, frozen=True, kw_only=True):
    """The projector or draft heads: one file, with `input` bytes of token embedding."""

    source: str
    input: _Bytes = 0


class _Layout(Strict, frozen=True):
    """`layers`: runs of layers: how many, then the bytes of each.

    The resident bytes of a full layer and of a sliding one, and the experts. A kind of layer that a
    run does not have has 0 bytes there.
    """

    input: _Count
    output: _Count
    layers: tuple[tuple[_Bytes, _Bytes, _Bytes, _Bytes], ...]

    def made(self, shape: Geometry) -> WeightLayout:
        """Return the layout; ValueError where it is not of that shape."""
        resident: list[int] = []
        experts: list[int] = []
        for count, full, sliding, routed in self.layers:
            kinds = [layer.sliding for layer in shape.layers[len(resident) :][:count]]
            if (full > 0, sliding > 0) != (False in kinds, True in kinds) or len(kinds) < count:
                raise ValueError("`layers` of its layout is not in step with the geometry")
            resident += [sliding if slides else full for slides in kinds]
            experts += [routed] * count
        if len(resident) != len(shape.layers):
            raise ValueError(f"its layout covers {len(resident)} layers of {len(shape.layers)}")
        return WeightLayout(self.input, self.output, tuple(resident), tuple(experts))


class _Quant(Strict, frozen=True):
    name: _Name
    source: str
    quality: _Count
    files: tuple[_File, ...]
    auto: bool = True
    note: str = ""
    layout: _Layout | None = None

    def made(self, sources: dict[str, _Source], shape: Geometry | None) -> Quant:
        """Return the quant; ValueError where its files or its layout do not go together."""
        files = tuple(file.made("weights", _known(sources, self.source)) for file in self.files)
        layout = self.layout.made(shape) if self.layout and shape else None
        paths = tuple(file.path for file in files)
        if len(paths) != 1 and (not paths or paths != shards.series(paths[0])):
            raise ValueError(f"its {len(paths)} files are not a series of shards in order")
        quant = Quant(self.name, files, self.quality, self.auto, self.note, layout)
        if layout and not overlay.in_step(layout, files):
            raise ValueError(
                f"its layout has {layout.total:,} bytes, its files {quant.total_bytes:,}"
            )
        return quant


class _Geometry(Strict, frozen=True):
    arch: _Name
    context: _Count
    embedding: _Count
    vocab: _Count
    feed_forward: _Count
    layers: _Count
    kv_heads: _Count
    key_length: _Count
    value_length: _Count
    mtp_layers: _Bytes = 0
    full_every: _Count = 1
    sliding_window: _Bytes = 0
    experts: _Bytes = 0
    experts_used: _Bytes = 0
    expert_feed_forward: _Bytes = 0

    def __post_init__(self) -> None:
        """Refuse a window without layers that slide, and the reverse: ValueError."""
        if (self.sliding_window > 0) != (self.full_every > 1):
            raise ValueError("`sliding_window` and `full_every` go together")

    def made(self) -> Geometry:
        # The draft heads' layers are numbered after the trunk's and follow the same rule.
        layers = tuple(
            Layer(self.kv_heads, self.key_length, self.value_length, index % self.full_every != 0)
            for index in range(self.layers + self.mtp_layers)
        )
        return Geometry(
            arch=self.arch,
            context_length=self.context,
            embedding_length=self.embedding,
            vocab_size=self.vocab,
            layers=layers[: self.layers],
            sliding_window=self.sliding_window,
            mtp_layers=layers[self.layers :],
            experts=self.experts,
            experts_used=self.experts_used,
            feed_forward_length=self.feed_forward,
            expert_feed_forward_length=self.expert_feed_forward,
        )


class _Model(Strict, frozen=True):
    name: _Name
    title: str
    geometry: _Geometry | None = None
    quant: tuple[_Quant, ...] = ()
    projector: _Part | None = None
    mtp: tuple[_Part, ...] = ()
    demo: bool = False
    gguf: bool = True
    licence: str = ""
    home: _Repo | None = None
    note: str = ""
    hint: str = ""
    picture: Annotated[str, matching(shards.PATH)] | None = None  # in this package
    picture_tools: bool = True
    sampling: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a model without quants that does not say so, and doubles: ValueError."""
        if self.gguf != bool(self.quant):
            raise ValueError(f"{self.name} needs quants, or gguf = false")
        check_distinct("quant name", [quant.name for quant in self.quant])
        check_distinct("quality", [quant.quality for quant in self.quant])

    def made(self, sources: dict[str, _Source]) -> Model:
        """Return the model; ValueError, naming the quant, where something does not go together."""
        shape = self.geometry.made() if self.geometry else None
        quants = []
        for each in self.quant:
            try:
                quants.append(each.made(sources, shape))
            except ValueError as error:
                raise ValueError(f"{self.name}, quant {each.name}: {error}") from error
        heads = [each.made("mtp", _known(sources, each.source), each.input) for each in self.mtp]
        part = self.projector
        projector = part.made("projector", _known(sources, part.source)) if part else None
        return Model(
            name=self.name,
            title=self.title,
            geometry=shape,
            quants=tuple(sorted(quants, key=lambda quant: -quant.quality)),
            projector=projector,
            mtp=heads[0] if heads else None,
            mtp_others=tuple(heads[1:]),
            demo=self.demo,
            gguf=self.gguf,
            licence=self.licence,
            home=self.home or "",
            note=self.note,
            hint=self.hint,
            picture=str(packaged(self.picture)) if self.picture else "",
            picture_tools=self.picture_tools,
            sampling=tuple(self.sampling.items()),
        )


class _CatalogDocument(Strict, frozen=True):
    source: dict[str, _Source]
    model: tuple[_Model, ...]

    def __post_init__(self) -> None:
        """Refuse two models of one name, and any number of demos but one: ValueError."""
        check_distinct("model name", [model.name for model in self.model])
        if sum(model.demo for model in self.model) != 1:
            raise ValueError("Exactly one model must be marked demo = true")


def _known(sources: dict[str, _Source], name: str) -> _Source:
    if name not in sources:
        raise ValueError(f"[source.{name}] is missing")
    return sources[name]
