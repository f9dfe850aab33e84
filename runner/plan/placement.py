"""Where everything lies: in one memory, or on cards beside main memory. Pure.

A card that is too small for the model may still do most of the work: the routed experts of the
first layers stay in main memory (`--n-cpu-moe`), everything else and the caches on the card.
Several cards take whole layers each, in order (`--split-mode layer`, `--tensor-split`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from runner.base.units import MIB
from runner.catalog.model import Geometry, WeightLayout
from runner.machine.facts import PROCESSOR_RESERVE_BYTES, Backend, Machine
from runner.plan.balance import balanced, fewest
from runner.plan.devices import device_selection
from runner.plan.launch import RunDefaults
from runner.plan.memory.compute_buffers import (
    Costs,
    compute_bytes,
    compute_mtp_bytes,
    handed_bytes,
    overhead_bytes,
    staging_bytes,
    staging_mtp_bytes,
    vision_bytes,
    weights_copy_bytes,
)
from runner.plan.memory.kv_cache import Config, checkpoint_bytes, layer_kv_bytes, layer_state_bytes
from runner.plan.memory.ledger import Item, LedgerEntry, ledger, merged, mtp_bytes
from runner.plan.memory.lessons import Lesson
from runner.plan.model_spec import ModelSpec, Variant


@dataclass(frozen=True, slots=True)
class MemoryPool:
    """A memory with a limit of its own: a card's, main memory, or one that both share."""

    name: str
    limit_bytes: int
    reserve_bytes: int
    reserve_why: str


