"""The combinations that the ledger is checked on, and what it predicts for each."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from runner.engine.process.flags import FLAGS
from runner.gguf.header import read_header
from runner.plan.launch import EngineFiles, Settings, launch
from runner.plan.memory.compute_buffers import Costs, Vision, vision_bytes
from runner.plan.memory.kv_cache import MTP_TOKENS, Config
from runner.plan.memory.ledger import Item, LedgerEntry, ledger
from runner.plan.model_spec import ModelSpec
from runner.weights import model_headers

CONTEXTS = (4096, 32_768, 131_072, 262_144)


@dataclass(frozen=True)
class Model:
    """One of the three models: its files, and its projector's shape."""

    name: str
    model_spec: ModelSpec
    files: EngineFiles
    vision: Vision | None = None


@dataclass(frozen=True)
class Case:
    """One combination."""

    model: Model
    config: Config

    def __str__(self) -> str:
        """Say it in one line of a table."""
        c = self.config
        extra = "".join(("+see" * c.projector, "+mtp" * c.mtp))
        slots = f"x{c.parallel}{f'+{c.spare}' * (c.spare > 0)}"
        what = f"{c.context:>7} {c.kv_type:4} {c.ubatch:>4} {slots:4} {extra:8}"
        return f"{self.model.name:5} {what}"

    def items(self, costs: Costs) -> dict[LedgerEntry, int]:
        """Return the ledger, with the scratch memory of this model's own projector."""
        model = self.model
        planned = ledger(model.model_spec, model.model_spec.variants[0], self.config, costs)
        found = {item.item: item.bytes for item in planned}
        if self.config.projector and model.vision:
            found[LedgerEntry.VISION_COMPUTE] = vision_bytes(model.vision)
        return found

    def rows(self, costs: Costs) -> tuple[Item, ...]:
        """Return the same as items."""
        return tuple(Item(entry, size, "") for entry, size in self.items(costs).items())

    def argv(self) -> tuple[str, ...]:
        """Return the launch line, as steprun itself would write it."""
        c = self.config
        files = replace(
            self.model.files,
            projector=self.model.files.projector if c.projector else None,
            mtp=self.model.files.mtp if c.mtp else None,
        )
        settings = Settings(
            context=c.context,
            kv_type=c.kv_type,
            ubatch=c.ubatch,
            parallel=c.parallel,
            shared=c.shared,
            spare=c.spare,
            checkpoints=c.checkpoints,
            cache_ram_mib=c.cache_ram_mib,
            gpu_layers=0,
            threads=2,
            load_mode="mmap",
            mtp_tokens=MTP_TOKENS if c.mtp else 0,
            repack=False,  # repacked weights would be copies, and no longer mapped
        )
        return launch(files, settings, frozenset(FLAGS)).argv


def tiny(folder: Path) -> Model:
    """Return tiny Step, its draft heads in the main file."""
    return _model("tiny", folder / "tiny-step.gguf", folder / "mmproj-tiny-step.gguf", None)


def twin(folder: Path) -> Model:
    """Return the full-size twin, in three shards."""
    weights = folder / "step-twin-IQ4_XS-00001-of-00003.gguf"
    mtp = folder / "step-twin-mtp.gguf"
    return _model("twin", weights, folder / "mmproj-step-twin.gguf", mtp)


def smol(path: Path) -> Model:
    """Return SmolLM2."""
    return _model("smol", path, None, None)


def _model(name: str, weights: Path, projector: Path | None, mtp: Path | None) -> Model:
    model_spec, _ = model_headers.read_local(weights, projector, mtp, see=True)
    vision = None
    if projector:
        said = read_header(projector).metadata
        sizes = (
            said[f"clip.vision.{key}"]
            for key in ("image_size", "patch_size", "embedding_length", "feed_forward_length")
        )
        vision = Vision(*(size for size in sizes if isinstance(size, int)))
    return Model(name, model_spec, EngineFiles(weights, projector, mtp), vision)


def cases(model: Model, *, quick: bool = False) -> Iterator[Case]:
    """Yield every combination that the model has; `quick`: a few that touch every value."""
    trained = model.model_spec.geometry.context_length
    contexts = dict.fromkeys(min(context, trained) for context in CONTEXTS)
    combinations = [
        Config(context, kv_type, ubatch, parallel, see, heads, checkpoints=0)
        for context in contexts
        for kv_type in ("f16", "q8_0")
        for ubatch in (512, 2048)
        for parallel in (1, 4)
        for see in (False, True)[: 1 + bool(model.model_spec.projector_bytes)]
        for heads in (False, True)[: 1 + bool(model.model_spec.mtp_bytes)]
    ]
    # A stride that has no factor in common with the lists' lengths meets all their values.
    chosen = combinations[:: 11 if len(combinations) > 16 else 5] if quick else combinations
    yield from (Case(model, config) for config in chosen)
