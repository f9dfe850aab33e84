"""From a request to a plan and its engine: what `plan`, `chat`, `serve` and `bench` share."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from runner.base.errors import Refused
from runner.catalog import models_toml
from runner.catalog.model import Model, ModelFile
from runner.engine.builder import recipe
from runner.engine.installed import pick, resuming, store
from runner.engine.installed.flag_values import fitted
from runner.engine.installed.stamp import Kind
from runner.engine.installed.store import InstalledEngine
from runner.engine.process.flags import FLAGS
from runner.machine.facts import Backend, Machine, Platform
from runner.plan import weigh
from runner.plan.choose import Plan, choose
from runner.plan.floors import floors
from runner.plan.launch import EngineFiles, LaunchSpec, RunDefaults, launch
from runner.plan.model_spec import ModelSpec
from runner.plan.request import PlanRequest
from runner.run import lessons, machine_view
from runner.run.model_ref import CatalogModel, ModelRef, model_ref, read_model
from runner.run.request import ModelRequest
from runner.speed import estimate as speed
from runner.speed.bandwidth import Elsewhere, share_on_disk
from runner.speed.estimate import Speed, estimate
from runner.speed.measured import Run
from runner.weights import cache_layout

_Answer = TypeVar("_Answer")
# What llama-server takes, and the embedded engine does not.
BEYOND_EMBEDDED = frozenset({"--device"})


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan, the model that it is for, and the engine that would run it.

    `own_files`: the files of a model of the user's own, with those that were found beside it.
    `chosen`: None where the plan is for another machine, or for an engine yet to be made.
    `lost`: the name of the engine in use, where it cannot be taken. `prompts`: whether those that
    were read are kept on the disk, in a sentence.
    """

    plan: Plan
    ref: ModelRef
    own_files: EngineFiles | None = None
    chosen: InstalledEngine | None = None
    lost: str = ""
    prompts: str = ""

    @property
    def engine(self) -> InstalledEngine:
        """The engine that would be started."""
        return self.chosen or store.embedded()

    @property
    def model(self) -> Model | None:
        """The model of the catalog; None for one of the user's own."""
        return self.ref.model if isinstance(self.ref, CatalogModel) else None

    @property
    def title(self) -> str:
        """The model's name for people."""
        return self.model.title if self.model else self.plan.model_spec.name

    def wanted(self) -> tuple[ModelFile, ...]:
        """Return the catalog's files that the plan uses, the weights' first shard first."""
        if self.model is None:
            return ()
        config, quant = self.plan.config, self.model.quant(self.plan.variant.name)
        return cache_layout.needs(self.model, quant, projector=config.projector, mtp=config.mtp)


