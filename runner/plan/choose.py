"""The choice: the best quality whose ledger fits, at the longest useful context. Pure.

`candidates` lists what is tried and in which order things are reduced; `placement` computes where
each candidate would lie. The first that fits is taken.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from msgspec import structs

from runner.machine.facts import Backend, Machine, on_processor
from runner.plan import explain
from runner.plan.candidates import (
    ENOUGH_QUALITY,
    MORE_CHECKPOINTS,
    PROMPT_CACHES,
    SHORTEST,
    configs,
    contexts,
    least,
    most_cache_mib,
    variants,
)
from runner.plan.devices import device_selection
from runner.plan.explain import Choice
from runner.plan.fixes import Fix, fixes, gains
from runner.plan.launch import RunDefaults, Settings
from runner.plan.memory.compute_buffers import batch
from runner.plan.memory.kv_cache import CHECKPOINTS, MTP_TOKENS, Config
from runner.plan.memory.ledger import Item, LedgerEntry, merged, total
from runner.plan.memory.lessons import Lesson
from runner.plan.model_spec import ModelSpec, Variant
from runner.plan.placement import WHOLE, Offload, Placement, is_split, place
from runner.plan.request import PlanRequest

ALL_LAYERS = 999  # llama.cpp takes at most 512
# A quant from here on (IQ4_XS) is good enough that no better one is worth leaving the cards for:
# its loss is a few percent, and experts read from main memory cost most of the speed.
GOOD_QUALITY = 60
# Of experts in main memory, what a token may read there: 60 GB/s (two channels of DDR5, as they
# are in practice) for 20 tokens a second, faster than one reads. Below that a smaller quant is
# the better one.
RAM_BYTES_PER_TOKEN = 3_000_000_000
_EXPERTS_ON_CPU = Offload(experts_on_cpu=True)
_ALL_BUT_LAYERS = Offload(experts_on_cpu=True, mmproj_on_cpu=True)


@dataclass(frozen=True, slots=True)
class Plan:
    """What would run here and why; `fits` False is a refusal with the best candidate's ledger."""

    fits: bool
    machine: Machine
    model_spec: ModelSpec
    variant: Variant
    config: Config
    placement: Placement
    settings: Settings
    reasons: tuple[str, ...]
    choices: tuple[Choice, ...] = ()
    fixes: tuple[Fix, ...] = ()
    warnings: tuple[str, ...] = ()
    paged: bool = False
    lesson: Lesson | None = None

    @property
    def items(self) -> tuple[Item, ...]:
        """The ledger of the memories that the model needs, together."""
        return self.placement.items

    @property
    def total_bytes(self) -> int:
        """The whole ledger, reserve included."""
        return total(self.items)

    @property
    def limit_bytes(self) -> int:
        """What there is in all: of cards, and of main memory where the model needs it too."""
        return sum(part.pool.limit_bytes for part in self.placement.counted)

    @property
    def limit_source(self) -> str:
        """Where that figure comes from."""
        if len(self.placement.counted) <= max(1, len(self.placement.layers)):
            return self.machine.limit_source
        now = "" if self.machine.idle_bytes is not None else " that is available now"
        return f"{self.machine.limit_source}, plus main memory{now}"

    @property
    def held_bytes(self) -> int:
        """What the engine will hold: the ledger without the reserve."""
        items = merged(part.items for part in self.placement.held)
        return total(item for item in items if item.item is not LedgerEntry.RESERVE)


@dataclass(frozen=True, slots=True)
class _Found:
    """A candidate that has room, and where it lies."""

    variant: Variant
    config: Config
    offload: Offload
    placement: Placement