@dataclass(frozen=True, slots=True)
class PoolUse:
    """What a pool holds, its reserve included. `paged_bytes` of that may stay on the disk."""

    pool: MemoryPool
    items: tuple[Item, ...]
    paged_bytes: int = 0

    @property
    def spare_bytes(self) -> int:
        """What is left below the limit; negative where it does not fit."""
        held = sum(item.bytes for item in self.items)
        return self.pool.limit_bytes - held + self.paged_bytes


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a configuration lies.

    `items`: the ledger of the memories that count (`counted`), together. `cards`: which of the
    machine's devices are used, in the engine's order; empty where there is only one memory.
    `layers`: how many layers each of them takes, the output head counting as one more.
    `n_cpu_moe`: of so many layers, from the first, which is `experts_share` of all experts.
    `mmproj_on_cpu`: whether the projector is there too.
    """

    held: tuple[PoolUse, ...]
    items: tuple[Item, ...]
    cards: tuple[int, ...] = ()
    layers: tuple[int, ...] = ()
    n_cpu_moe: int = 0
    experts_share: float = 0.0
    mmproj_on_cpu: bool = False

    @property
    def counted(self) -> tuple[PoolUse, ...]:
        """The memories that the model needs: main memory only where a part of it has to be there.

        Beside cards that hold all of it, main memory holds what any program has: its own process,
        and conversations that were put aside.
        """
        beside = self.n_cpu_moe or self.mmproj_on_cpu or not self.layers
        return self.held if beside else self.held[:-1]

    @property
    def fits(self) -> bool:
        """Whether every pool has room."""
        return all(part.spare_bytes >= 0 for part in self.held)

    @property
    def spare_bytes(self) -> int:
        """The room in the fullest pool; where it does not fit, what is missing in all of them."""
        missing = sum(min(0, part.spare_bytes) for part in self.held)
        return missing or min(part.spare_bytes for part in self.held)


@dataclass(frozen=True, slots=True)
class Offload:
    """What may be done where memory is short.

    `experts_on_cpu`: experts may stay in main memory where cards are too small for all of them.
    `mmproj_on_cpu`: so may the vision encoder, which then computes on the CPU. `paging`: mapped
    weights in main memory may stay on the disk.
    """

    experts_on_cpu: bool = False
    mmproj_on_cpu: bool = False
    paging: bool = False


WHOLE = Offload()  # all of it where it is fastest


def is_split(machine: Machine) -> bool:
    """Whether this machine has memory of two kinds to plan for."""
    return not machine.unified and machine.backend is not Backend.CPU and bool(machine.devices)


def place(
    machine: Machine,
    model_spec: ModelSpec,
    variant: Variant,
    config: Config,
    defaults: RunDefaults,
    *,
    offload: Offload = WHOLE,
) -> Placement:
    """Return where a configuration would lie; `fits` says whether there is room for it."""
    items = ledger(model_spec, variant, config, defaults.costs)
    if is_split(machine):
        shares = _Shares(model_spec, variant, config, defaults.costs, offload)
        whys = {item.item: item.why for item in items}
        choosing = (
            device_selection(machine, range(len(machine.devices)), defaults.cards) is not None
        )
        learned = _learned(defaults.lesson)
        return _split(machine, shares, whys, learned, choosing=choosing)
    pool = MemoryPool(machine.name, machine.limit_bytes, machine.reserve_bytes, machine.reserve_why)
    # The projector is not among them: llama.cpp reads it into memory of its own.
    mapped = sum(i.bytes for i in items if i.item is LedgerEntry.WEIGHTS)
    mapped += model_spec.mtp_bytes * (config.mtp or model_spec.mtp_inside)
    items = (*items, *_learned(defaults.lesson), *_reserve(pool))
    return Placement((PoolUse(pool, items, mapped * offload.paging),), items)


def _learned(lesson: Lesson | None) -> tuple[Item, ...]:
    """Return what is counted beside the ledger since runs have shown it: of main memory alone."""
    return (Item(LedgerEntry.LESSON, lesson.bytes, lesson.why),) if lesson else ()


def _reserve(pool: MemoryPool) -> tuple[Item, ...]:
    kept = Item(LedgerEntry.RESERVE, pool.reserve_bytes, pool.reserve_why)
    return (kept,) if kept.bytes else ()


class _Shares:
    """One configuration, split into parts that can be placed separately."""

    def __init__(
        self,
        model_spec: ModelSpec,
        variant: Variant,
        config: Config,
        costs: Costs,
        offload: Offload,
    ) -> None:
        self.model_spec, self.config, self.costs, self.offload = model_spec, config, costs, offload
        self.geometry = model_spec.geometry
        self.layout = variant.layout or _even(variant, self.geometry)
        # What each layer holds beside its experts, the output head as one more at the end.
        kv = [layer_kv_bytes(self.geometry, layer, config) for layer in self.geometry.layers]
        resident = zip(self.layout.resident, kv, strict=True)
        # Where the output is the embedding used twice, cards get a copy of it.
        self.output = self.layout.output + self.layout.input * self.layout.tied
        self.fixed = [*(own + cache for own, cache in resident), self.output]
        self.experts = [*self.layout.experts, 0]

    def loads(self, in_ram: int) -> list[int]:
        """Return what each layer puts on a card, the experts of the first `in_ram` elsewhere."""
        return [
            own + (0 if index < in_ram else experts)
            for index, (own, experts) in enumerate(zip(self.fixed, self.experts, strict=True))
        ]

    def on_cards(self, cards: int) -> list[tuple[Item, ...]]:
        """Return what each card holds whatever its layers are: a projector first, heads last.

        The engine puts the projector on its first device. Draft heads are numbered after the last
        layer, and so lie where that lies.
        """
        c = self.config
        # Experts in main memory end the engine's working on several inputs at a time.
        scratch = compute_bytes(
            self.geometry, c, self.costs, 1 if self.offload.experts_on_cpu else cards
        )
        if self.offload.experts_on_cpu:
            scratch += weights_copy_bytes(max(self.experts))
        driver = self.costs.device_mib * MIB
        same = (
            Item(
                LedgerEntry.COMPUTE, scratch, f"compute buffers for {c.ubatch:,} tokens at a time"
            ),
            Item(LedgerEntry.OVERHEAD, driver, "the driver's context, kernels and pools"),
        )
        later = 0 if self.offload.experts_on_cpu else handed_bytes(self.geometry, c, cards)
        more = Item(LedgerEntry.COMPUTE, later, "what the card before hands over")
        found: list[tuple[Item, ...]] = [same, *([(*same, more)] * (cards - 1))]
        if not self.offload.mmproj_on_cpu:
            found[0] = (*self.vision(), *found[0])
        found[-1] = (*self.mtp(), *found[-1])
        return found

    def mtp(self) -> Iterator[Item]:
        """Yield the draft heads, their cache and their scratch memory."""
        c = self.config
        held = mtp_bytes(self.model_spec, c) - self.model_spec.mtp_input_bytes * c.mtp
        yield Item(LedgerEntry.MTP, held, "draft heads and their own cache")
        scratch = compute_mtp_bytes(self.geometry, c) * c.mtp
        yield Item(LedgerEntry.COMPUTE, scratch, "compute buffers of the draft heads")

    def vision(self) -> Iterator[Item]:
        """Yield the projector and its scratch memory."""
        used = self.config.projector
        yield Item(
            LedgerEntry.PROJECTOR, self.model_spec.projector_bytes * used, "vision encoder (mmproj)"
        )
        scratch = vision_bytes(self.model_spec.vision) * used
        yield Item(LedgerEntry.VISION_COMPUTE, scratch, "compute buffers of the vision encoder")

    def of_layers(self, begin: int, end: int, in_ram: int) -> Iterator[Item]:
        """Yield the weights and caches of layers `begin` to `end`."""
        g, c = self.geometry, self.config
        of = range(begin, min(end, len(g.layers)))
        output = begin <= len(g.layers) < end
        weights = sum(self.layout.resident[i] for i in of)
        weights += sum(self.layout.experts[i] for i in of if i >= in_ram)
        weights += self.output * output
        what = f"layers {begin}-{of.stop - 1}{' and the output' if output else ''}"
        apart = f", the experts of {min(in_ram, end) - begin} apart" if in_ram > begin else ""
        yield Item(LedgerEntry.WEIGHTS, weights, what + apart)
        for entry, sliding in ((LedgerEntry.KV_FULL, False), (LedgerEntry.KV_SLIDING, True)):
            layers = [g.layers[i] for i in of if g.layers[i].sliding is sliding]
            held = sum(
                layer_kv_bytes(g, layer, c) - layer_state_bytes(layer, c) for layer in layers
            )
            yield Item(entry, held, f"{len(layers)} layers, {c.kv_type}")
        state = sum(layer_state_bytes(g.layers[i], c) for i in of)
        yield Item(LedgerEntry.KV_STATE, state, "recurrent state")

    def in_ram(self, layers: int, cards: int) -> Iterator[Item]:
        """Yield what main memory holds beside so many cards."""
        experts = sum(self.layout.experts[:layers])
        also = f" and the experts of layers 0-{layers - 1}" if experts else ""
        yield Item(LedgerEntry.WEIGHTS, self.layout.input + experts, f"the token embedding{also}")
        apart = self.model_spec.mtp_input_bytes * self.config.mtp
        yield Item(LedgerEntry.MTP, apart, "the draft heads' token embedding")
        if self.offload.mmproj_on_cpu:
            yield from self.vision()
        kept = self.config.checkpoints * self.config.slots
        one = checkpoint_bytes(self.geometry, self.config)
        yield Item(
            LedgerEntry.CHECKPOINTS,
            one * kept,
            f"{kept} snapshots of the sliding-window cache",
        )
        cached = self.config.cache_ram_mib * MIB
        yield Item(LedgerEntry.PROMPT_CACHE, cached, "cached conversations to return to")
        staged = staging_bytes(
            self.geometry, self.config, self.costs, 1 if self.offload.experts_on_cpu else cards
        )
        if layers:  # the processor takes part in the graph
            staged = max(staged, compute_bytes(self.geometry, self.config))
        if self.config.mtp:
            staged += staging_mtp_bytes(self.geometry, self.config, self.costs)
        yield Item(LedgerEntry.COMPUTE, staged, "a graph's inputs on their way to the cards")
        vision = self.model_spec.vision
        process = overhead_bytes(self.geometry, self.config, self.costs, vision)
        yield Item(LedgerEntry.OVERHEAD, process, "the engine itself: code, vocabulary, threads")


def _even(variant: Variant, geometry: Geometry) -> WeightLayout:
    """Spread a quant of unknown layout evenly over its layers: nothing can be left in RAM."""
    layers = len(geometry.layers)
    each = -(-variant.weights_bytes // (layers + 1))
    return WeightLayout(0, each, (each,) * layers, (0,) * layers)


def _split(
    machine: Machine,
    shares: _Shares,
    whys: dict[LedgerEntry, str],
    learned: tuple[Item, ...],
    *,
    choosing: bool,
) -> Placement:
    """Return the layout. `choosing`: whether cards can be selected and ordered for the engine.

    `learned`: what main memory holds beside what is counted.
    """
    pools = _cards(machine)
    used = list(range(len(pools)))
    if choosing:  # the largest first: the first also takes the projector
        used.sort(key=lambda card: -pools[card].limit_bytes)
    while True:
        fixed = shares.on_cards(len(used))
        room = [
            pools[card].limit_bytes - pools[card].reserve_bytes - sum(i.bytes for i in items)
            for card, items in zip(used, fixed, strict=True)
        ]
        # Several cards work on one input at a time only where the flag is given at all.
        least = int(len(used) > 1)
        in_ram = (
            max(least, fewest(shares.loads, len(shares.layout.experts), room))
            if shares.offload.experts_on_cpu
            else 0
        )
        counts = balanced(shares.loads(in_ram), room)
        kept = [card for card, count in zip(used, counts, strict=True) if count]
        if len(kept) == len(used) or not choosing:
            break
        used = kept  # a card without layers holds nothing, and the engine never gets to see it
    held, begin = [], 0
    for card, count, items in zip(used, counts, fixed, strict=True):
        layers = tuple(shares.of_layers(begin, begin + count, in_ram)) if count else ()
        held.append(_held(pools[card], (*layers, *items), 0))
        begin += count
    items = (*shares.in_ram(in_ram, len(used)), *learned)
    ram = _main_memory(machine, 0 if in_ram else sum(item.bytes for item in items))
    held.append(_held(ram, items, items[0].bytes * shares.offload.paging))
    found = Placement(
        tuple(held),
        (),
        tuple(used),
        counts,
        in_ram,
        sum(shares.experts[:in_ram]) / max(1, sum(shares.experts)),
        shares.offload.mmproj_on_cpu and shares.config.projector,
    )
    together = merged([part.items for part in found.counted])
    items = tuple(replace(item, why=whys.get(item.item, item.why)) for item in together)
    return replace(found, items=items)


def _cards(machine: Machine) -> list[MemoryPool]:
    each = machine.reserve_bytes // len(machine.devices)
    return [
        MemoryPool(device.name, device.memory_bytes or 0, each, machine.reserve_why)
        for device in machine.devices
    ]


def _main_memory(machine: Machine, needed: int) -> MemoryPool:
    """Return main memory beside cards. Where its size is unknown, it is taken to hold `needed`."""
    known = machine.main_memory_bytes
    limit = needed + PROCESSOR_RESERVE_BYTES if known is None and needed else known or 0
    reserve = min(limit, PROCESSOR_RESERVE_BYTES)
    name = "main memory" if known is not None else "main memory (of unknown size)"
    return MemoryPool(name, limit, reserve, "other programs, and the growth of this one")


def _held(pool: MemoryPool, items: Sequence[Item], mapped: int) -> PoolUse:
    kept = (*(item for item in items if item.bytes), *_reserve(pool))
    return PoolUse(pool, kept, mapped)
