"""Where a plan's files are on this disk, which are missing, and which are known to be damaged."""

from dataclasses import dataclass
from pathlib import Path

from runner.base.errors import BadFile
from runner.base.shell import quoted
from runner.catalog import shards
from runner.catalog.model import ModelFile, Role
from runner.plan.launch import EngineFiles
from runner.run.model_ref import CatalogModel, ModelRef
from runner.run.prepare import Prepared
from runner.weights import cache_layout


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where the engine finds its files, or will find them once they are downloaded.

    `missing`: the catalog's files that are not on this disk, or not whole. A model on the network
    has none here: only the hub knows its files.
    """

    files: EngineFiles
    missing: tuple[ModelFile, ...] = ()


def locate(prepared: Prepared) -> ModelFiles:
    """Look up the files of a plan. Names and sizes are checked, no file is read."""
    if prepared.own_files is not None:
        return ModelFiles(prepared.own_files)
    if prepared.model is None:
        return ModelFiles(_placeholders(prepared))
    name, wanted = prepared.model.name, prepared.wanted()
    found = {file: cache_layout.locate(file, name) for file in wanted}
    at = {file.role: path or cache_layout.expected_path(file, name) for file, path in found.items()}
    weights = cache_layout.first([file for file in wanted if file.role == "weights"], name)
    return ModelFiles(
        EngineFiles(weights, at.get("projector"), at.get("mtp")),
        tuple(file for file, path in found.items() if path is None),
    )


def _placeholders(prepared: Prepared) -> EngineFiles:
    """Return names to show in a launch line for files that are on the network."""
    model_spec, config = prepared.plan.model_spec, prepared.plan.config
    return EngineFiles(
        Path(f"{model_spec.name}.gguf"),
        Path("mmproj.gguf") if config.projector else None,
        Path("heads.gguf") if config.mtp and not model_spec.mtp_inside else None,
    )


def must_be_intact(prepared: Prepared, files: EngineFiles) -> None:
    """Raise `BadFile` where an earlier verification found a file to be damaged."""
    from runner.weights import verified  # noqa: PLC0415 - its locks cost `plan` some milliseconds

    known = verified.recall_all()
    parts = [files.weights.with_name(name) for name in shards.series(files.weights.name)]
    found: list[tuple[Role, Path | None]] = [
        *(("weights", part) for part in parts),
        ("projector", files.projector),
        ("mtp", files.mtp),
    ]
    for role, path in found:
        verdict = verified.of(known, path) if path else None
        if path and verdict and not verdict.intact:
            raise BadFile(
                f"{path.name} is damaged.",
                why="Its sha256 is not the published one: `steprun models verify` found that.",
                next=_repair(prepared.ref, role),
            )


def _repair(ref: ModelRef, role: Role) -> str:
    if isinstance(ref, CatalogModel):
        return models_command("repair", model=ref.name_to_type)
    named = ref.files.get(role)
    if named and named.address:
        return models_command("repair", named.address)
    return "Download it again; a file of the catalog: steprun models repair"


def models_command(verb: str, what: str = "", model: str = "") -> str:
    """Return a `steprun models` command, for people to type next.

    `what`: a quant or an address. `model`: its name, where it is not the catalog's first.
    """
    words = ("steprun models", verb, what and quoted(what), f"--model {model}" if model else "")
    return " ".join(word for word in words if word)
