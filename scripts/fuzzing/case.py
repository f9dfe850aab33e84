"""One case: a lie is made from its number, told, and what comes of it is judged."""

from __future__ import annotations

import io
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import TYPE_CHECKING, NoReturn

from fuzzing import captures, headers
from runner.base.errors import BadFile, SteprunError, UsageError
from runner.catalog import models_toml
from runner.catalog.model import WeightLayout
from runner.engine.builder import recipe
from runner.gguf.header import geometry, kind, layout, parse_header, weights_bytes
from runner.machine.captures import capture
from runner.machine.facts import Backend, Machine
from runner.machine.probe import detect
from runner.plan.choose import choose
from runner.plan.launch import RunDefaults
from runner.plan.model_spec import ModelSpec, Variant, from_model
from runner.plan.request import PlanRequest, Profile

if TYPE_CHECKING:
    from types import FrameType

CAPTURES_IN = 4  # one case in so many is a capture: they take longer
LIMIT_S = 1.0


class Hang(BaseException):
    """A case took more than LIMIT_S. No `except Exception` may catch it."""


class Wrong(Exception):  # noqa: N818 - it is what it says
    """An answer that no input may bring about."""


@dataclass(frozen=True)
class Lie:
    """The input of a case. `size`: what a header's file claims to have; 0 for a capture."""

    kind: str
    data: bytes
    size: int = 0


def warm() -> None:
    """Load what all cases share, so that the first one is not taken for a slow one."""
    headers.seeds()
    for machine in _machines():
        _plan(machine, _step(), 1)


def make(seed: int, number: int) -> Lie:
    """Make the input of case `number`: the same for the same seed."""
    random = Random(f"{seed}/{number}")  # noqa: S311 - not for secrets
    if number % CAPTURES_IN == 0:
        return Lie("capture", captures.mutated(random))
    return Lie("header", *headers.mutated(random))


def tell(lie: Lie, number: int) -> str:
    """Take the input through all that reads it; return what came of it.

    Raises whatever goes wrong: Hang, Wrong, or what the code itself let out.
    """
    try:
        with _alarm():
            return _header(lie, number) if lie.kind == "header" else _capture(lie.data, number)
    except UsageError as error:
        return _said(error, "wrong usage")
    except BadFile as error:
        return _said(error, "refused")


def _said(error: SteprunError, outcome: str) -> str:
    if not error.what or not str(error).isprintable():
        raise Wrong(f"an error that says nothing, or cannot be shown: {error!r}")
    return outcome


def _header(lie: Lie, number: int) -> str:
    made = parse_header(io.BytesIO(lie.data), lie.size, "lie.gguf")
    what = kind(made)
    if what != "model":
        return f"read: {what}"
    shape, sums, place = geometry(made), weights_bytes([made]), layout([made])
    if place.total != sums.trunk or sums.total > lie.size or min(_parts(sums, place)) < 0:
        raise Wrong(f"the sums do not agree: {sums} {place}")
    if len(place.resident) != len(shape.layers):
        raise Wrong("the layout has other layers than the geometry")
    variant = Variant("lie", sums.trunk, layout=place)
    model_spec = ModelSpec("lie", shape, (variant,), mtp_bytes=sums.mtp)
    return _plan(_machines()[number % len(_machines())], model_spec, number)


def _parts(sums: object, place: WeightLayout) -> tuple[int, ...]:
    trunk: int = getattr(sums, "trunk", -1)
    mtp: int = getattr(sums, "mtp", -1)
    return (trunk, mtp, place.input, place.output, *place.resident, *place.experts)


def _capture(data: bytes, number: int) -> str:
    parsed = capture.parse_capture(data)
    try:
        machine = detect(capture.Replay(parsed))
    except SteprunError as error:
        raise Wrong(f"detect never raises, and raised {error!r}") from error
    if machine.limit_bytes < 0 or machine.memory_bytes < 0:
        raise Wrong(f"a machine with less than no memory: {machine}")
    return _plan(machine, _step(), number)


def _plan(machine: Machine, model_spec: ModelSpec, number: int) -> str:
    profile = Profile.FAST if number % 3 == 0 else Profile.SEE
    ask = PlanRequest(profile=profile, allow_paging=number % 7 == 0)
    plan = choose(machine, model_spec, ask, _defaults(machine.backend))
    if min((item.bytes for item in plan.items), default=0) < 0 or plan.config.context < 0:
        raise Wrong(f"a ledger below zero: {plan.items}")
    return "fits" if plan.fits else "would not fit"


@cache
def _step() -> ModelSpec:
    found = from_model(models_toml.load_catalog().models[0])
    if found is None:
        raise LookupError("the catalog has lost its first model")
    return found


@cache
def _machines() -> tuple[Machine, ...]:
    """Return machines of every kind, and one without a limit: it lets any plan go to its end."""
    found = [detect(capture.Replay(capture.parse_capture(raw))) for raw in captures.seeds()]
    kinds = {(machine.platform, machine.backend): machine for machine in found}
    made = [*kinds.values()]
    return (*made, replace(made[0], limit_bytes=1 << 60))


@cache
def _defaults(backend: Backend) -> RunDefaults:
    return recipe.load_recipe(backend).run


@contextmanager
def _alarm() -> Iterator[None]:
    """Raise Hang after LIMIT_S of this process's own time: a busy machine is no hang."""

    def rise(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise Hang

    if not hasattr(signal, "setitimer"):  # Windows: the case is run without a net
        yield
        return
    signal.signal(signal.SIGPROF, rise)
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
