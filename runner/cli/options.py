"""Options that several commands share, declared once, and the request they add up to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from runner.plan.memory.kv_cache import KV_BLOCK_BYTES
from runner.plan.request import PlanRequest, Profile

F = TypeVar("F", bound=Callable[..., Any])

_CTX = click.IntRange(min=256, max=1 << 24)


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """Which model, and what was asked of the plan."""

    model: str
    ask: PlanRequest
    projector: str | None = None
    mtp: str | None = None
    engine: str = ""


def model_options(command: F) -> F:
    """Add the options that choose a model and shape its plan."""
    for option in reversed(
        (
            click.option(
                "--model",
                "-m",
                metavar="NAME|PATH|hf:...",
                help="A model of the catalog, a GGUF file, or hf:OWNER/REPO/FILE.gguf of the hub.",
            ),
            click.option(
                "--quant", "-q", help="The quant, such as IQ4_XS (else the best that fits)."
            ),
            click.option(
                "--ctx", type=_CTX, help="Context in tokens (else the longest that fits)."
            ),
            click.option(
                "--kv", type=click.Choice(tuple(KV_BLOCK_BYTES)), help="Type of the KV cache."
            ),
            click.option("--ubatch", type=click.IntRange(32, 8192), help="Micro-batch in tokens."),
            click.option(
                "--parallel",
                type=click.IntRange(1, 64),
                default=1,
                help="Slots.",
                show_default=True,
            ),
            click.option(
                "--profile",
                type=click.Choice([str(p) for p in Profile]),
                default=str(Profile.SEE),
                show_default=True,
                help="see: pictures. fast: draft heads instead.",
            ),
            click.option(
                "--projector", metavar="PATH|hf:...", help="The projector's GGUF, for --model PATH."
            ),
            click.option(
                "--mtp", metavar="PATH|hf:...", help="The draft heads' GGUF, for --model PATH."
            ),
            click.option(
                "--engine",
                metavar="NAME",
                help="Which engine runs it (else the best: steprun engine list).",
            ),
            click.option(
                "--allow-paging",
                is_flag=True,
                help="Start even if weights must stay on disk (slow).",
            ),
        )
    ):
        command = option(command)
    return command


def take_request(options: dict[str, Any], *, demo: bool = False) -> ModelRequest:
    """Take the options of `model_options` out of a command's keyword arguments."""
    mtp: str | None = options.pop("mtp")
    ask = PlanRequest(
        quant=options.pop("quant"),
        context=options.pop("ctx"),
        kv_type=options.pop("kv"),
        ubatch=options.pop("ubatch"),
        parallel=options.pop("parallel"),
        profile=Profile(options.pop("profile")),
        with_mtp=mtp is not None,
        allow_paging=options.pop("allow_paging"),
    )
    model = options.pop("model") or ""
    return ModelRequest(
        model="demo" if demo else model,
        ask=ask,
        projector=options.pop("projector"),
        mtp=mtp,
        engine=options.pop("engine") or "",
    )
