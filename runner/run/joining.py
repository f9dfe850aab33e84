"""Whether a server that runs is the one that somebody asks for."""

from pathlib import Path
from typing import TYPE_CHECKING

from runner.engine.process.servers import Served
from runner.run.model_ref import CatalogModel, model_ref
from runner.run.request import ModelRequest

if TYPE_CHECKING:  # a server that starts says so before it imports what makes a plan
    from runner.plan.memory.kv_cache import Config
    from runner.run.download_missing import Ready


def served_of(ready: "Ready", request: ModelRequest) -> Served:
    """Return what a server serves, once all files are on this disk."""
    plan, config = ready.prepared.plan, ready.prepared.plan.config
    source, extras = asked_of(request)
    return Served(
        source=source,
        model=plan.model_spec.name,
        title=ready.prepared.title,
        quant=plan.variant.name,
        engine=ready.prepared.engine.name,
        engine_kind=str(ready.prepared.engine.stamp.kind),
        context=config.context,
        parallel=config.parallel,
        kv_type=config.kv_type,
        ubatch=config.ubatch,
        profile=str(request.ask.profile),
        architecture=plan.model_spec.geometry.arch,
        sees=config.projector,
        drafts=config.mtp,
        extras=extras,
        weights_bytes=plan.variant.weights_bytes + _more_bytes(ready, config),
        total_bytes=plan.total_bytes,
        limit_bytes=plan.limit_bytes,
    )


def why_not(served: Served, request: ModelRequest, *, profile_typed: bool, pictures: bool) -> str:
    """Return why a server is not what is asked for, such as `it serves IQ4_XS`; empty where it is.

    What was left out is taken as it comes. `profile_typed`: the profile is no default. `pictures`:
    images are to be sent.
    """
    ask = request.ask
    source, extras = asked_of(request)
    reasons = (
        (source != served.source, f"it serves {served.title}"),
        (
            extras != served.extras,
            "it was started with another --projector or --mtp",
        ),
        (_differs(ask.quant, served.quant), f"it serves {served.quant}"),
        ((ask.context or 0) > served.context, f"its context is {served.context:,} tokens"),
        (_differs(ask.kv_type, served.kv_type), f"its KV cache is {served.kv_type}"),
        (ask.ubatch not in {None, served.ubatch}, f"its --ubatch is {served.ubatch}"),
        (ask.parallel > served.parallel, f"its --parallel is {served.parallel}"),
        (_differs(request.engine, served.engine), f"its engine is {served.engine}"),
        (
            profile_typed and _differs(str(ask.profile), served.profile),
            f"its profile is {served.profile}",
        ),
        (pictures and not served.sees, "it does not see images"),
    )
    return next((words for differs, words in reasons if differs), "")


def _differs(asked: str | None, has: str) -> bool:
    return bool(asked) and str(asked).lower() != has.lower()


def asked_of(request: ModelRequest) -> tuple[str, tuple[str, ...]]:
    """Return which model a request names, and which files beside it, whoever asks and wherever."""
    ref = model_ref(request)
    if isinstance(ref, CatalogModel):
        return ref.model.name, ()
    # An address may be a signed link: what follows its path is not written down.
    places = {
        role: str(file.path.absolute()) if file.path else file.address.partition("?")[0]
        for role, file in ref.files.items()
    }
    weights = places.pop("weights")
    return weights, tuple(f"{role}={place}" for role, place in sorted(places.items()))


def _more_bytes(ready: "Ready", config: "Config") -> int:
    """Return the size of the projector and the draft heads that are loaded."""
    files = ready.files
    used: tuple[tuple[bool, Path | None], ...] = (
        (config.projector, files.projector),
        (config.mtp, files.mtp),
    )
    return sum(path.stat().st_size for use, path in used if use and path)
