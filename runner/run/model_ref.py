"""The model that a request names: one of three kinds, decided once.

Nothing later looks at the text again.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from runner.base.errors import Refused, UsageError
from runner.catalog import models_toml
from runner.catalog.model import Model
from runner.hub.address import address, is_remote
from runner.plan.launch import EngineFiles
from runner.plan.model_spec import ModelSpec, from_model
from runner.run.request import ModelRequest
from runner.weights import model_headers


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file on this disk. `address`: what it was requested by, where that is on the hub."""

    path: Path
    address: str = ""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on the network, by its address as typed; a signed link may be among them."""

    address: str

    @property
    def shown(self) -> str:
        """The address without what must not be shown."""
        return address(self.address).text


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
class LocalFiles:
    """A model of the user's own, all of whose files are on this disk."""

    weights: LocalFile
    projector: LocalFile | None = None
    mtp: LocalFile | None = None

    @property
    def paths(self) -> EngineFiles:
        """The files as the engine takes them."""
        return EngineFiles(
            self.weights.path,
            self.projector.path if self.projector else None,
            self.mtp.path if self.mtp else None,
        )


@dataclass(frozen=True, slots=True)
class HubFiles:
    """A model of the user's own, at least one of whose files is on the network."""

    weights: LocalFile | RemoteFile
    projector: LocalFile | RemoteFile | None = None
    mtp: LocalFile | RemoteFile | None = None

    @property
    def remote(self) -> tuple[RemoteFile, ...]:
        """The files on the network, the weights first."""
        files = (self.weights, self.projector, self.mtp)
        return tuple(file for file in files if isinstance(file, RemoteFile))


ModelRef = CatalogModel | LocalFiles | HubFiles


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
    weights = _file(request.model)
    projector = _file(request.projector) if request.projector else None
    mtp = _file(request.mtp) if request.mtp else None
    if (
        isinstance(weights, RemoteFile)
        or isinstance(projector, RemoteFile)
        or isinstance(mtp, RemoteFile)
    ):
        return HubFiles(weights, projector, mtp)
    return LocalFiles(weights, projector, mtp)


def _file(text: str) -> LocalFile | RemoteFile:
    if not is_remote(text):
        return LocalFile(Path(text).expanduser())
    from runner.weights import hub_files  # noqa: PLC0415 - most requests name nothing on the hub

    found = hub_files.local(text)
    return LocalFile(found, text) if found else RemoteFile(text)


def _of_catalog(name: str) -> CatalogModel:
    known = models_toml.load_catalog()
    if not name:
        return CatalogModel(known.models[0], default=True)
    return CatalogModel(known.demo if name == "demo" else known.model(name))


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
        case LocalFiles():
            at = ref.paths
            return model_headers.read_local(at.weights, at.projector, at.mtp, see=see)
        case HubFiles(weights, projector, mtp):
            extras = (_where(file) if file else None for file in (projector, mtp))
            return model_headers.read_anywhere(_where(weights), *extras), None


def _where(file: LocalFile | RemoteFile) -> Path | str:
    return file.path if isinstance(file, LocalFile) else file.address
