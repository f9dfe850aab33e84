"""From a request to a plan to files on this disk: what `plan`, `chat` and `serve` share."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, TypeVar

import click

from runner.base.errors import Refused, UsageError
from runner.catalog import models_toml
from runner.catalog.model import Model, ModelFile
from runner.cli import output
from runner.cli.options import ModelRequest
from runner.engine.builder import recipe
from runner.engine.installed import describe, pick, store
from runner.engine.installed.stamp import Kind
from runner.engine.installed.store import InstalledEngine
from runner.engine.process.flags import FLAGS
from runner.hub.address import address, is_remote
from runner.machine.captures import capture
from runner.machine.facts import Backend, Machine, Platform, as_it_is_now, on_processor
from runner.machine.probe import detect
from runner.machine.probes import engine_view
from runner.plan.choose import Plan, choose
from runner.plan.launch import EngineFiles, LaunchSpec, launch
from runner.plan.model_spec import ModelSpec, from_model
from runner.plan.placement import is_split
from runner.plan.request import PlanRequest
from runner.speed import estimate as speed
from runner.speed.estimate import Elsewhere, Speed, estimate, share_on_disk
from runner.speed.measured import Run
from runner.weights import cache_layout, model_headers

_Told = TypeVar("_Told")
# What llama-server takes for cards, and the embedded engine, which has none, does not.
BEYOND_EMBEDDED = frozenset(
    {
        "--device",
        "--split-mode",
        "--tensor-split",
        "--n-cpu-moe",
        "--no-mmproj-offload",
        "--spec-draft-device",
    }
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan, the engine for it, and where its files come from: the user's own, or the catalog's.

    `far`: the model is on the network, at these addresses: as people are told, and as they were
    typed in `addresses` (model, projector, draft heads).
    `chosen` is None where the plan is for another machine, or for an engine yet to be made.
    `lost`: the engine that was to be taken and cannot be.
    """

    plan: Plan
    chosen: InstalledEngine | None = None
    own_files: EngineFiles | None = None
    model: Model | None = None
    far: tuple[str, ...] = ()
    addresses: tuple[str, str | None, str | None] = ("", None, None)
    lost: str = ""

    @property
    def engine(self) -> InstalledEngine:
        """The engine that would be started."""
        return self.chosen or store.embedded()

    @property
    def title(self) -> str:
        """The model's name for people."""
        return self.model.title if self.model else self.plan.model_spec.name

    def wanted(self) -> tuple[ModelFile, ...]:
        """Return the catalog's files that the plan uses, the weights' first shard first."""
        if self.model is None:
            return ()
        config = self.plan.config
        extra = ((self.model.projector, config.projector), (self.model.mtp, config.mtp))
        return (
            *self.model.quant(self.plan.variant.name).files,
            *(file for file, used in extra if file is not None and used),
        )

    def files(self) -> EngineFiles:
        """Return where the files are, or will be once they are here."""
        if self.own_files is not None:
            return self.own_files
        if self.far:
            config = self.plan.config
            return EngineFiles(
                Path(f"{self.plan.model_spec.name}.gguf"),
                Path("mmproj.gguf") if config.projector else None,
                Path("heads.gguf") if config.mtp and not self.plan.model_spec.mtp_inside else None,
            )
        model, wanted = self.plan.model_spec.name, self.wanted()
        at: dict[str, Path] = {}
        for file in wanted:
            at.setdefault(
                file.role,
                cache_layout.locate(file, model) or cache_layout.expected_path(file, model),
            )
        weights = cache_layout.first([file for file in wanted if file.role == "weights"], model)
        return EngineFiles(weights, at.get("projector"), at.get("mtp"))


