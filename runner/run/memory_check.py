"""What the engine itself counts for a plan, before it starts: asked once, then remembered."""

from collections.abc import Sequence

from runner.base.errors import Refused
from runner.base.units import size
from runner.engine.installed.store import InstalledEngine
from runner.engine.process import memory_probe
from runner.engine.process.memory_probe import Difference
from runner.plan.choose import Plan
from runner.plan.launch import LaunchSpec

_LEAST_CONTEXT = 256  # tokens; the least that --ctx takes


def known_differences(
    plan: Plan, spec: LaunchSpec, engine: InstalledEngine
) -> tuple[Difference, ...]:
    """Return where the engine's own account of this launch differs, if it was ever asked."""
    try:
        account = memory_probe.recall_probe(memory_probe.probe_key(_build(engine), spec.argv))
    except OSError:
        return ()  # a file is missing, so it never was
    return memory_probe.compare(plan.items, account) if account else ()


def find_shortfalls(
    plan: Plan, spec: LaunchSpec, engine: InstalledEngine
) -> tuple[Difference, ...]:
    """Return where the engine counts more than the plan. The engine is asked once per launch line.

    Takes about half a second and allocates nothing. Empty for an engine that does not answer: the
    plan stands then. Where the plan counts more, nothing can go wrong.
    """
    if "--fit" not in engine.stamp.flags:
        return ()
    key = memory_probe.probe_key(_build(engine), spec.argv)
    account = memory_probe.recall_probe(key)
    if account is None:
        account = memory_probe.probe_memory(engine.program, spec.argv)
        if account is None:
            return ()
        memory_probe.remember_probe(key, account)
    return tuple(d for d in memory_probe.compare(plan.items, account) if d.engine > d.planned)


def must_have_room(plan: Plan, shortfalls: Sequence[Difference]) -> None:
    """Raise `Refused` where by the engine's own figures the plan does not fit."""
    more = sum(each.engine - each.planned for each in shortfalls)
    missing = more - max(0, plan.placement.spare_bytes)
    if more and missing > 0:
        half = max(_LEAST_CONTEXT, plan.config.context // 2)
        raise Refused(
            f"{plan.model_spec.name} would not fit after all.",
            why=f"By the engine's own account it needs {size(more)} more than planned, which is "
            f"{size(missing)} more than this machine has.",
            next=f"Request a shorter context: --ctx {half}",
        )


def in_words(difference: Difference) -> str:
    """Say one difference to people."""
    return (
        f"The engine counts {size(difference.engine)} for {difference.item}, the plan "
        f"{size(difference.planned)}."
    )


def _build(engine: InstalledEngine) -> str:
    """Return a name that no other build has: an engine may be built again under its name."""
    origin = engine.stamp.origin
    return f"{engine.name} {origin.version} {origin.commit} {engine.stamp.made}".strip()
