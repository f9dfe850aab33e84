"""The choice: the best quality whose ledger fits, at the longest useful context. Pure.

For each quant, best first, the rungs are tried in order, and on each rung the larger micro-batch
first. So the micro-batch gives way before the cache type, that before the context, and the
context before the quant. Pictures are given up only when the user asks for it (`--profile fast`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from runner.errors import UsageError
from runner.machine.facts import Backend, Machine
from runner.plan.ask import Ask, Profile
from runner.plan.cache import GIB, Config
from runner.plan.fixes import Fix, fixes
from runner.plan.launch import RunDefaults, Settings
from runner.plan.ledger import Entry, Item, ledger, total
from runner.plan.subject import Subject, Variant

# (context, cache type), best first. Above 64K the cache is q8_0: about half the memory, and half
# the bytes to read for each token.
RUNGS: Final = (
    (262_144, "q8_0"),
    (131_072, "q8_0"),
    (65_536, "f16"),
    (65_536, "q8_0"),
    (32_768, "f16"),
    (32_768, "q8_0"),
)
# Shorter than 32K is a choice only where the model itself or the user says so.
SHORT_RUNGS: Final = ((16_384, "f16"), (8_192, "f16"), (4_096, "f16"))
UBATCHES: Final = (2048, 512)
# Draft tokens at a time. Step has three chained heads; owners of a Spark reported the best speed
# with two (the third guess is seldom right).
MTP_TOKENS: Final = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """What would run here and why; `fits` False is a refusal with the best candidate's ledger."""

    fits: bool
    machine: Machine
    subject: Subject
    variant: Variant
    config: Config
    items: tuple[Item, ...]
    settings: Settings
    reasons: tuple[str, ...]
    fixes: tuple[Fix, ...] = ()

    @property
    def total_bytes(self) -> int:
        """The whole ledger, reserve included."""
        return total(self.items)

    @property
    def held_bytes(self) -> int:
        """What the engine will hold: the ledger without the reserve."""
        return sum(item.bytes for item in self.items if item.item is not Entry.RESERVE)


def choose(machine: Machine, subject: Subject, ask: Ask, defaults: RunDefaults) -> Plan:
    """Decide. `defaults` are the backend's run-time defaults.

    Raises UsageError for an ask that names what does not exist.
    """
    tried = [(v, c) for v in _variants(subject, ask) for c in _configs(subject, ask, defaults)]
    if not tried:
        raise UsageError(
            f"{subject.name} has no quant that could be chosen.", next="See: steprun models"
        )
    paged = False
    found = _first_fit(machine, subject, tried, paging=False)
    if found is None and ask.allow_paging:
        # The less there is to read again and again, the better: the smallest quant first.
        tried.sort(key=lambda candidate: candidate[0].weights_bytes)
        found = _first_fit(machine, subject, tried, paging=True)
        paged = found is not None
    # The last candidate gave up the most: it came nearest.
    variant, config = found or tried[-1]
    items = _items(machine, subject, variant, config)
    needed = _needed(items, paging=ask.allow_paging and (paged or found is None))
    return Plan(
        fits=found is not None,
        machine=machine,
        subject=subject,
        variant=variant,
        config=config,
        items=items,
        settings=_settings(machine, subject, config, defaults, paged=paged),
        reasons=tuple(_reasons(machine, subject, ask, (variant, config), needed, paged=paged))
        if found
        else (_too_large(machine, subject, variant, needed),),
        fixes=()
        if found
        else tuple(
            fixes(
                machine,
                subject,
                ask,
                lambda other: _search(machine, subject, other, defaults),
                _shortest(subject),
            )
        ),
    )


Candidate = tuple[Variant, Config]


def _first_fit(
    machine: Machine, subject: Subject, candidates: Iterable[Candidate], *, paging: bool
) -> Candidate | None:
    """Return the first candidate, best first, that the machine can hold."""
    for variant, config in candidates:
        items = _items(machine, subject, variant, config)
        if _needed(items, paging=paging) <= machine.limit_bytes:
            return variant, config
    return None


def _variants(subject: Subject, ask: Ask) -> tuple[Variant, ...]:
    """Return the quants to try, best first."""
    if ask.quant is not None:
        named = [v for v in subject.variants if v.name.lower() == ask.quant.lower()]
        if not named:
            raise UsageError(
                f"{subject.name} has no quant {ask.quant}.",
                why=f"It comes as {', '.join(v.name for v in subject.variants)}.",
                next="See: steprun models",
            )
        return tuple(named)
    auto = [v for v in subject.variants if v.auto]
    return tuple(sorted(auto, key=lambda v: (-v.quality, v.weights_bytes)))


