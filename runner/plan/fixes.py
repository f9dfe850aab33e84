"""What would make a refused plan fit: each with the command that does it. Pure."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from runner.base.units import GIB
from runner.machine.facts import Machine, Platform
from runner.plan.memory.kv_cache import Config
from runner.plan.model_spec import ModelSpec, Variant
from runner.plan.request import PlanRequest, Profile


class Search(Protocol):
    """Finds the best configuration for another ask or another limit, None where there is none."""

    def __call__(
        self, ask: PlanRequest, limit_bytes: int | None = None, /
    ) -> tuple[Variant, Config] | None:
        """Return what was found."""
        ...


@dataclass(frozen=True, slots=True)
class Fix:
    """Something that would help, and what to type for it; `undo` takes a change to the host back.

    `ask`: what the command asks for, where it is one of steprun's for this machine.
    """

    what: str
    command: str
    undo: str = ""
    ask: PlanRequest | None = None


def fixes(
    machine: Machine, model_spec: ModelSpec, ask: PlanRequest, search: Search, least_bytes: int
) -> Iterator[Fix]:
    """Yield what would help, the cheapest first. `least_bytes`: what it takes at the least."""
    free = PlanRequest(profile=ask.profile, with_mtp=ask.with_mtp, allow_paging=ask.allow_paging)
    if ask != free and (found := search(free)):
        variant, config = found
        asked = replace(free, quant=variant.name, context=config.context)
        yield _fix(f"{variant.name} at {config.context:,} tokens fits.", model_spec, asked)
    fast = replace(ask, profile=Profile.FAST)
    if ask.profile is Profile.SEE and model_spec.projector_bytes and search(fast):
        yield _fix("Without pictures it fits.", model_spec, fast)
    yield from gains(machine, ask, search, enough=True)
    yield Fix(
        f"It takes a machine that gives an engine {least_bytes / GIB:.0f} GiB or more. Those that "
        "steprun knows, for plan --machine NAME:",
        "steprun machine --known",
    )
    paging = replace(ask, allow_paging=True)
    if machine.platform is Platform.CPU and not ask.allow_paging and search(paging):
        yield _fix(
            "Let the weights stay on the disk: it starts, and answers in minutes, not seconds.",
            model_spec,
            paging,
        )
    yield Fix("Talk to a server elsewhere.", "steprun chat --url http://HOST:PORT")
    yield Fix("See the chat at work with a small model.", "steprun chat --demo")


def _fix(what: str, model_spec: ModelSpec, ask: PlanRequest) -> Fix:
    command = shlex.join(("steprun", model_spec.verb, *model_spec.words, *ask.words()))
    return Fix(what, command, ask=ask)


def gains(
    machine: Machine, ask: PlanRequest, search: Search, *, enough: bool = False
) -> Iterator[Fix]:
    """Yield what changes to the host would give, each with its undo.

    `enough`: leave out those of which it is known that nothing would fit even then.
    """
    for advice in machine.advice:
        found = search(ask, advice.limit_after) if advice.limit_after else None
        then = ""
        if found and advice.limit_after != machine.limit_bytes:
            variant, config = found
            then = f" - {variant.name} at {config.context:,} tokens would fit then"
        if found or not (enough and advice.limit_after):
            yield Fix(advice.what + then, advice.command, advice.undo)
