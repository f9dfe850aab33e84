"""A model, its quants and its files, as frozen dataclasses. Pure.

`runner.catalog.models_toml` reads the models that steprun knows. `Geometry` has the few numbers
that decide how much memory a model's caches take; the catalog states them for known models, a
GGUF header for any other (`runner.gguf.header`).
"""

from dataclasses import dataclass
from typing import Literal

from runner.base.errors import find

Role = Literal["weights", "projector", "mtp"]
Source = Literal["hf", "wheel", "file"]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer as its caches see it: elements per token and head, 0 heads where it has no cache.

    `index_length`: elements per token that sparse attention keeps beside keys and values.
    `state_bytes`: the recurrent state of one conversation, however long.
    """

    kv_heads: int
    key_length: int
    value_length: int
    sliding: bool
    index_length: int = 0
    state_bytes: int = 0

    @property
    def full(self) -> bool:
        """Whether it has a cache of the whole context."""
        return not self.sliding and self.kv_heads > 0


@dataclass(frozen=True, slots=True)
class Geometry:
    """The shape of a model.

    `layers`: the trunk's, in order. `mtp_layers`: the draft heads', empty where there are none.
    `sliding_window`: tokens, 0 where no layer slides. `experts`: per MoE layer, 0 if dense;
    `experts_used` of them for each token, each `expert_feed_forward_length` wide. `query_width`:
    elements per token of one layer's queries, where they are wider than usual; `state_width`: of
    what a recurrent layer mixes. `unverified`: sentences on why a plan for it is not proven.
    """

    arch: str
    context_length: int
    embedding_length: int
    vocab_size: int
    layers: tuple[Layer, ...]
    sliding_window: int = 0
    mtp_layers: tuple[Layer, ...] = ()
    experts: int = 0
    experts_used: int = 0
    feed_forward_length: int = 0
    expert_feed_forward_length: int = 0
    query_width: int = 0
    state_width: int = 0
    unverified: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WeightLayout:
    """Where the bytes of one quant lie, without padding: what a split over devices needs.

    `input`: the token embedding, which llama.cpp always keeps in main memory. `output`: the head
    and its norm, and every other tensor outside the layers. `resident`: of each layer, what is
    always used (attention, norms, router, shared expert, dense block). `experts`: of each layer,
    its routed experts, 0 in a dense one. `tied`: there is no head, and the embedding does its work.
    """

    input: int
    output: int
    resident: tuple[int, ...]
    experts: tuple[int, ...]
    tied: bool = False

    @property
    def total(self) -> int:
        """All of it."""
        return self.input + self.output + sum(self.resident) + sum(self.experts)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model, and where it comes from.

    `hf`: file `path` of `repo` at commit `revision`. `wheel`: member `path` of the Python package
    `repo` in version `revision`, whose archive has `archive_bytes` and `archive_sha256`. `file`:
    one that ships with steprun, at `path` on this disk. `sha256` is None where nobody published
    one. `input_bytes`: of draft heads, their own token embedding.
    """

    role: Role
    source: Source
    repo: str
    revision: str
    path: str
    bytes: int
    sha256: str | None = None
    archive_bytes: int = 0
    archive_sha256: str | None = None
    input_bytes: int = 0

    @property
    def ships(self) -> bool:
        """Whether it is part of steprun's own package: never downloaded, never deleted."""
        return self.source == "file"

    @property
    def name(self) -> str:
        """The file's own name, without folders."""
        return self.path.replace("\\", "/").rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Quant:
    """One precision of a model's weights: its shards, in order.

    `quality` orders the quants of one model, higher is better; it measures nothing.
    `auto`: whether the planner may choose it unasked.
    """

    name: str
    files: tuple[ModelFile, ...]
    quality: int
    auto: bool = True
    note: str = ""
    layout: WeightLayout | None = None

    @property
    def total_bytes(self) -> int:
        """The size of all shards in bytes."""
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True, slots=True)
class Model:
    """One model. `geometry` is None only for a model made from files whose headers say nothing.

    `mtp` is the draft heads' default file, `mtp_others` the same heads in other precisions.
    `gguf` is False where llama.cpp has nothing to load; `quants` is empty then.
    `home`: the hub repository of the model itself, whose card describes it.
    `hint`: what to ask it, for a chat that begins. `picture`: the path of a picture to ask about,
    empty where it has none. `picture_tools`: zoom and mark are offered to it by default.
    `sampling`: llama-server's sampling options for it, name and value, as its makers advise.
    """

    name: str
    title: str
    geometry: Geometry | None
    quants: tuple[Quant, ...] = ()
    projector: ModelFile | None = None
    mtp: ModelFile | None = None
    mtp_others: tuple[ModelFile, ...] = ()
    demo: bool = False
    gguf: bool = True
    licence: str = ""
    home: str = ""
    note: str = ""
    hint: str = ""
    picture: str = ""
    picture_tools: bool = True
    sampling: tuple[tuple[str, float], ...] = ()

    @property
    def files(self) -> tuple[ModelFile, ...]:
        """Every file of it, each once."""
        extra = (self.projector, self.mtp, *self.mtp_others)
        parts = (file for quant in self.quants for file in quant.files)
        return tuple(dict.fromkeys((*parts, *(file for file in extra if file is not None))))

    @property
    def ships(self) -> bool:
        """Whether all of it is part of steprun's own package."""
        return bool(self.files) and all(file.ships for file in self.files)

    def quant(self, name: str) -> Quant:
        """Find a quant by its name, in any case; UsageError with the nearest names."""
        known = {quant.name: quant for quant in self.quants}
        return find("quant", name, known, see="steprun models")


@dataclass(frozen=True, slots=True)
class Catalog:
    """All known models; the first is the one that steprun is for."""

    models: tuple[Model, ...]

    def model(self, name: str) -> Model:
        """Find a model by its name, in any case, or `demo`; UsageError with the nearest names."""
        if name.lower() == "demo":
            return self.demo
        known = {model.name: model for model in self.models}
        return find("model", name, known, see="steprun models")

    @property
    def demo(self) -> Model:
        """The small model that shows everything working without a download of 100 GB."""
        return next(model for model in self.models if model.demo)


def scaled_layout(model: Model, quant: Quant) -> WeightLayout | None:
    """Guess a quant's layout: that of the nearest quant in size which has one, made to fit.

    None where the model has none at all. A guess indeed: quants differ in how much precision they
    give to attention and how much to experts. Its total is exactly the size of the quant's files.
    """
    size = quant.total_bytes
    known = [(abs(q.total_bytes - size), q.layout) for q in model.quants if q.layout]
    if not known:
        return None
    like = min(known, key=lambda pair: pair[0])[1]
    resident, experts = (
        tuple(part * size // like.total for part in parts)
        for parts in (like.resident, like.experts)
    )
    embedding = like.input * size // like.total
    rest = size - embedding - sum(resident) - sum(experts)
    return WeightLayout(embedding, rest, resident, experts)