def make_plan(
    request: ModelRequest,
    machine_from: str | None = None,
    *,
    to_run: bool = False,
    verb: str = "chat",
) -> Prepared:
    """Plan for this machine, or for the machine of a preset or a capture, which runs nothing.

    `to_run`: for an installed engine, which may not be able to use the accelerator, and for the
    memory that is available now. Else an engine that cannot use the accelerator is left out of
    the plan: a better one can be built. `verb`: the command that advice names. Raises `UsageError`
    for what does not exist, `Refused` for a model that llama.cpp cannot load, and `BadFile` for a
    GGUF that is not what it should be.
    """
    current = store.current().name
    engines = store.engines() if machine_from is None and not request.engine else ()
    named = store.find_engine(request.engine) if machine_from is None and request.engine else None

    def engine_for(machine: Machine) -> InstalledEngine | None:
        best = pick.pick(engines, current, machine) if engines else None
        return best if best and (to_run or not pick.rank(best, machine)) else named

    ref = model_ref(request)
    ways = weigh.ways(machine_view.probed(machine_from))
    chosen = [engine_for(way) for way in ways]
    # Whether an image encoder is read is the same for all: a failing one is left out of the plan.
    asks = [_able(request.ask, engine) for engine in chosen]
    model_spec, own_files = read_model(ref, see=any(ask.see for ask in asks))
    if model_spec.verb == "chat":  # else no command but that one takes the model
        model_spec = replace(model_spec, verb=verb)
    number, plan = weigh.weigh(
        [
            _plan_on(
                machine_view.for_engine(way, engine, to_start=to_run),
                model_spec,
                ask,
                partial(_with_slots, engine=engine, on_disk=request.kv_disk != 0),
                None if machine_from else engine,
            )
            for way, engine, ask in zip(ways, chosen, asks, strict=True)
        ]
    )
    engine = chosen[number]
    if to_run and engine is not None:
        store.check_tested(engine)
    if engine is not None and (fails := pick.fails_beyond(engine, plan.model_spec)):
        plan = replace(plan, warnings=(*plan.warnings, fails))
    lost = current if engine and not request.engine and current != engine.name else ""
    off = "Prompts that were read are not kept on the disk (--kv-disk off)."
    kept = off if request.kv_disk == 0 else resuming.in_words(engine, engines)
    kept = kept if plan.fits else ""
    if kept:
        plan = replace(plan, reasons=(*plan.reasons, kept))
    return Prepared(plan, ref, own_files, engine, lost, kept)


def _able(ask: PlanRequest, engine: InstalledEngine | None) -> PlanRequest:
    """Return the request without what an engine fails at."""
    return ask if engine is None else replace(ask, without=frozenset(engine.stamp.broken))


def _with_slots(
    defaults: RunDefaults, *, engine: InstalledEngine | None, on_disk: bool
) -> RunDefaults:
    """Return the defaults with what an engine can do with a prompt that it has read."""
    able = resuming.resuming(engine)
    return replace(
        defaults,
        shared_slots=engine is None or "--kv-unified" in engine.stamp.flags,
        spare_slot=able.spare_slot,
        keeps_prompts=able.keeps and on_disk,
    )


def run_defaults(prepared: Prepared, request: ModelRequest) -> RunDefaults:
    """Return how the engine of a plan is best run here, as the plan was made with it."""
    defaults = recipe.load_recipe(prepared.plan.machine.backend).run
    return _with_slots(defaults, engine=prepared.chosen, on_disk=request.kv_disk != 0)


def choose_plan(machine: Machine, model_spec: ModelSpec, ask: PlanRequest) -> Plan:
    """Plan for the best way to use the machine's devices."""
    return weigh.weigh([_plan_on(way, model_spec, ask) for way in weigh.ways(machine)])[1]


def main_machine(machine: Machine) -> Machine:
    """Return the machine by the devices that the catalog's first model is planned for.

    An engine is made for these.
    """
    if not machine.alternatives:
        return machine
    model = models_toml.load_catalog().models[0]
    model_spec, _ = read_model(CatalogModel(model), see=True)
    ways = weigh.ways(machine)
    number, _ = weigh.weigh([_plan_on(way, model_spec, PlanRequest()) for way in ways])
    others = tuple(way for at, way in enumerate(ways) if at != number)
    return replace(ways[number], alternatives=others)


def _plan_on(
    machine: Machine,
    model_spec: ModelSpec,
    ask: PlanRequest,
    able: Callable[[RunDefaults], RunDefaults] = lambda defaults: defaults,
    engine: InstalledEngine | None = None,
) -> Plan:
    """Plan with the recipe of the machine's backend.

    `able`: adds what the engine is able to. `engine`: what its runs have shown here is counted,
    too; None for another machine. Where the cards are too small to help at all, for the
    processor and main memory.
    """

    def on(machine: Machine) -> Plan:
        defaults = recipe.load_recipe(machine.backend).run
        defaults = replace(able(defaults), lesson=lessons.recall(machine, engine))
        return choose(machine, model_spec, ask, defaults)

    plan = on(machine)
    plain = None if plan.fits else machine_view.without_cards(machine)
    if plain is None:
        return plan
    other = on(plain)
    return other if other.fits else plan