def make_plan(
    request: ModelRequest, machine_from: str | None = None, *, to_run: bool = False
) -> Prepared:
    """Plan for this machine, or for the machine of a capture.

    `to_run`: for the engine that is here, which may not be able to use the accelerator. Else an
    engine that cannot is left out of the plan: a better one can be made.
    """
    found = detect(_reader(machine_from))
    engine: InstalledEngine | None = None
    if machine_from is None or to_run:
        engine = _engine(request.engine, found)
        if not to_run and not request.engine and pick.rank(engine, found):
            engine = None
    if to_run:
        found = as_it_is_now(_asked(engine, found))
    if engine is not None:
        found = pick.seen_by(engine, found)
        request = replace(request, ask=replace(request.ask, without=frozenset(engine.stamp.broken)))
    own_files: EngineFiles | None = None
    model: Model | None = None
    named = (request.model, request.projector, request.mtp)
    request = _come(request)
    far = _on_network(request)
    own_model = _is_path(request.model) or is_remote(request.model)
    if (request.projector or request.mtp) and not own_model:
        raise UsageError(
            "--projector and --mtp go with a model of your own.",
            why="A model of the catalog has its own, which --profile chooses between.",
            next="Name the model's file too: --model PATH",
        )
    if far:
        from runner.weights.model_headers import read_anywhere

        model_spec = read_anywhere(request.model, request.projector, request.mtp)
    elif _is_path(request.model):
        path = Path(request.model).expanduser()
        projector, mtp = (_path(part) for part in (request.projector, request.mtp))
        model_spec, own_files = model_headers.read_local(path, projector, mtp, see=request.ask.see)
    else:
        model = _known(request.model)
        catalogued = from_model(model)
        if catalogued is None:
            raise Refused(
                f"{model.title} cannot be run here.",
                why=model.note or "There is no GGUF of it.",
                next="See what can: steprun models",
            )
        # What nobody typed need not be typed again.
        model_spec = catalogued if request.model else replace(catalogued, words=())
    plan = _choose(found, model_spec, request.ask)
    if engine is not None and (fails := pick.fails_beyond(engine, plan.model_spec)):
        plan = replace(plan, warnings=(*plan.warnings, fails))
    current = store.current().name
    lost = current if engine and not request.engine and current != engine.name else ""
    return Prepared(plan, engine, own_files, model, far, named, lost)


def _engine(name: str, machine: Machine) -> InstalledEngine:
    """Return the engine of that name, or the one that suits the machine best."""
    if name:
        return store.find_engine(name)
    return pick.pick(store.engines(), store.current().name, machine)


def _asked(engine: InstalledEngine | None, machine: Machine) -> Machine:
    """Return the machine with what the engine itself says of its devices."""
    if engine is None or engine.stamp.backend is Backend.CPU:
        return machine
    if "--list-devices" not in engine.stamp.flags:
        return machine
    return engine_view.apply(machine, describe.listing(engine.program), f"the {engine.name} engine")


def _come(request: ModelRequest) -> ModelRequest:
    """Return the request with the paths of what it names on the hub and is in the hub's cache."""
    if not any(
        text and is_remote(text) for text in (request.model, request.projector, request.mtp)
    ):
        return request
    from runner.weights import hub_files as named

    def path(text: str | None) -> str | None:
        found = named.local(text) if text and is_remote(text) else None
        return str(found) if found else text

    model, projector, mtp = (path(t) for t in (request.model, request.projector, request.mtp))
    return replace(request, model=model or "", projector=projector, mtp=mtp)


def _on_network(request: ModelRequest) -> tuple[str, ...]:
    """Return the files of a request that lie on the network; the model first, and only there."""
    named = (request.model, request.projector, request.mtp)
    return tuple(address(text).text for text in named if text and is_remote(text))


def _path(text: str | None) -> Path | None:
    return Path(text).expanduser() if text else None


def _reader(machine_from: str | None) -> capture.Reader:
    """Return this machine, or the one of a preset or of a capture's file."""
    if machine_from is None:
        return capture.Live()
    from runner.machine.captures import presets

    return capture.Replay(presets.open_capture(machine_from))


