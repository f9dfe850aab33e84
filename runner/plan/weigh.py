"""The best of several ways to use one computer's devices; the others named with reasons. Pure.

An accelerator inside the processor beside cards, or cards of several makers: no engine plans for
all of them together, and which suits the model best shows only when each is planned for. They are
compared, in this order, by:

1. whether the model fits;
2. whether an accelerator computes;
3. the quant's quality;
4. whether the vision encoder is on an accelerator;
5. the context up to `_LONG`, beyond which a faster way is worth more than a longer context;
6. the expected speed: all on cards, then one shared memory, then experts in main memory;
7. the whole context.

The speed is a rank and no figure: cards read their own memory faster than any shared one is read
(640 to 1792 against 212 to 273 GB/s), and main memory beside cards is the slowest of the three.
"""

from collections.abc import Sequence
from dataclasses import replace

from runner.base.units import size
from runner.machine.facts import Backend, Machine
from runner.plan.choose import Plan
from runner.plan.fixes import Cost, Fix
from runner.plan.placement import is_split

_LONG = 131_072  # tokens


def ways(machine: Machine) -> tuple[Machine, ...]:
    """Return each way to use a computer's devices, the one with most room first."""
    alone = replace(machine, alternatives=())
    return (alone, *machine.alternatives)


def weigh(plans: Sequence[Plan]) -> tuple[int, Plan]:
    """Return the best of the plans for one computer, and its number.

    `plans`: one for each way, with the same request. The best one's warnings say what is left out
    and why, and a refusal has the changes to the host that help any of them.
    """
    number = max(range(len(plans)), key=lambda each: (_rank(plans[each]), -each))
    best = plans[number]
    others = [plan for at, plan in enumerate(plans) if at != number]
    left = tuple(_left_out(other, best) for other in others if _named(other) != _named(best))
    fixes = best.fixes if best.fits else _together(best, others)
    return number, replace(best, warnings=(*best.warnings, *left), fixes=fixes)


def _rank(plan: Plan) -> tuple[object, ...]:
    if not plan.fits:  # the one that a change to its host helps, then the one that misses least
        helped = any(fix.enough for fix in plan.fixes)
        return False, helped, plan.placement.spare_bytes
    return (
        True,
        plan.machine.backend is not Backend.CPU,
        plan.variant.quality,
        not plan.placement.mmproj_on_cpu,
        min(plan.config.context, _LONG),
        _speed(plan),
        plan.config.context,
    )


def _speed(plan: Plan) -> int:
    if not is_split(plan.machine):
        return 1
    return 0 if plan.placement.n_cpu_moe else 2


def _named(plan: Plan) -> str:
    return " + ".join(device.name for device in plan.machine.devices) or plan.machine.name


def _left_out(other: Plan, best: Plan) -> str:
    """Return one sentence on what is not used, and what it would give."""
    verb = "are" if len(other.machine.devices) > 1 else "is"
    unused = f"{_named(other)} {verb} not used"
    if not other.fits:
        missing = size(max(0, -other.placement.spare_bytes))
        return f"{unused}: with that alone {other.variant.name} would be {missing} too large."
    if other.machine.backend is Backend.CPU and best.machine.backend is not Backend.CPU:
        return f"{unused}: beside it the CPU would do all the work."
    would = f"with that {other.variant.name} at {other.config.context:,} tokens would fit"
    if other.variant.quality != best.variant.quality:
        return f"{unused}: {would}, a smaller quant."
    if other.placement.mmproj_on_cpu and not best.placement.mmproj_on_cpu:
        return f"{unused}: {would}, with the vision encoder on the CPU."
    if other.config.context < best.config.context:
        return f"{unused}: {would}, a shorter context."
    return f"{unused}: {would} as well, but more slowly or no faster."


def _together(best: Plan, others: Sequence[Plan]) -> tuple[Fix, ...]:
    """Return a refusal's fixes with the changes to the host that the other ways would need."""
    host = (Cost.SETTING, Cost.RESTART)
    more = [fix for plan in others for fix in plan.fixes if fix.cost in host]
    found = {fix.command: fix for fix in (*more, *best.fixes)}
    if any(fix.enough for fix in found.values()):
        found = {key: fix for key, fix in found.items() if fix.cost is not Cost.OTHER_MACHINE}
    return tuple(sorted(found.values(), key=lambda fix: fix.cost))
