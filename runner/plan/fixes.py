"""What would make a refused plan fit: each with the command that does it. Pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

from runner.base.shell import shell_line
from runner.base.units import size
from runner.machine.facts import Machine, Platform, Purpose
from runner.plan.memory.kv_cache import Config
from runner.plan.model_spec import ModelSpec, Variant
from runner.plan.request import PlanRequest, Profile

# Finds the best configuration for another request or another limit in bytes (None: this machine's);
# None where nothing fits.
Search = Callable[[PlanRequest, int | None], tuple[Variant, Config] | None]


class Cost(IntEnum):
    """What a fix costs the user, in ascending order: the order in which fixes are listed."""

    OPTION = 0  # another option of steprun: nothing changes but the plan
    SETTING = 1  # free memory, or a setting of the host that takes effect at once
    RESTART = 2  # a setting that takes effect after a restart or a new login
    OTHER_MODEL = 3
    OTHER_SERVER = 4
    OTHER_MACHINE = 5


@dataclass(frozen=True, slots=True)
class Fix:
    """Something that would help, and the command for it; `undo` reverts a change to the host.

    `request`: what the command requests, where it is one of steprun's for this machine. `enough`:
    whether it is known that the model fits then.
    """

    cost: Cost
    what: str
    command: str
    undo: str = ""
    request: PlanRequest | None = None
    enough: bool = False


def fixes(
    machine: Machine, model_spec: ModelSpec, request: PlanRequest, search: Search, least_bytes: int
) -> tuple[Fix, ...]:
    """Return what would help, the cheapest first.

    `least_bytes`: what the smallest configuration of the request takes in one memory.
    """
    host = gains(machine, request, search, enough=True)
    found = [
        *_options(machine, model_spec, request, search),
        *host,
        Fix(Cost.OTHER_MODEL, "Try the chat with a small demo model.", "steprun chat --demo"),
        Fix(
            Cost.OTHER_SERVER,
            "Chat with a server on another machine.",
            "steprun chat --url http://HOST:PORT",
        ),
    ]
    if not any(fix.enough for fix in host):  # else this machine gives as much
        found.append(
            Fix(
                Cost.OTHER_MACHINE,
                f"Use a machine that gives an engine {size(least_bytes)} or more. The machines "
                "that steprun knows, for plan --machine NAME:",
                "steprun machine --known",
            )
        )
    return tuple(sorted(found, key=lambda fix: fix.cost))


def gains(
    machine: Machine,
    request: PlanRequest,
    search: Search,
    *,
    enough: bool = False,
    held_bytes: int = 0,
) -> tuple[Fix, ...]:
    """Return what changes to the host would give, each with its undo, the cheapest first.

    What gains nothing is left out: more room in which nothing better fits than now, and free memory
    before a load that has it (`held_bytes`: what it takes; 0 for a plan that is refused). `enough`:
    also leave out those after which it is known that nothing would fit even then.
    """
    now = search(request, None)
    found = []
    for advice in machine.advice:
        if advice.purpose is Purpose.LOAD and held_bytes <= (machine.free_bytes or 0):
            continue
        then, fits = "", False
        if advice.purpose is Purpose.ROOM and advice.limit_after is not None:
            fitting = search(request, advice.limit_after)
            if fitting is None if enough else not _better(fitting, now):
                continue
            if fitting is not None:
                variant, config = fitting
                then = f" - {variant.name} at {config.context:,} tokens would fit then"
                fits = True
        cost = Cost.RESTART if advice.restart else Cost.SETTING
        found.append(Fix(cost, advice.what + then, advice.command, advice.undo, enough=fits))
    return tuple(sorted(found, key=lambda fix: fix.cost))


def _better(then: tuple[Variant, Config] | None, now: tuple[Variant, Config] | None) -> bool:
    """Whether a change to the host gains anything: quality, then context, then an exact cache."""
    if then is None or now is None:
        return now is None
    return _worth(then) > _worth(now)


def _worth(found: tuple[Variant, Config]) -> tuple[float, int, bool, int]:
    variant, config = found
    return variant.quality, config.context, config.kv_type == "f16", config.ubatch


def _options(
    machine: Machine, model_spec: ModelSpec, request: PlanRequest, search: Search
) -> Iterator[Fix]:
    """Yield other requests that fit, the one that gives up the least first."""
    free = PlanRequest(
        profile=request.profile, with_mtp=request.with_mtp, allow_paging=request.allow_paging
    )
    if request != free and (found := search(free, None)):
        variant, config = found
        other = replace(free, quant=variant.name, context=config.context)
        yield _option(f"{variant.name} at {config.context:,} tokens fits.", model_spec, other)
    fast = replace(request, profile=Profile.FAST)
    if request.profile is Profile.SEE and model_spec.projector_bytes and search(fast, None):
        yield _option("Without image input it fits.", model_spec, fast)
    paging = replace(request, allow_paging=True)
    if machine.platform is Platform.CPU and not request.allow_paging and search(paging, None):
        yield _option(
            "Leave the weights on the disk: it starts, but an answer takes minutes, not seconds.",
            model_spec,
            paging,
        )


def _option(what: str, model_spec: ModelSpec, request: PlanRequest) -> Fix:
    command = shell_line(("steprun", model_spec.verb, *model_spec.words, *request.words()))
    return Fix(Cost.OPTION, what, command, request=request)
