"""The model that a request names: of the catalog or the user's own, decided once."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from runner.base.errors import Refused, UsageError
from runner.catalog import models_toml
from runner.catalog.model import Model, Role
from runner.hub.address import is_remote
from runner.plan.launch import EngineFiles
from runner.plan.model_spec import ModelSpec, from_model
from runner.run.request import ModelRequest
from runner.weights import model_headers


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """A model of the catalog. `default`: it was not named."""

    model: Model
    default: bool = False

    @property
    def name_to_type(self) -> str:
        """Its name for `--model`; empty for the catalog's first model, which needs none."""
        first = models_toml.load_catalog().models[0]
        return "" if self.model.name == first.name else self.model.name


@dataclass(frozen=True, slots=True)
class OwnFile:
    """A file of a model of the user's own.

    `path`: where it is on this disk, None where it still has to be downloaded. `address`: its
    address on the network as typed, empty for a path; a signed link may be among them.
    """

    path: Path | None
    address: str = ""


@dataclass(frozen=True, slots=True)
class OwnModel:
    """A model of the user's own: its weights, and a projector or draft heads that were named."""

    files: Mapping[Role, OwnFile]

    @property
    def paths(self) -> EngineFiles | None:
        """The files as the engine takes them; None where one still has to be downloaded."""
        at = {role: file.path for role, file in self.files.items() if file.path}
        if len(at) < len(self.files):
            return None
        return EngineFiles(at["weights"], at.get("projector"), at.get("mtp"))

    @property
    def remote(self) -> dict[Role, str]:
        """The addresses of the files that still have to be downloaded, the weights first."""
        return {role: file.address for role, file in self.files.items() if file.path is None}


ModelRef = CatalogModel | OwnModel


def model_ref(request: ModelRequest) -> ModelRef:
    """Return the model that a request names. Looks into the hub's cache, asks no network.

    Raises `UsageError` for a name that the catalog does not have, an address that names no file,
    and a projector or draft heads beside a model of the catalog.
    """
    if not (_is_path(request.model) or is_remote(request.model)):
        if request.projector or request.mtp:
            raise UsageError(
                "--projector and --mtp go with a model of your own.",
                why="A model of the catalog has its own, and --profile chooses between them.",
                next="Name the model's file too: --model PATH",
            )
        return _of_catalog(request.model)
    typed: dict[Role, str | None] = {
        "weights": request.model,
        "projector": request.projector,
        "mtp": request.mtp,
    }
    return OwnModel({role: _file(text) for role, text in typed.items() if text})


def _file(text: str) -> OwnFile:
    if not is_remote(text):
        return OwnFile(Path(text).expanduser())
    from runner.weights import hub_files  # noqa: PLC0415 - most requests name nothing on the hub

    return OwnFile(hub_files.local(text), text)


def _of_catalog(name: str) -> CatalogModel:
    known = models_toml.load_catalog()
    if not name:
        return CatalogModel(known.models[0], default=True)
    return CatalogModel(known.model(name))


def _is_path(name: str) -> bool:
    return name.lower().endswith(".gguf") or "/" in name or "\\" in name


def read_model(ref: ModelRef, *, see: bool) -> tuple[ModelSpec, EngineFiles | None]:
    """Return a model as the planner sees it, and its files where they are the user's own.

    `see`: whether image input is wanted, and a vision encoder beside a model is to be looked for.
    Raises `Refused` for a model without a GGUF, and what reading a GGUF raises.
    """
    match ref:
        case CatalogModel(model, default):
            model_spec = from_model(model)
            if model_spec is None:
                raise Refused(
                    f"{model.title} cannot be run.",
                    why=model.note or "No GGUF has been published.",
                    next="To list the models: steprun models",
                )
            # What nobody typed need not be typed again.
            return (replace(model_spec, words=()) if default else model_spec), None
        case OwnModel(files):
            if at := ref.paths:
                return model_headers.read_local(at.weights, at.projector, at.mtp, see=see)
            places = {role: file.path or file.address for role, file in files.items()}
            return (
                model_headers.read_anywhere(
                    places["weights"], places.get("projector"), places.get("mtp")
                ),
                None,
            )
