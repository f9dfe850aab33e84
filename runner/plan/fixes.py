"""What would make a refused plan fit: each with the command that does it. Pure."""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from runner.machine.facts import Machine, Platform
from runner.plan.ask import Ask, Profile
from runner.plan.cache import GIB, Config
from runner.plan.subject import Subject, Variant

# Finds the best configuration for another ask, None where there is none.
Search = Callable[[Ask], tuple[Variant, Config] | None]


@dataclass(frozen=True, slots=True)
class Fix:
    """Something that would make it fit, and what to type for it.

    `ask`: what the command asks for, where it is one of steprun's for this machine.
    """

    what: str
    command: str
    ask: Ask | None = None


def fixes(
    machine: Machine, subject: Subject, ask: Ask, search: Search, least_bytes: int
) -> Iterator[Fix]:
    """Yield what would help, the cheapest first. `least_bytes`: what it takes at the least."""
    free = Ask(profile=ask.profile, with_mtp=ask.with_mtp, allow_paging=ask.allow_paging)
    if ask != free and (found := search(free)):
        variant, config = found
        asked = replace(free, quant=variant.name, context=config.context)
        yield _fix(f"{variant.name} at {config.context:,} tokens fits.", subject, asked)
    fast = replace(ask, profile=Profile.FAST)
    if ask.profile is Profile.SEE and subject.projector_bytes and search(fast):
        yield _fix("Without pictures it fits.", subject, fast)
    for advice in machine.advice:
        yield Fix(advice.what, advice.command)
    yield Fix(
        "The nearest that would fit is a machine that gives an engine "
        f"{least_bytes / GIB:.0f} GiB or more. What one would run:",
        "steprun plan --machine dgx-spark",
    )
    paging = replace(ask, allow_paging=True)
    if machine.platform is Platform.CPU and not ask.allow_paging and search(paging):
        yield _fix(
            "Let the weights stay on the disk: it starts, and answers in minutes, not seconds.",
            subject,
            paging,
        )
    yield Fix("Talk to a server elsewhere.", "steprun chat --url http://HOST:PORT")
    yield Fix("See the chat at work with a small model.", "steprun chat --demo")


def _fix(what: str, subject: Subject, ask: Ask) -> Fix:
    return Fix(what, shlex.join(("steprun", "chat", *subject.words, *ask.words())), ask)
