"""Why a plan is as it is: what was asked, what is planned, and the reason for each. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from runner.base.units import GIB, MIB
from runner.machine.facts import Backend, Machine, Platform
from runner.plan.candidates import EXTRAS, RUNGS, UBATCHES, configs, most_cache_mib, variants
from runner.plan.launch import RunDefaults
from runner.plan.memory.kv_cache import Config
from runner.plan.memory.ledger import LedgerEntry, total
from runner.plan.model_spec import ModelSpec, Variant
from runner.plan.placement import Placement, is_split
from runner.plan.request import PlanRequest

NOT_ASKED = "-"
FAILED = "they do not work in this engine (steprun engine test)"
# What another quant or configuration would need beyond what there is, in bytes; 0 where it fits.
Missing = Callable[[Variant, Config], int]


@dataclass(frozen=True, slots=True)
class Choice:
    """One row of `asked / planned / why`; `asked` is `-` where the choice was the plan's."""

    what: str
    asked: str
    planned: str
    why: str


@dataclass(frozen=True, slots=True)
class Story:
    """One decision, for people. `missing` tells how near the others came."""

    machine: Machine
    model_spec: ModelSpec
    ask: PlanRequest
    variant: Variant
    config: Config
    placement: Placement
    missing: Missing

    def reasons(self, *, paged: bool) -> Iterator[str]:
        """Say in sentences why this was chosen."""
        ask, config, variant = self.ask, self.config, self.variant
        better = self._better()
        if paged and ask.quant:
            yield f"{variant.name} was asked for, and stays on the disk: it does not fit."
        elif paged:
            yield f"Nothing fits; {variant.name} has the least to read from the disk all the time."
        elif better:
            names = ", ".join(v.name for v in better)
            yield f"{names} would not fit; {variant.name} is the best that does."
        elif ask.quant:
            yield f"{variant.name} was asked for."
        elif len(variants(self.model_spec, ask)) > 1:
            yield f"{variant.name} is the best quality there is for this machine."
        why = "as asked" if ask.context else "the longest that fits"
        spare = "" if paged else f"; {_size(self.placement.spare_bytes)} stay free"
        where = f" in {self._fullest()}" if spare and is_split(self.machine) else ""
        below = " below the limit" if spare and not where else ""
        yield f"Context {config.context:,} in {config.kv_type}, {why}{spare}{where}{below}."
        if self.placement.n_cpu_moe:
            yield (
                f"The routed experts of the first {self.placement.n_cpu_moe} layers stay in "
                "main memory: the cards have no room for them."
            )
        if config.mtp and not config.projector and not self._off("picture"):
            yield "Profile fast: draft heads instead of pictures."
        elif config.projector and self.model_spec.mtp_bytes:
            yield "Profile see: pictures, no draft heads (--profile fast for the reverse)."

    def warnings(self, *, paged: bool) -> Iterator[str]:
        """Say what is true of this moment only, or easily overlooked."""
        machine = self.machine
        if machine.backend is Backend.CPU and machine.platform is not Platform.CPU:
            yield f"The processor would do all the work here, not {machine.name}."
        if self._off("picture"):
            yield "Pictures are off: they do not work in this engine (steprun engine test)."
        if self._off("mtp", "mtp_picture"):
            yield "Draft heads are off: they do not work in this engine (steprun engine test)."
        if paged:
            return
        free_now = _free(machine, self.placement.cards)
        for part, free in zip(self.placement.held, free_now, strict=False):
            needed = total(i for i in part.items if i.item is not LedgerEntry.RESERVE)
            if free is not None and free < needed:
                yield (
                    f"Not at this moment: {_size(needed)} are needed of {part.pool.name}, "
                    f"and {_size(free)} are free. Close other programs."
                )

    def too_large(self) -> str:
        """Say in one sentence why nothing fits."""
        missing = -self.placement.spare_bytes
        parts = [part for part in self.placement.held if part.spare_bytes < 0]
        limit = sum(part.pool.limit_bytes for part in parts)
        where = (
            " and ".join(part.pool.name for part in parts)
            if is_split(self.machine)
            else self.machine.limit_source
        )
        return (
            f"{self.model_spec.name} {self.variant.name} needs {_size(limit + missing)}; "
            f"the limit here is {_size(limit)} ({where}): {_size(missing)} too little."
        )

    def choices(self, defaults: RunDefaults, *, paged: bool = False) -> Iterator[Choice]:
        """Yield the table's rows, in the order in which things give way, the last first."""
        ask, config = self.ask, self.config
        yield Choice(
            "quant",
            ask.quant or NOT_ASKED,
            self.variant.name,
            "as asked" if ask.quant else "; ".join(self._whys_not(paged)) or "the best there is",
        )
        yield Choice(
            "context",
            f"{ask.context:,}" if ask.context else NOT_ASKED,
            f"{config.context:,}",
            "as asked" if ask.context else self._why_context(paged=paged),
        )
        yield Choice(
            "cache type",
            ask.kv_type or NOT_ASKED,
            config.kv_type,
            _why_type(ask, config),
        )
        largest = max((u for u in UBATCHES if u <= defaults.ubatch), default=config.ubatch)
        yield Choice(
            "micro-batch",
            f"{ask.ubatch:,}" if ask.ubatch else NOT_ASKED,
            f"{config.ubatch:,}",
            "as asked"
            if ask.ubatch
            else "the largest worth having"
            if config.ubatch >= largest
            else "a larger one would not fit",
        )
        yield Choice(
            "slots",
            f"{ask.parallel}" if ask.parallel > 1 else NOT_ASKED,
            f"{config.parallel}",
            "as asked" if ask.parallel > 1 else "one user; each more takes a cache of its own",
        )
        yield from self._parts()
        yield Choice(
            "checkpoints", NOT_ASKED, f"{config.checkpoints}", "copies of the sliding cache"
        )
        yield Choice(
            "prompt cache",
            NOT_ASKED,
            f"{config.cache_ram_mib:,} MiB" if config.cache_ram_mib else "none",
            self._why_cache(),
        )
        if self.placement.n_cpu_moe:
            yield Choice(
                "experts",
                NOT_ASKED,
                f"{self.placement.n_cpu_moe} layers' in main memory",
                "the fewest with which the rest fits on the cards",
            )
        if self.placement.mmproj_on_cpu:
            yield Choice(
                "projector",
                NOT_ASKED,
                "in main memory",
                "the card has no room for it: the processor looks at pictures, slowly",
            )
        if len(self.placement.layers) > 1:
            yield Choice(
                "layers",
                NOT_ASKED,
                " + ".join(str(count) for count in self.placement.layers),
                "the fullest card has as much to spare as can be",
            )

    def _parts(self) -> Iterator[Choice]:
        ask, config, model_spec = self.ask, self.config, self.model_spec
        if model_spec.projector_bytes:
            yield Choice(
                "pictures",
                f"{ask.profile}",
                "yes" if config.projector else "no",
                FAILED
                if self._off("picture")
                else "given up only where asked for (--profile fast)",
            )
        if model_spec.mtp_bytes:
            yield Choice(
                "draft heads",
                "yes" if ask.with_mtp else f"{ask.profile}",
                "yes" if config.mtp else "no",
                FAILED
                if self._off("mtp", "mtp_picture")
                else "with pictures only in engines that can do both"
                if not config.mtp
                else "faster answers",
            )

    def _off(self, *features: str) -> bool:
        """Whether something that was wanted is left out because the engine fails at it."""
        ask, config = self.ask, self.config
        able = replace(ask, without=frozenset())
        if "picture" in features:
            return able.see and not ask.see and bool(self.model_spec.projector_bytes)
        wanted = able.drafts(see=config.projector) and bool(self.model_spec.mtp_bytes)
        return wanted and not config.mtp

    def _better(self) -> list[Variant]:
        """Return the quants that were tried before."""
        tried = variants(self.model_spec, self.ask)
        return list(tried[: tried.index(self.variant)])

    def _whys_not(self, paged: bool) -> Iterator[str]:  # noqa: FBT001
        if paged:
            yield "the least to read from the disk all the time"
        else:
            yield from map(self._why_not, self._better())

    def _why_not(self, better: Variant) -> str:
        """Say by how much a better quant misses, with the least that may be asked of it."""
        *_, least = configs(self.model_spec, self.ask, RunDefaults(ubatch=min(UBATCHES)))
        short = self.missing(better, least)
        if short:
            return f"{better.name} is {_size(short)} too large{self._where()}"
        return f"{better.name} would be slow: too much of it in main memory"

    def _why_context(self, *, paged: bool) -> str:
        if paged:
            return "short: its cache takes memory that weights could stay in"
        config = self.config
        longer = [rung for rung in RUNGS if rung[0] > config.context]
        longer = [rung for rung in longer if rung[0] <= self.model_spec.geometry.context_length]
        if not longer:
            return "all that it was trained for"
        context, kv_type = longer[-1]
        kv_type = self.ask.kv_type or kv_type
        ubatch = self.ask.ubatch or min(UBATCHES)
        other = replace(config, context=context, kv_type=kv_type, ubatch=ubatch)
        short = self.missing(self.variant, other)
        if not short:
            return "the longest that fits"
        return f"{context:,} would need {_size(short)} more{self._where()}"

    def _where(self) -> str:
        """Say which way of lying was meant, where there are several."""
        if not is_split(self.machine):
            return ""
        if not self.placement.n_cpu_moe:
            return " on the cards alone"
        return "" if self.placement.mmproj_on_cpu else " with the projector on a card"

    def _why_cache(self) -> str:
        if self.config.cache_ram_mib:
            return "out of room left over"
        least = min(size for _, size in EXTRAS if size)
        if most_cache_mib(self.model_spec.geometry, self.config) < least:
            return "its conversations are too small to need one"
        return "no room to spare for it"

    def _fullest(self) -> str:
        return min(self.placement.held, key=lambda part: part.spare_bytes).pool.name


def _free(machine: Machine, cards: Sequence[int]) -> tuple[int | None, ...]:
    """Return what is free now of each memory, in the order of the plan's; None if unknown."""
    if is_split(machine):
        return tuple(machine.devices[card].free_bytes for card in cards)
    return (machine.free_now_bytes,)


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{-(-count // MIB)} MiB"


def _why_type(ask: PlanRequest, config: Config) -> str:
    if ask.kv_type:
        return "as asked"
    if config.kv_type == "f16":
        return "exact"
    return "half the memory, and half the bytes to read for each token"