def _choose(machine: Machine, model_spec: ModelSpec, ask: PlanRequest) -> Plan:
    """Plan; where cards are too small to help at all, for the processor and main memory."""
    plan = choose(machine, model_spec, ask, recipe.load_recipe(machine.backend).run)
    if plan.fits or not is_split(machine):
        return plan
    plain = on_processor(machine)
    without = choose(plain, model_spec, ask, recipe.load_recipe(plain.backend).run)
    return without if without.fits else plan


def _known(name: str) -> Model:
    known = models_toml.load_catalog()
    if not name:
        return known.models[0]
    return known.demo if name == "demo" else known.model(name)


def _is_path(name: str) -> bool:
    return name.lower().endswith(".gguf") or "/" in name or "\\" in name


def expected_speed(plan: Plan) -> Speed | None:
    """Return how fast the plan should be; None where nothing can be said."""
    return _of_speed(plan, estimate) if plan.fits else None


def published_run(plan: Plan) -> Run | None:
    """Return the published measurements that are nearest to a plan, if any say something of it."""
    return _of_speed(plan, speed.published) if plan.fits else None


def _of_speed(plan: Plan, ask: Callable[..., _Told]) -> _Told:
    from runner.speed import tables

    on_disk = _share_on_disk(plan)
    away = Elsewhere(max(0.0, plan.placement.experts_share - on_disk), on_disk)
    used = tuple(plan.machine.devices[card] for card in plan.placement.cards)
    return ask(
        replace(plan.machine, devices=used) if used else plan.machine,
        plan.model_spec.geometry,
        plan.variant,
        plan.config,
        tables.tables(),
        elsewhere=away,
    )


def _share_on_disk(plan: Plan) -> float:
    """Return the part of the routed experts that main memory cannot keep."""
    if not plan.paged:
        return 0.0
    ram = plan.placement.held[-1]
    missing = max(0, ram.paged_bytes - ram.spare_bytes)
    room = plan.variant.weights_bytes - missing
    return share_on_disk(plan.model_spec.geometry, plan.variant, room)


def spec_of(prepared: Prepared) -> LaunchSpec:
    """Return what to start, whether the files are here yet or not."""
    stamp = prepared.engine.stamp
    spec = launch(prepared.files(), prepared.plan.settings, stamp.flags, prepared.plan.held_bytes)
    safe = tuple(f for f in stamp.safe_flags if f in stamp.flags and f not in spec.argv)
    return replace(spec, argv=(*spec.argv, *safe))


def launch_line(prepared: Prepared) -> LaunchSpec:
    """Return the launch line as a llama-server takes it, the program first."""
    engine = prepared.engine
    if engine.stamp.kind is Kind.SERVER:
        spec = spec_of(prepared)
        return replace(spec, argv=(*engine.program, *spec.argv))
    flags = frozenset(FLAGS) | BEYOND_EMBEDDED
    spec = launch(prepared.files(), prepared.plan.settings, flags, prepared.plan.held_bytes)
    return replace(spec, argv=("llama-server", *spec.argv))


def check_lost(name: str, spec: LaunchSpec) -> None:
    """Raise `Refused` where a program lacks a flag that the plan rests on."""
    if spec.lost:
        raise Refused(
            f"The engine {name} cannot run this plan.",
            why=f"It does not know {', '.join(spec.lost)}, on which the plan rests.",
            next="Take another: steprun engine list",
        )


def refuse(prepared: Prepared) -> NoReturn:
    """Show the ledger on stderr and refuse."""
    plan = prepared.plan
    click.echo(output.plan_text(plan, LaunchSpec(())) + "\n", err=True)
    raise Refused(
        f"{prepared.title} does not fit on this machine.",
        why=plan.reasons[0],
        next="One of the lines above; to see the chat at work now: steprun chat --demo",
    )


def engine_notice(prepared: Prepared) -> str:
    """Say which engine it is, and where it leaves this machine's accelerator idle."""
    engine, machine = prepared.engine, prepared.plan.machine
    said = pick.in_words(engine, prepared.lost)
    if machine.backend is not Backend.CPU or machine.platform is Platform.CPU:
        return said
    return (
        f"{said} {machine.name} could do far better with an engine built for it: "
        "steprun engine build"
    )
