"""Why a plan is as it is: what was requested, what is planned, and the reason for each. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from runner.base.units import size
from runner.machine.facts import Backend, Machine, Platform
from runner.plan.candidates import (
    F16_SPARE_BYTES,
    PROMPT_CACHES,
    SHORTEST,
    STEP,
    UBATCHES,
    configs,
    contexts,
    least,
    most_cache_mib,
    variants,
)
from runner.plan.launch import RunDefaults
from runner.plan.memory.kv_cache import CHECKPOINTS, Config
from runner.plan.memory.ledger import LedgerEntry, total
from runner.plan.model_spec import ModelSpec, Variant
from runner.plan.placement import Placement, is_split
from runner.plan.request import PlanRequest, Profile

NOT_ASKED = "-"
FAILED = "this engine failed the self-test for it (steprun engine test)"
_SLOW = "would be slow"
# What another quant or configuration would need beyond what there is, in bytes; 0 where it fits.
Missing = Callable[[Variant, Config], int]


@dataclass(frozen=True, slots=True)
class Choice:
    """One row of `asked / planned / why`; `asked` is `-` where the user left it to the plan."""

    what: str
    asked: str
    planned: str
    why: str


@dataclass(frozen=True, slots=True)
class Story:
    """Explains one decision. `missing`: by how much each other candidate does not fit.

    `usual`: what would be planned without the requested context, where that is another quant.
    """

    machine: Machine
    model_spec: ModelSpec
    request: PlanRequest
    defaults: RunDefaults
    variant: Variant
    config: Config
    placement: Placement
    missing: Missing
    usual: tuple[Variant, Config] | None = None

    def reasons(self, *, paged: bool) -> Iterator[str]:
        """Yield sentences on why this was chosen."""
        request, config, variant = self.request, self.config, self.variant
        better = self._better()
        if paged and request.quant:
            yield f"You requested {variant.name}; it does not fit, so its weights stay on the disk."
        elif paged:
            yield f"Nothing fits; {variant.name} is the smallest and reads the least from the disk."
        elif better:
            yield self._rejected(better)
        elif request.quant:
            yield f"You requested {variant.name}."
        elif len(variants(self.model_spec, request)) > 1:
            yield f"{variant.name} is the best quality available, and it fits."
        if self.usual and not paged:
            other, short = self.usual
            yield (
                f"For {config.context:,} tokens it takes another quant than usual here, of "
                f"{size(variant.weights_bytes)}: {other.name}, the usual one, goes up to "
                f"{short.context:,}."
            )
        longest = self._longest_by_less() or "the longest that fits"
        why = "as requested" if request.context else longest
        spare = "" if paged else f"; {size(self.placement.spare_bytes)} stays free"
        where = f" in {self._fullest()}" if spare and is_split(self.machine) else ""
        below = " below the limit" if spare and not where else ""
        yield f"Context {config.context:,} in {config.kv_type}, {why}{spare}{where}{below}."
        if self.placement.n_cpu_moe:
            yield (
                f"The routed experts of the first {self.placement.n_cpu_moe} layers stay in "
                "main memory: the cards have no room for them."
            )
        if config.checkpoints < CHECKPOINTS and self.model_spec.geometry.sliding_window:
            yield (
                f"Memory is short: {config.checkpoints} checkpoints for each slot instead of "
                f"{CHECKPOINTS}, so that after an edit more of a conversation is read again."
            )
        if config.mtp and not config.projector and not self._off("picture"):
            yield "Profile fast: speculative decoding with draft heads, no image input."
        elif request.profile is Profile.TEXT and not config.mtp:
            yield "Profile text: neither image input nor draft heads, which leaves the most memory."
        elif config.projector and self.model_spec.mtp_bytes:
            yield "Profile see: image input, no draft heads (--profile fast for the reverse)."

    def warnings(self, *, paged: bool) -> Iterator[str]:
        """Yield what holds for this moment only, or is easily overlooked."""
        machine = self.machine
        yield from self.model_spec.geometry.unverified
        if machine.backend is Backend.CPU and machine.platform is not Platform.CPU:
            yield f"The CPU would do all the work, not {machine.name}."
        if self._off("picture"):
            yield f"Image input is off: {FAILED}."
        if self._off("mtp", "mtp_picture"):
            yield f"Draft heads are off: {FAILED}."
        if paged:
            return
        free_now = _free(machine, self.placement.cards)
        cards = len(self.placement.cards)
        for number, (part, free) in enumerate(zip(self.placement.held, free_now, strict=False)):
            needed = total(i for i in part.items if i.item is not LedgerEntry.RESERVE)
            # What a start keeps back (`as_it_is_now`): nothing of a card, as its driver has it.
            kept = 0 if number < cards or machine.os == "macos" else part.pool.reserve_bytes
            if free is not None and free < needed + kept:
                beside = f" beside the reserve of {size(kept)}" if kept else ""
                yield (
                    f"Not enough is free at this moment: {part.pool.name} has {size(free)} free, "
                    f"and {size(needed)} is needed{beside}. Close other programs."
                )

    def too_large(self) -> str:
        """Return one sentence on why nothing fits."""
        missing = -self.placement.spare_bytes
        parts = [part for part in self.placement.held if part.spare_bytes < 0]
        limit = sum(part.pool.limit_bytes for part in parts)
        where = (
            " and ".join(part.pool.name for part in parts)
            if is_split(self.machine)
            else self.machine.limit_source
        )
        return (
            f"{self.model_spec.name} {self.variant.name} needs {size(limit + missing)}; "
            f"the limit here is {size(limit)} ({where}): {size(missing)} too little."
        )

    def choices(self, *, paged: bool = False) -> Iterator[Choice]:
        """Yield the table's rows, in the order in which things give way, the last first."""
        request, config = self.request, self.config
        why = "; ".join(self._whys_not(paged)) or "the best there is"
        yield _choice("quant", request.quant, self.variant.name, why)
        asked = f"{request.context:,}" if request.context else None
        yield _choice("context", asked, f"{config.context:,}", self._why_context(paged=paged))
        yield _choice("cache type", request.kv_type, config.kv_type, self._why_cache_type())
        largest = max((u for u in UBATCHES if u <= self.defaults.ubatch), default=config.ubatch)
        enough = config.ubatch >= largest
        why = "the largest that helps" if enough else "a larger one would not fit"
        asked = f"{request.ubatch:,}" if request.ubatch else None
        yield _choice("micro-batch", asked, f"{config.ubatch:,}", why)
        asked = f"{request.parallel}" if request.parallel > 1 else None
        why = "one user; more slots share the context, or need a cache each"
        shared = ", sharing the context" if config.shared else ""
        yield _choice("slots", asked, f"{config.parallel}{shared}", why)
        yield _choice("spare slot", None, "yes" if config.spare else "no", self._why_spare())
        yield from self._parts()
        yield _choice("checkpoints", None, f"{config.checkpoints}", self._why_checkpoints())
        cache = f"{config.cache_ram_mib:,} MiB" if config.cache_ram_mib else "none"
        yield _choice("prompt cache", None, cache, self._why_cache())
        if self.placement.n_cpu_moe:
            where = f"{self.placement.n_cpu_moe} layers' in main memory"
            why = "the fewest that let the rest fit on the cards"
            yield _choice("experts", None, where, why)
        if self.placement.mmproj_on_cpu:
            why = "the card has no room for it: the CPU encodes images, slowly"
            yield _choice("vision encoder", None, "in main memory", why)
        if len(self.placement.layers) > 1:
            layers = " + ".join(str(count) for count in self.placement.layers)
            why = "balanced so that the fullest card keeps the most spare memory"
            yield _choice("layers", None, layers, why)

    def _parts(self) -> Iterator[Choice]:
        request, config, model_spec = self.request, self.config, self.model_spec
        if model_spec.projector_bytes:
            yield Choice(
                "image input",
                f"{request.profile}",
                "yes" if config.projector else "no",
                FAILED if self._off("picture") else f"as requested (--profile {request.profile})",
            )
        if model_spec.mtp_bytes:
            yield Choice(
                "draft heads",
                "yes" if request.with_mtp else f"{request.profile}",
                "yes" if config.mtp else "no",
                FAILED
                if self._off("mtp", "mtp_picture")
                else "as requested (--profile text)"
                if request.profile is Profile.TEXT and not config.mtp
                else "with image input only in engines that support both"
                if not config.mtp
                else "faster answers",
            )

    def _off(self, *features: str) -> bool:
        """Whether something that was wanted is left out because the engine fails at it."""
        request, config = self.request, self.config
        able = replace(request, without=frozenset())
        if "picture" in features:
            return able.see and not request.see and bool(self.model_spec.projector_bytes)
        wanted = able.drafts(see=config.projector) and bool(self.model_spec.mtp_bytes)
        return wanted and not config.mtp

    def _better(self) -> list[Variant]:
        """Return the quants that were tried before."""
        tried = variants(self.model_spec, self.request)
        return list(tried[: tried.index(self.variant)])

    def _rejected(self, better: Sequence[Variant]) -> str:
        """Return one sentence on why each of the better quants was not taken."""
        names: dict[str, list[str]] = {}
        for variant in better:
            shortest, short = self._short(variant)
            long = shortest > SHORTEST and self.request.context is None
            why = f"would not fit{f' with {shortest:,} tokens or more' * long}{self._where()}"
            names.setdefault(why if short else _SLOW, []).append(variant.name)
        whys = "; ".join(f"{', '.join(found)} {why}" for why, found in names.items())
        best = "fits and is fast enough" if _SLOW in names else "fits"
        return f"{whys}; {self.variant.name} is the best that {best}."

    def _short(self, variant: Variant) -> tuple[int, int]:
        """Return a quant's shortest context, and how many bytes it is too large for that."""
        shortest = contexts(self.model_spec, self.request, variant)[0]
        tried = least(self.model_spec, self.request, self.defaults, shortest)
        return shortest, min(self.missing(variant, config) for config in tried)

    def _whys_not(self, paged: bool) -> Iterator[str]:  # noqa: FBT001
        if paged:
            yield "the smallest: it reads the least from the disk"
        else:
            yield from map(self._why_not, self._better()[-2:])  # those that miss by the least

    def _why_not(self, better: Variant) -> str:
        """Return by how much a better quant misses, in its smallest configuration."""
        shortest, short = self._short(better)
        if short:
            return (
                f"{better.name} is {size(short)} too large for {shortest:,} tokens{self._where()}"
            )
        return f"{better.name} {_SLOW}: too much would be in main memory"

    def _why_context(self, *, paged: bool) -> str:
        if paged:
            return "short: its cache takes memory that could hold weights"
        trained = self.model_spec.geometry.context_length
        free = replace(self.request, context=None)
        longer = [c for c in contexts(self.model_spec, free) if c > self.config.context]
        if not longer and self.config.context < trained:
            return f"the longest unless requested; the model was trained for {trained:,}"
        if not longer:
            return "the longest that the model was trained for"
        if longest := self._longest_by_less():
            return longest
        short = self._missing_at(longer[0], free)
        if not short:
            return "the longest that fits"
        return f"{longer[0]:,} would need {size(short)} more{self._where()}"

    def _missing_at(self, context: int, request: PlanRequest) -> int:
        tried = least(self.model_spec, request, self.defaults, context)
        return min(self.missing(self.variant, config) for config in tried)

    def _longest_by_less(self) -> str:
        """Return the reason for the context where giving up something would give a longer one."""
        trained = self.model_spec.geometry.context_length
        longest = 0
        for context in range(self.config.context // STEP * STEP + STEP, trained + 1, STEP):
            if self._missing_at(context, replace(self.request, context=context)):
                break
            longest = context
        if not longest or not self._missing_at(longest, self.request):
            return ""
        named = replace(self.request, context=longest)
        tried = configs(self.model_spec, named, self.defaults, longest)
        less = next(c for c, _ in tried if not self.missing(self.variant, c))
        given = (
            (less.ubatch < self.config.ubatch, f"a micro-batch of {less.ubatch:,}"),
            (less.checkpoints < self.config.checkpoints, f"{less.checkpoints} checkpoints"),
            (less.spare < self.config.spare, "no spare slot"),
        )
        words = [word for gives, word in given if gives]
        if not words:
            return (
                f"the longest that is chosen with a micro-batch of {less.ubatch} (--ctx {longest} "
                "fits, but long prompts prefill slowly with that)"
            )
        return (
            f"the longest that fits without giving up more (--ctx {longest} fits with "
            f"{', '.join(words)}: long prompts then take longer, or are read more often)"
        )

    def _why_cache_type(self) -> str:
        if self.config.kv_type == "f16":
            return "exact"
        f16 = replace(self.config, kv_type="f16")
        if self.missing(self.variant, f16):
            return "half the memory of f16, which would not fit, and half the bytes to read"
        left = size(F16_SPARE_BYTES)
        return f"half the bytes to read for each token; f16 would leave less than {left}"

    def _where(self) -> str:
        """Return which placement was meant, where there are several."""
        if not is_split(self.machine):
            return ""
        if not self.placement.n_cpu_moe:
            return " on the cards alone"
        return "" if self.placement.mmproj_on_cpu else " with the vision encoder on a card"

    def _why_cache(self) -> str:
        if self.config.cache_ram_mib:
            return "uses memory that is left over"
        if self.defaults.keeps_prompts:
            return "prompts are kept on the disk instead"
        least = min(PROMPT_CACHES)
        if most_cache_mib(self.model_spec.geometry, self.config) < least:
            return "conversations this short do not need one"
        return "no memory to spare for it"

    def _why_spare(self) -> str:
        if self.config.spare:
            return "a side request, such as for a title, costs no conversation its cache"
        if self.config.cache_ram_mib:
            return "the prompt cache takes its place"
        can = self.defaults.spare_slot and self.defaults.shared_slots
        return "it would not fit" if can else "this engine's slots cannot share one cache"

    def _why_checkpoints(self) -> str:
        if self.config.checkpoints < CHECKPOINTS:
            return (
                f"{CHECKPOINTS} would not fit: after an edit a conversation is read again from its "
                "first message"
            )
        return (
            f"an edited conversation is read again from {self.config.checkpoint_step:,} tokens "
            "before the edit at most"
        )

    def _fullest(self) -> str:
        return min(self.placement.held, key=lambda part: part.spare_bytes).pool.name


def _free(machine: Machine, cards: Sequence[int]) -> tuple[int | None, ...]:
    """Return what is free now of each memory, in the order of the plan's; None if unknown."""
    if is_split(machine):
        return (*(machine.devices[card].free_bytes for card in cards), machine.available_bytes)
    return (machine.free_now_bytes,)


def _choice(what: str, asked: str | None, planned: str, why: str) -> Choice:
    """Return a row; `why` is for what the user left to the plan."""
    return Choice(what, asked or NOT_ASKED, planned, "as requested" if asked else why)