def _configs(subject: Subject, ask: Ask, defaults: RunDefaults) -> Iterator[Config]:
    """Yield the configurations to try, best first."""
    trained = subject.geometry.context_length
    if ask.context is not None and trained and ask.context > trained:
        raise UsageError(
            f"{subject.name} cannot have a context of {ask.context:,} tokens.",
            why=f"It was trained for {trained:,}.",
            next=f"Ask for at most that: --ctx {trained}",
        )
    see = ask.profile is Profile.SEE
    base = Config(
        context=0,
        parallel=ask.parallel,
        projector=see and bool(subject.projector_bytes),
        mtp=(ask.with_mtp or not see) and bool(subject.mtp_bytes),
    )
    ubatches = (ask.ubatch,) if ask.ubatch else [u for u in UBATCHES if u <= defaults.ubatch]
    for context, kv_type in _rungs(trained, ask):
        for ubatch in ubatches:
            yield replace(base, context=context, kv_type=kv_type, ubatch=ubatch)


def _rungs(trained: int, ask: Ask) -> Iterator[tuple[int, str]]:
    if ask.context is not None:
        for kv_type in (ask.kv_type,) if ask.kv_type else ("f16", "q8_0"):
            yield ask.context, kv_type
        return
    rungs = [rung for rung in RUNGS if rung[0] <= trained]
    if not rungs:  # a model of short context: all of it first
        short = [rung for rung in SHORT_RUNGS if rung[0] < trained]
        rungs = [(trained or SHORT_RUNGS[-1][0], "f16"), *short]
    seen = set()
    for context, kv_type in rungs:
        rung = (context, ask.kv_type or kv_type)
        if rung not in seen:
            seen.add(rung)
            yield rung


def _items(
    machine: Machine, subject: Subject, variant: Variant, config: Config
) -> tuple[Item, ...]:
    return ledger(
        subject,
        variant,
        config,
        (machine.reserve_bytes, machine.reserve_why),
        accelerated=machine.backend is not Backend.CPU,
    )


def _needed(items: tuple[Item, ...], *, paging: bool) -> int:
    """Return what must be free. With `paging`, mapped weights may stay on the disk.

    The projector is not among them: llama.cpp reads it into memory of its own.
    """
    paged = {Entry.WEIGHTS, Entry.MTP} if paging else set()
    return sum(item.bytes for item in items if item.item not in paged)


def _settings(
    machine: Machine, subject: Subject, config: Config, defaults: RunDefaults, *, paged: bool
) -> Settings:
    # Weights that stay on the disk are mapped, and only the processor can work from a mapping
    # that is larger than memory.
    on_cpu = machine.backend is Backend.CPU or paged
    return Settings(
        context=config.context,
        kv_type=config.kv_type,
        batch=max(2048, config.ubatch),
        ubatch=config.ubatch,
        parallel=config.parallel,
        checkpoints=config.checkpoints,
        cache_ram_mib=config.cache_ram_mib,
        gpu_layers=0 if on_cpu else 99,
        threads=machine.cores if on_cpu else 0,
        load_mode="mmap" if paged else defaults.load_mode,
        mtp_tokens=MTP_TOKENS if config.mtp else 0,
        # Repacked weights are copies in memory of their own: they could not stay on the disk.
        repack=defaults.repack and not paged,
        alias=subject.name,
        sampling=subject.sampling,
    )


def _reasons(
    machine: Machine, subject: Subject, ask: Ask, found: Candidate, needed: int, *, paged: bool
) -> Iterator[str]:
    """Say why this was chosen."""
    variant, config = found
    tried = _variants(subject, ask)
    better = [v.name for v in tried[: tried.index(variant)]]
    spare = machine.limit_bytes - needed
    if paged:
        yield (
            f"Nothing fits; {variant.name} has the least to read from the disk again and again: "
            "expect seconds for each token."
        )
    elif better:
        yield f"{', '.join(better)} would not fit; {variant.name} is the best that does."
    elif ask.quant:
        yield f"{variant.name} was asked for."
    elif len(tried) > 1:
        yield f"{variant.name} is the best quality there is for this machine."
    why = "as asked" if ask.context else "the longest that fits"
    free = "" if paged else f"; {spare / GIB:.1f} GiB stay free below the limit"
    yield f"Context {config.context:,} in {config.kv_type}, {why}{free}."
    if config.mtp and not config.projector:
        yield "Profile fast: draft heads instead of pictures."
    elif config.projector and subject.mtp_bytes:
        yield "Profile see: pictures, no draft heads (--profile fast for the reverse)."


def _too_large(machine: Machine, subject: Subject, variant: Variant, needed: int) -> str:
    return (
        f"{subject.name} {variant.name} needs {needed / GIB:.1f} GiB; the limit here is "
        f"{machine.limit_bytes / GIB:.1f} GiB ({machine.limit_source}): "
        f"{(needed - machine.limit_bytes) / GIB:.1f} GiB too little."
    )


def _search(
    machine: Machine, subject: Subject, ask: Ask, defaults: RunDefaults
) -> Candidate | None:
    """Return the best candidate that fits another ask."""
    candidates = ((v, c) for v in _variants(subject, ask) for c in _configs(subject, ask, defaults))
    return _first_fit(machine, subject, candidates, paging=ask.allow_paging)


def _shortest(subject: Subject) -> Config:
    """Return the least that is worth having of a model: its shortest rung."""
    context, kv_type = RUNGS[-1]
    trained = subject.geometry.context_length
    return Config(
        min(context, trained or context), kv_type, projector=bool(subject.projector_bytes)
    )