def choose(
    machine: Machine, model_spec: ModelSpec, request: PlanRequest, defaults: RunDefaults
) -> Plan:
    """Decide. `defaults` are the backend's run-time defaults.

    Raises UsageError for a request that names what does not exist.
    """
    search = _Search(machine, model_spec, defaults)
    found, paged = search.best(request), False
    if found is None and request.allow_paging:
        # Only the processor can work from a mapping that is larger than a shared memory.
        if not is_split(machine):
            machine = on_processor(machine)
            costs = structs.replace(defaults.costs, device_mib=0, staging=False, kv_copy="never")
            defaults = replace(defaults, costs=costs)
        search = _Search(machine, model_spec, defaults)
        found = search.paging(request)
        paged = found is not None
    fits = found is not None
    found = search.with_extras(found, paged=paged) if found else search.nearest(request)
    story = search.story(request, found)
    if fits:
        reasons = tuple(story.reasons(paged=paged))
        warnings = tuple(story.warnings(paged=paged))
        held = total(i for i in found.placement.held[-1].items if i.item is not LedgerEntry.RESERVE)
        helps = gains(machine, request, search.fitting, held_bytes=held)
    else:
        reasons, warnings = (story.too_large(),), ()
        helps = fixes(machine, model_spec, request, search.fitting, search.smallest(request))
    return Plan(
        fits=fits,
        machine=machine,
        model_spec=model_spec,
        variant=found.variant,
        config=found.config,
        placement=found.placement,
        settings=_settings(machine, model_spec, found, defaults, paged=paged),
        reasons=reasons,
        choices=tuple(story.choices(paged=paged)),
        fixes=helps,
        warnings=warnings,
        paged=paged,
        lesson=defaults.lesson,
    )


def changed(plan: Plan, defaults: RunDefaults, variant: Variant, config: Config) -> Plan:
    """Return a plan with another quant and configuration, placed as the first one is.

    Whether it `fits` is as for any plan; its reasons and choices are those of the first one.
    """
    was, defaults = plan.placement, replace(defaults, lesson=plan.lesson)
    offload = Offload(was.n_cpu_moe > 0, was.mmproj_on_cpu, plan.paged)
    placement = place(plan.machine, plan.model_spec, variant, config, defaults, offload=offload)
    found = _Found(variant, config, offload, placement)
    settings = _settings(plan.machine, plan.model_spec, found, defaults, paged=plan.paged)
    return replace(
        plan,
        fits=placement.fits,
        variant=variant,
        config=config,
        placement=placement,
        settings=settings,
    )


