"""The ladder down: what a plan gives up where less memory is left than was planned. Pure.

The order is by what a conversation loses: first what only saves reading again, then room for more
of it, then the exactness of its cache, the speed of reading, the eyes, and at last the quality of
the weights. Each rung keeps what the ones before it have given up.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol

from runner.plan.candidates import SHORT, STEP, UBATCHES
from runner.plan.choose import Plan, changed
from runner.plan.launch import RunDefaults
from runner.plan.memory.kv_cache import LEAST_CHECKPOINTS, Config
from runner.plan.memory.ledger import LedgerEntry, total
from runner.plan.model_spec import Variant

SHORTEST: Final = SHORT[0]
"""No rung has a shorter context: a chat with pictures or an agent's prompt would not fit it."""


LEAST_BYTES: Final = 128 << 20
"""A step that frees less is not worth what it gives up: cards, for one, hold most of it."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One step down. `gives_up`: what, as it is said to people, empty for the plan as it was made.

    `held_bytes`: what the engine takes then of main memory, or of the memory that it shares.
    """

    gives_up: str
    plan: Plan
    held_bytes: int


class Holds(Protocol):
    """What takes so many bytes: a rung."""

    @property
    def held_bytes(self) -> int:
        """As of `Rung`."""


Given = tuple[str, Config, Variant]
"""What is given up, and the quant and the configuration after that."""


def ladder(plan: Plan, defaults: RunDefaults, on_disk: Container[str] = ()) -> tuple[Rung, ...]:
    """Return the rungs of a plan, the plan itself first; each holds less than the one before it.

    `on_disk`: the names of the quants that are here: no other one can take the place of the
    weights.
    """
    rungs = [Rung("", plan, _held(plan))]
    quants = sorted(plan.model_spec.variants, key=lambda each: -each.weights_bytes)
    smaller = [each for each in quants if each.name in on_disk]
    for step in (_checkpoints, _context, _cache, _batch, _pictures, partial(_quant, smaller)):
        now = rungs[-1].plan
        while (given := step(now.config, now.variant)) is not None:
            gives_up, config, variant = given
            now = changed(plan, defaults, variant, config)
            if rungs[-1].held_bytes - (held := _held(now)) >= LEAST_BYTES:
                rungs.append(Rung(gives_up, now, held))
    return tuple(rungs)


def rung_for(rungs: Sequence[Holds], room: int, above: int = 0) -> int | None:
    """Return the number of the first rung after `above` that takes no more than `room` bytes."""
    fitting = (n for n, rung in enumerate(rungs) if n > above and rung.held_bytes <= room)
    return next(fitting, None)


def _held(plan: Plan) -> int:
    """Return what a plan takes of the memory that other programs share."""
    main = plan.placement.held[-1]
    return total(item for item in main.items if item.item is not LedgerEntry.RESERVE)


# --- the steps, in their order; each returns what it gives up, None where there is nothing (more)


def _checkpoints(config: Config, variant: Variant) -> Given | None:
    if not config.cache_ram_mib and config.checkpoints <= LEAST_CHECKPOINTS:
        return None
    lower = replace(config, cache_ram_mib=0, checkpoints=LEAST_CHECKPOINTS)
    return "checkpoints: an edited conversation is read again from its start", lower, variant


def _context(config: Config, variant: Variant) -> Given | None:
    if config.context <= SHORTEST:
        return None
    shorter = max(SHORTEST, config.context // 2 // STEP * STEP)
    what = f"context: {shorter:,} tokens in place of {config.context:,}"
    return what, replace(config, context=shorter), variant


def _cache(config: Config, variant: Variant) -> Given | None:
    if config.kv_type == "q8_0":
        return None
    return "the f16 KV cache: q8_0 takes half as much", replace(config, kv_type="q8_0"), variant


def _batch(config: Config, variant: Variant) -> Given | None:
    least = UBATCHES[-1]
    if config.ubatch <= least:
        return None
    what = f"speed: prompts are read {least} tokens at a time in place of {config.ubatch:,}"
    return what, replace(config, ubatch=least), variant


def _pictures(config: Config, variant: Variant) -> Given | None:
    if not config.projector:
        return None
    return "pictures: the vision encoder is off", replace(config, projector=False), variant


def _quant(smaller: Sequence[Variant], config: Config, variant: Variant) -> Given | None:
    after = (each for each in smaller if each.weights_bytes < variant.weights_bytes)
    if (found := next(after, None)) is None:
        return None
    return f"quality: {found.name} in place of {variant.name}", config, found