def must_fit(prepared: Prepared) -> None:
    """Raise `Refused` where the plan does not fit; the ledger and the fixes are in the plan."""
    if not prepared.plan.fits:
        raise Refused(
            f"{prepared.title} does not fit on this machine.",
            why=prepared.plan.reasons[0],
            next="Apply one of the fixes that `steprun plan` lists, or try a small model: "
            f"{prepared.plan.model_spec.demo_command}",
        )


def engine_notice(prepared: Prepared) -> str:
    """Say which engine it is, and where it leaves this machine's accelerator idle."""
    engine, machine = prepared.engine, prepared.plan.machine
    notice = pick.in_words(engine, prepared.lost)
    if machine.backend is not Backend.CPU or machine.platform is Platform.CPU:
        return notice
    return f"{notice} It leaves {machine.name} idle; to build one for it: steprun engine build"


# --- the launch line


def spec_of(prepared: Prepared, files: EngineFiles) -> LaunchSpec:
    """Return what to start, whether the files have been downloaded yet or not."""
    stamp, plan = prepared.engine.stamp, prepared.plan
    spec = fitted(launch(files, plan.settings, stamp.flags, plan.held_bytes), stamp.values)
    safe = tuple(f for f in stamp.safe_flags if f in stamp.flags and f not in spec.argv)
    tested = stamp.features.get("long_word")
    passed = tested is not None and tested.result == "pass"
    return replace(
        spec,
        argv=(*spec.argv, *safe),
        long_words=passed,
        floors=floors(plan),
        expected=lessons.expected(plan, prepared.engine),
    )


def launch_line(prepared: Prepared, files: EngineFiles) -> LaunchSpec:
    """Return the launch line as a llama-server takes it, the program first."""
    engine, plan = prepared.engine, prepared.plan
    if engine.stamp.kind is Kind.SERVER:
        spec = spec_of(prepared, files)
        return replace(spec, argv=(*engine.program, *spec.argv))
    spec = launch(files, plan.settings, frozenset(FLAGS) | BEYOND_EMBEDDED, plan.held_bytes)
    return replace(spec, argv=("llama-server", *spec.argv))


def check_lost(name: str, spec: LaunchSpec) -> None:
    """Raise `Refused` where a program lacks a flag that the plan rests on."""
    if spec.lost:
        raise Refused(
            f"The engine {name} cannot run this plan.",
            why=f"It does not know {', '.join(spec.lost)}, on which the plan rests.",
            next="To choose another: steprun engine list",
        )


# --- how fast it should be


def expected_speed(plan: Plan) -> Speed | None:
    """Return how fast the plan should be; None where nothing can be said."""
    return _of_speed(plan, estimate) if plan.fits else None


def published_run(plan: Plan) -> Run | None:
    """Return the published measurements that are nearest to a plan; None where none apply."""
    return _of_speed(plan, speed.published) if plan.fits else None


def _of_speed(plan: Plan, question: Callable[..., _Answer]) -> _Answer:
    from runner.speed import tables  # noqa: PLC0415 - reading them takes a few milliseconds

    ram = plan.placement.held[-1]
    paged_out = max(0, ram.paged_bytes - ram.spare_bytes)  # what main memory cannot keep
    room = plan.variant.weights_bytes - paged_out
    on_disk = share_on_disk(plan.model_spec.geometry, plan.variant, room)
    away = Elsewhere(max(0.0, plan.placement.experts_share - on_disk), on_disk)
    used = tuple(plan.machine.devices[card] for card in plan.placement.cards)
    return question(
        replace(plan.machine, devices=used) if used else plan.machine,
        plan.model_spec.geometry,
        plan.variant,
        plan.config,
        tables.tables(),
        elsewhere=away,
    )