class _Search:
    """Looks for what has room on one machine."""

    def __init__(self, machine: Machine, model_spec: ModelSpec, defaults: RunDefaults) -> None:
        self.machine, self.model_spec, self.defaults = machine, model_spec, defaults

    def best(self, request: PlanRequest) -> _Found | None:
        """Return the best candidate that has room without paging.

        Beside cards there are several ways, in this order: a good quant whole on the cards; the
        best one up to Q4_K_S with some experts in main memory that is still read fast enough;
        whatever lies on the cards, or beside them, at all, the projector in main memory last.
        """
        tried = variants(self.model_spec, request)
        if not is_split(self.machine):
            return self.first(tried, request)
        good = [v for v in tried if v.quality >= GOOD_QUALITY or len(tried) == 1]
        beside = [v for v in tried if v.quality <= ENOUGH_QUALITY or len(tried) == 1]
        return (
            self.first(good, request)
            or self.first(beside, request, _EXPERTS_ON_CPU, fast=True)
            or self.first(tried, request)
            or self.first(tried, request, _EXPERTS_ON_CPU)
            or self.first(tried, request, _ALL_BUT_LAYERS)
        )

    def paging(self, request: PlanRequest) -> _Found | None:
        """Return what can run with its weights on the disk.

        The less there is to read again and again, the better: the smallest quant first, and no
        longer a context than was requested, as the caches push weights out of memory.
        """
        trained = self.model_spec.geometry.context_length or SHORTEST
        request = replace(request, context=request.context or min(SHORTEST, trained))
        tried = sorted(variants(self.model_spec, request), key=lambda v: v.weights_bytes)
        return self.first(tried, request, replace(_ALL_BUT_LAYERS, paging=True))

    def first(
        self,
        tried: Iterable[Variant],
        request: PlanRequest,
        offload: Offload = WHOLE,
        *,
        fast: bool = False,
    ) -> _Found | None:
        """Return the first candidate, best first, that has room."""
        most = _most_bytes(self.machine, offload)
        for variant in tried:
            if variant.weights_bytes > most and not offload.paging:
                continue  # no configuration can help: most of a refusal's time is saved here
            found = self._longest(variant, request, offload, fast=fast)
            if found is not None:
                return found
        return None

    def _longest(
        self, variant: Variant, request: PlanRequest, offload: Offload, *, fast: bool
    ) -> _Found | None:
        """Return a quant at the longest context that has room.

        Room shrinks as the context grows, so that the longest is found by halving.
        """
        tried = contexts(self.model_spec, request, variant)
        best, low, high = None, 0, len(tried)
        while low < high:
            # The shortest first: most of a refusal's time is saved here.
            middle = (low + high) // 2 if best else 0
            found = self._at(variant, request, offload, tried[middle], fast=fast)
            if found is None:
                high = middle
            else:
                best, low = found, middle + 1
        return best

    def _at(
        self, variant: Variant, request: PlanRequest, offload: Offload, context: int, *, fast: bool
    ) -> _Found | None:
        """Return the best configuration of one context that has room."""
        ask = (self.model_spec, request, self.defaults, context)
        if not any(self._place(variant, config, offload).fits for config in least(*ask)):
            return None
        for config, room in configs(*ask):
            placement = self._place(variant, config, offload)
            enough = placement.fits and placement.spare_bytes >= room
            if enough and not (fast and self._slow(variant, placement)):
                return _Found(variant, config, offload, placement)
        return None

    def with_extras(self, found: _Found, *, paged: bool) -> _Found:
        """Spend up to half of the room that is left over on what saves reading prompts again.

        Beside the engine's own prompt cache a spare slot is of no use: the engine empties it with
        each request for another one.
        """
        if is_split(self.machine) and self.machine.available_bytes is None:
            return found  # they would lie in main memory, of which nothing is known
        keep = found.placement.held[-1].spare_bytes // 2
        most = most_cache_mib(self.model_spec.geometry, found.config)
        caches = [] if self.defaults.keeps_prompts else [c for c in PROMPT_CACHES if c <= most]
        tried = [replace(found.config, spare=0, cache_ram_mib=mib) for mib in caches]
        tried.append(replace(found.config, checkpoints=MORE_CHECKPOINTS))
        for config in () if paged else tried:
            placement = self._place(found.variant, config, found.offload)
            if placement.fits and placement.held[-1].spare_bytes >= keep:
                return replace(found, config=config, placement=placement)
        return found

    def nearest(self, request: PlanRequest) -> _Found:
        """Return what came nearest to fitting: the last candidate, as it gave up the most."""
        variant = min(variants(self.model_spec, request), key=lambda v: v.weights_bytes)
        config = self.least(request)
        offload = replace(_ALL_BUT_LAYERS, paging=request.allow_paging)
        return _Found(variant, config, offload, self._place(variant, config, offload))

    def story(self, request: PlanRequest, found: _Found) -> explain.Story:
        """Return the explanation of a candidate."""

        def missing(variant: Variant, config: Config) -> int:
            kept = min(config.checkpoints, CHECKPOINTS)
            bare = replace(config, checkpoints=kept, cache_ram_mib=0)
            return max(0, -self._place(variant, bare, found.offload).spare_bytes)

        return explain.Story(
            self.machine,
            self.model_spec,
            request,
            self.defaults,
            found.variant,
            found.config,
            found.placement,
            missing,
            self._usual(request, found),
        )

    def _usual(self, request: PlanRequest, found: _Found) -> tuple[Variant, Config] | None:
        """Return what would be planned without the requested context, where the quant differs."""
        if request.context is None or request.quant is not None:
            return None
        usual = self.best(replace(request, context=None))
        return (usual.variant, usual.config) if usual and usual.variant != found.variant else None

    def fitting(
        self, request: PlanRequest, machine: Machine | None
    ) -> tuple[Variant, Config] | None:
        """Return the best that would fit another request, or a machine that was changed."""
        search = _Search(machine, self.model_spec, self.defaults) if machine else self
        found = search.best(request) or (search.paging(request) if request.allow_paging else None)
        return (found.variant, found.config) if found else None

    def least(self, request: PlanRequest) -> Config:
        """Return the configuration that gives up the most."""
        shortest = contexts(self.model_spec, request)[0]
        return least(self.model_spec, request, self.defaults, shortest)[0]

    def smallest(self, request: PlanRequest) -> int:
        """Return what a request takes at least in one memory, with the reserve."""
        one = replace(self.machine, unified=True)
        config = self.least(request)
        return min(
            total(place(one, self.model_spec, variant, config, self.defaults).items)
            for variant in variants(self.model_spec, request)
        )

    def _place(self, variant: Variant, config: Config, offload: Offload) -> Placement:
        return place(self.machine, self.model_spec, variant, config, self.defaults, offload=offload)

    def _slow(self, variant: Variant, placement: Placement) -> bool:
        geometry, layout = self.model_spec.geometry, variant.layout
        if not placement.n_cpu_moe or layout is None:
            return False
        share = geometry.experts_used / max(1, geometry.experts)
        return sum(layout.experts[: placement.n_cpu_moe]) * share > RAM_BYTES_PER_TOKEN


