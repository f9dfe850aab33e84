"""What would make a refused plan fit: each with the command that does it. Pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

from runner.base.shell import shell_line
from runner.base.units import size
from runner.machine.facts import Machine, Platform, Purpose, after
from runner.plan.memory.kv_cache import Config
from runner.plan.model_spec import ModelSpec, Variant
from runner.plan.request import PlanRequest, Profile

# Finds the best configuration for another request, or for this machine after a change to it; None
# where nothing fits.
Search = Callable[[PlanRequest, Machine | None], tuple[Variant, Config] | None]


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
    found = [*_options(machine, model_spec, request, search), *host, *_others(model_spec)]
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


def _others(model_spec: ModelSpec) -> Iterator[Fix]:
    """Yield what else could be run; whoever wants to serve has no use for another's server."""
    if model_spec.verb == "serve":
        yield Fix(Cost.OTHER_MODEL, "Serve a small demo model.", model_spec.demo_command)
        return
    what = "Try the chat with a small demo model."
    yield Fix(Cost.OTHER_MODEL, what, model_spec.demo_command)
    yield Fix(
        Cost.OTHER_SERVER,
        "Chat with a server on another machine.",
        "steprun chat --url http://HOST:PORT",
    )


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
    also leave out those after which it is known that nothing would fit even then, not even what the
    plan would choose by itself.
    """
    now, free = search(request, None), _free(request)
    found = []
    for advice in machine.advice:
        if advice.purpose is Purpose.LOAD and held_bytes <= (machine.free_bytes or 0):
            continue
        then, fits = "", False
        changed = after(machine, advice) if advice.purpose is Purpose.ROOM else None
        if changed is not None:
            fitting = search(request, changed)
            fits = fitting is not None
            if enough and not fits and search(free, None) is None:
                fitting = search(free, changed)  # less than was requested, and more than now
            if fitting is None or not (enough or _better(fitting, now)):
                continue
            variant, config = fitting
            then = f" - {variant.name} at {config.context:,} tokens would fit then"
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
    free = _free(request)
    if request != free and (found := search(free, None)):
        variant, config = found
        other = replace(free, quant=variant.name, context=config.context)
        alone = " for one request at a time" if request.parallel > 1 else ""
        what = f"{variant.name} at {config.context:,} tokens fits{alone}."
        yield _option(what, model_spec, other)
    for part, less in _without_parts(model_spec, request):
        if search(less, None):
            yield _option(f"Without {part} it fits.", model_spec, less)
            break
    paging = replace(request, allow_paging=True)
    if machine.platform is Platform.CPU and not request.allow_paging and search(paging, None):
        yield _option(
            "Leave the weights on the disk: it starts, but an answer takes minutes, not seconds.",
            model_spec,
            paging,
        )


def _free(request: PlanRequest) -> PlanRequest:
    """Return the request with everything but the parts of the model left to the plan."""
    return PlanRequest(
        profile=request.profile,
        with_mtp=request.with_mtp,
        allow_paging=request.allow_paging,
        without=request.without,
    )


def _without_parts(
    model_spec: ModelSpec, request: PlanRequest
) -> Iterator[tuple[str, PlanRequest]]:
    """Yield the request without image input, then without draft heads too, and what it lacks."""
    heads = request.drafts(see=False) and model_spec.mtp_bytes
    if request.see and model_spec.projector_bytes:
        if heads:
            yield "image input", replace(request, profile=Profile.FAST)
        yield "image input", replace(request, profile=Profile.TEXT)
    elif heads and not request.with_mtp:
        yield "draft heads", replace(request, profile=Profile.TEXT)


def _option(what: str, model_spec: ModelSpec, request: PlanRequest) -> Fix:
    command = shell_line(("steprun", model_spec.verb, *model_spec.words, *request.words()))
    return Fix(Cost.OPTION, what, command, request=request)
