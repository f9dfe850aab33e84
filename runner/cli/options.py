"""Options that several commands share, declared once, and the request they add up to."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeVar

import click

from runner.base.errors import UsageError
from runner.base.shell import shell_line
from runner.base.units import read_duration, read_size
from runner.plan.memory.kv_cache import KV_BLOCK_BYTES
from runner.plan.request import PlanRequest, Profile
from runner.run.request import ModelRequest

# What `--demo` takes, and the model of the catalog that it stands for; the first is the default.
DEMOS: Final = {"talk": "demo", "pictures": "tiny-step"}

F = TypeVar("F", bound=Callable[..., Any])

_CTX = click.IntRange(min=256, max=1 << 24)


def model_options(command: F) -> F:
    """Add the options that choose a model and shape its plan."""
    for option in reversed(
        (
            click.option(
                "--model",
                "-m",
                metavar="NAME|PATH|hf:...",
                help="A catalog name, a GGUF file, or hf:OWNER/REPO/FILE.gguf on the hub.",
            ),
            click.option(
                "--quant", "-q", help="Quantization, e.g. IQ4_XS. Default: the best that fits."
            ),
            click.option(
                "--ctx", type=_CTX, help="Context length in tokens. Default: the longest that fits."
            ),
            click.option(
                "--kv",
                type=click.Choice(tuple(KV_BLOCK_BYTES)),
                help="KV cache type. Default: the best that fits.",
            ),
            click.option(
                "--ubatch",
                type=click.IntRange(32, 8192),
                help="Physical batch size in tokens (`--ubatch-size`).",
            ),
            click.option(
                "--parallel",
                type=click.IntRange(1, 64),
                default=1,
                help="Number of parallel requests (server slots).",
                show_default=True,
            ),
            click.option(
                "--profile",
                type=click.Choice([str(p) for p in Profile]),
                default=str(Profile.SEE),
                show_default=True,
                help="see: image input. fast: speculative decoding (MTP), no images. "
                "text: neither, for the most context.",
            ),
            click.option(
                "--projector",
                metavar="PATH|hf:...",
                help="Vision encoder (mmproj) GGUF, for --model PATH.",
            ),
            click.option(
                "--mtp", metavar="PATH|hf:...", help="Draft heads (MTP) GGUF, for --model PATH."
            ),
            click.option(
                "--engine",
                metavar="NAME",
                help="Engine to run it with (see: steprun engine list). Default: the best.",
            ),
            click.option(
                "--allow-paging",
                is_flag=True,
                help="Run even if weights must be paged from the disk (slow).",
            ),
        )
    ):
        command = option(command)
    return command


def kv_disk_option(command: F) -> F:
    """Add the option that bounds what is kept on the disk of prompts that were read."""
    return click.option(
        "--kv-disk",
        metavar="SIZE|off",
        callback=_disk_size,
        help="Keep prompts that were read in up to SIZE on the disk (20GB, 64GiB), or not at all. "
        "Default: a quarter of what is free, 64 GiB at most.",
    )(command)


def _disk_size(_: click.Context, __: click.Parameter, typed: str | None) -> int | None:
    if typed is None:
        return None
    size = 0 if typed.strip().lower() == "off" else read_size(typed)
    if size is None:
        raise UsageError(
            f"{typed!r} is not a size.",
            why="A size is a number with a unit, or off.",
            next="Such as: --kv-disk 20GB",
        )
    return size


def sleep_options(command: F) -> F:
    """Add the options that say when the model is in memory."""
    command = click.option(
        "--idle-unload",
        metavar="TIME",
        callback=_duration,
        help="Unload the model after TIME without a request (30m, 2h); the next one loads it.",
    )(command)
    return click.option(
        "--on-demand", is_flag=True, help="Listen at once; load the model at the first request."
    )(command)


def _duration(_: click.Context, parameter: click.Parameter, typed: str | None) -> float:
    if typed is None:
        return 0.0
    seconds = read_duration(typed)
    if not seconds:
        raise UsageError(
            f"{typed!r} is not a time.",
            why="A time is a number above 0 with a unit: s, m or h.",
            next=f"Such as: {parameter.opts[0]} 30m",
        )
    return seconds


def demo_option(does: str) -> Callable[[F], F]:
    """Return `--demo [talk|pictures]`; `does`: what the command does with the model."""
    return click.option(
        "--demo",
        type=click.Choice(tuple(DEMOS)),
        is_flag=False,
        flag_value=next(iter(DEMOS)),
        help=f"{does} a small model instead. talk (the default): SmolLM2, which talks freely; a "
        "download of 93 MB. pictures: tiny Step, which comes with steprun; it sees shapes and "
        "numbers, thinks and calls tools, in a world of its own.",
    )


def take_request(options: dict[str, Any], *, demo: str | None = None) -> ModelRequest:
    """Take the options of `model_options` out of a command's keyword arguments.

    `demo`: one of `DEMOS`, which is used whatever model was named.
    """
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
        model=DEMOS[demo] if demo else model,
        ask=ask,
        projector=options.pop("projector"),
        mtp=mtp,
        engine=options.pop("engine") or "",
        kv_disk=options.pop("kv_disk", None),
    )


def words_typed(
    context: click.Context, without: Collection[str], instead: Mapping[str, Any] | None = None
) -> list[str]:
    """Return the options that were typed, as words of a command.

    `without`: names of options to leave out. `instead`: other values, by an option's name.
    """
    words: list[str] = []
    for parameter in context.command.params:
        name, given = str(parameter.name), context.params.get(str(parameter.name))
        source = context.get_parameter_source(name)
        if source is not click.core.ParameterSource.COMMANDLINE or name in without:
            continue
        flag = max(parameter.opts, key=len)
        if given is True or given == getattr(parameter, "flag_value", None):
            words.append(flag)
        elif not getattr(parameter, "is_flag", False):  # else another flag of the same name
            given = (instead or {}).get(name, given)
            for each in given if isinstance(given, (tuple, list)) else (given,):
                words += [flag, str(each)]
    return words


def typed_again(context: click.Context, option: str, value: str) -> str:
    """Return the command that was typed, with another value of one option: an advice to type."""
    names = {str(each.name) for each in context.command.params if option in each.opts}
    words = words_typed(context, names)
    return shell_line(("steprun", str(context.info_name), *words, option, value))