def _most_bytes(machine: Machine, offload: Offload) -> int:
    """Return all the room there is for weights."""
    beside = (machine.main_memory_bytes or 0) if is_split(machine) and offload.experts_on_cpu else 0
    return machine.limit_bytes + beside


def _settings(
    machine: Machine, model_spec: ModelSpec, found: _Found, defaults: RunDefaults, *, paged: bool
) -> Settings:
    config, placement = found.config, found.placement
    on_cpu = machine.backend is Backend.CPU
    # Without this the engine would also use a card that was left out. In one memory a device goes
    # by no more than the engine's own name for it.
    used = placement.cards or range(len(machine.devices))
    cards = device_selection(machine, used, defaults.cards if placement.cards else None)
    return Settings(
        context=config.context,
        kv_type=config.kv_type,
        batch=batch(config),
        ubatch=config.ubatch,
        parallel=config.parallel,
        shared=config.shared,
        spare=config.spare,
        checkpoints=config.checkpoints,
        checkpoint_step=config.checkpoint_step,
        cache_ram_mib=config.cache_ram_mib,
        gpu_layers=0 if on_cpu else ALL_LAYERS,
        threads=machine.cores if on_cpu or placement.n_cpu_moe else 0,
        load_mode="mmap" if paged else defaults.load_mode,
        mtp_tokens=MTP_TOKENS if config.mtp else 0,
        # Repacked weights are copies in memory of their own: they could not stay on the disk.
        repack=defaults.repack and not paged,
        alias=model_spec.name,
        sampling=model_spec.sampling,
        layers=_layers(model_spec, placement),
        n_cpu_moe=placement.n_cpu_moe,
        env=cards.env if cards else (),
        devices=cards.names if cards and not cards.env and not on_cpu else (),
        mtp_device=cards.names[-1] if cards and len(placement.cards) > 1 else "",
        mmproj_on_cpu=placement.mmproj_on_cpu,
    )


def _layers(model_spec: ModelSpec, placement: Placement) -> tuple[int, ...]:
    """Return the counts for `--tensor-split`: heads inside the main file go to the last card."""
    if len(placement.layers) < 2:
        return ()
    *others, last = placement.layers
    return (*others, last + len(model_spec.geometry.mtp_layers) * model_spec.mtp_inside)
