"""What the engine itself says of a plan before it is started: asked, shown, remembered, kept to."""

import click

from runner.base.errors import Refused
from runner.cli import output
from runner.engine.installed.store import InstalledEngine
from runner.engine.process import memory_probe
from runner.engine.process.memory_probe import Difference
from runner.plan.choose import Plan
from runner.plan.launch import LaunchSpec


def known(plan: Plan, spec: LaunchSpec, engine: InstalledEngine) -> tuple[Difference, ...]:
    """Return where the engine's own account of this launch differs, if it was ever asked."""
    try:
        told = memory_probe.recall_probe(memory_probe.probe_key(_name(engine), spec.argv, spec.env))
    except OSError:
        return ()  # the files are not here, so it never was
    return memory_probe.compare(plan.items, told) if told else ()


def check_memory(plan: Plan, spec: LaunchSpec, engine: InstalledEngine) -> None:
    """Ask the engine what this launch would take, once, and say where the plan is wrong.

    Takes about half a second, allocates nothing, and is remembered. Raises `Refused` where by the
    engine's own figures there is not enough room.
    """
    if "--fit" not in engine.stamp.flags:
        return
    name = memory_probe.probe_key(_name(engine), spec.argv, spec.env)
    told = memory_probe.recall_probe(name)
    if told is None:
        told = memory_probe.probe_memory(engine.program, spec.argv, spec.env)
        if told is None:
            return  # an engine that does not say: the plan stands
        memory_probe.remember_probe(name, told)
    # Where the plan has more, nothing can go wrong, and it is nobody's business.
    differences = [d for d in memory_probe.compare(plan.items, told) if d.engine > d.planned]
    for difference in differences:
        click.echo(in_words(difference), err=True)
    for each in memory_probe.overfull(plan.placement, told):
        half = max(256, plan.config.context // 2)
        raise Refused(
            f"{plan.model_spec.name} would not fit after all.",
            why=f"By the engine's own account it takes {output.size(each.more)} more than planned "
            f"in {each.name}, and {output.size(each.missing)} of that do not fit.",
            next=f"Ask for less: --ctx {half}",
        )


def in_words(difference: Difference) -> str:
    """Say one difference to people."""
    return (
        f"The engine counts {output.size(difference.engine)} for {difference.item}, the plan "
        f"{output.size(difference.planned)}."
    )


def _name(engine: InstalledEngine) -> str:
    """Return a name that no other build has: one engine may be made again under its name."""
    origin = engine.stamp.origin
    return f"{engine.name} {origin.version} {origin.commit} {engine.stamp.made}".strip()
