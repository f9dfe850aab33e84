"""What the engine itself counts for a plan, before it starts: asked once, then remembered."""

from runner.base.errors import Refused
from runner.base.units import size
from runner.engine.installed.store import InstalledEngine
from runner.engine.process import memory_probe
from runner.engine.process.memory_probe import Breakdown, Difference
from runner.plan.choose import Plan
from runner.plan.launch import LaunchSpec

_LEAST_CONTEXT = 256  # tokens; the least that --ctx takes


def recall_account(spec: LaunchSpec, engine: InstalledEngine) -> Breakdown | None:
    """Return the engine's own account of a launch; None where it was never asked for."""
    try:
        return memory_probe.recall_probe(_key(spec, engine))
    except OSError:
        return None  # a file is missing, so it never was


def ask_engine(spec: LaunchSpec, engine: InstalledEngine) -> Breakdown | None:
    """Return the engine's own account of a launch, asking it at most once for each launch line.

    Takes about half a second and allocates nothing. None for an engine that does not answer: the
    plan stands then. Raises `OSError` where a file is missing.
    """
    if "--fit" not in engine.stamp.flags:
        return None
    key = _key(spec, engine)
    account = memory_probe.recall_probe(key)
    if account is None:
        account = memory_probe.probe_memory(engine.program, spec.argv, spec.env)
        if account is not None:
            memory_probe.remember_probe(key, account)
    return account


def build_of(engine: InstalledEngine) -> str:
    """Return a name that no other build has: an engine may be built again under its name."""
    origin = engine.stamp.origin
    return f"{engine.name} {origin.version} {origin.commit} {engine.stamp.made}".strip()


def differences(plan: Plan, account: Breakdown | None) -> tuple[Difference, ...]:
    """Return where the plan and the engine's account of it differ."""
    return memory_probe.compare(plan.items, account) if account else ()


def shortfalls(plan: Plan, account: Breakdown | None) -> tuple[Difference, ...]:
    """Return where the engine counts more than the plan: the other way round does no harm."""
    return tuple(each for each in differences(plan, account) if each.engine > each.planned)


def must_have_room(plan: Plan, account: Breakdown | None) -> None:
    """Raise `Refused` where by the engine's own account the plan does not fit."""
    for each in memory_probe.overfull(plan.placement, account) if account else ():
        half = max(_LEAST_CONTEXT, plan.config.context // 2)
        raise Refused(
            f"{plan.model_spec.name} would not fit after all.",
            why=f"By the engine's own account it needs {size(each.more)} more than planned in "
            f"{each.name}, of which {size(each.missing)} do not fit.",
            next=f"Request a shorter context: --ctx {half}",
        )


def in_words(difference: Difference) -> str:
    """Say one difference to people."""
    return (
        f"The engine counts {size(difference.engine)} for {difference.item}, the plan "
        f"{size(difference.planned)}."
    )


def _key(spec: LaunchSpec, engine: InstalledEngine) -> str:
    return memory_probe.probe_key(build_of(engine), spec.argv, spec.env)
