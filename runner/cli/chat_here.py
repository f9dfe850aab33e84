"""A chat with a server of this machine, or else with an engine of its own: found in two ways.

With `-p` it is found in the terminal. Else the window is open before anything is looked for or
planned. What takes a terminal (a question, the progress of a download, an account of the memory)
makes the window close: it is done in the terminal then, and the window opens again.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from runner.base.errors import SteprunError
from runner.base.shell import as_typed, shell_line
from runner.chat.dialect import LLAMA_SERVER, PYTHON_ENGINE, Dialect
from runner.chat.host import Another, ChatHost, ChatSetup, NeedsTerminal
from runner.chat.wire import Options
from runner.cli.render.wrap import say
from runner.plan.request import PlanRequest, Profile
from runner.run.request import ModelRequest

if TYPE_CHECKING:
    from runner.base.progress import OnProgress
    from runner.engine.process.servers import Command
    from runner.run.download_missing import Ready
    from runner.run.prepare import Prepared

POLL_S: Final = 0.1  # while a server starts


@dataclass(frozen=True, slots=True)
class AskedChat:
    """What a chat was asked to be. `common`: fields of every `ChatSetup`.

    `command`: as `ps` names it. `own`: no server may be joined. `typed`: the profile is no default.
    """

    request: ModelRequest
    answer: Options
    common: dict[str, Any]
    command: "Command"
    own: bool
    typed: bool


# --- in the terminal


def find(asked: AskedChat) -> ChatSetup:
    """Return a chat with a server of this machine, or else with an engine of its own."""
    from runner.cli.terminal import make_ready
    from runner.run.prepare import make_plan

    notify = partial(say, err=True)
    _wait_for_starting(asked, notify)
    if setup := _joined(asked, notify):
        return setup
    prepared = make_plan(asked.request, to_run=True)
    # A server that was started at the same moment as this chat is known by now.
    _wait_for_starting(asked, notify)
    return _joined(asked) or _local(asked, prepared, make_ready)


def _wait_for_starting(asked: AskedChat, notify: Callable[[str], object]) -> None:
    """Wait while a server of the same model starts: what it serves is known once it listens."""
    if words := _starting(asked):
        notify(words)
    while _starting(asked):
        time.sleep(POLL_S)


# --- in a window


def not_found_yet(asked: AskedChat) -> ChatSetup:
    """Return the setup of a chat whose server or engine is still to be found."""
    return ChatSetup(
        title=PurePath(asked.request.model).name or "steprun",
        open_host=_unknown,
        options=asked.answer,
        sees=True,
        prices=False,
        greeting=_starting(asked),
        words=_words(asked.request),
        find=partial(_find_in_window, asked),
        **asked.common,
    )


def _unknown() -> AbstractAsyncContextManager[ChatHost]:
    raise AssertionError("A host is opened once it is known.")


async def _find_in_window(asked: AskedChat, on_wait: Callable[[float], None]) -> ChatSetup:
    """Find as `find` does. Raises `NeedsTerminal` where nothing comes of it in a window."""
    try:
        return await _search(asked, on_wait)
    except SteprunError as error:
        raise NeedsTerminal(error.what, why=error.why, next=error.next) from error


async def _search(asked: AskedChat, on_wait: Callable[[float], None]) -> ChatSetup:
    notes: list[str] = []
    began = time.monotonic()

    async def until_started() -> None:
        while _starting(asked):
            on_wait(time.monotonic() - began)
            await asyncio.sleep(POLL_S)

    await until_started()
    if setup := await asyncio.to_thread(_joined, asked, notes.append):
        return setup
    prepared = await asyncio.to_thread(_plan, asked.request)
    await until_started()
    if setup := await asyncio.to_thread(_joined, asked):
        return setup
    setup = await asyncio.to_thread(_local, asked, prepared, partial(_ready_at_once, notes.append))
    return replace(setup, greeting="\n".join((*notes, setup.greeting)))


def _plan(request: ModelRequest) -> "Prepared":
    from runner.run.prepare import make_plan

    return make_plan(request, to_run=True)


def _ready_at_once(notify: Callable[[str], None], prepared: "Prepared") -> "Ready":
    """Return what to start where nothing is missing: nobody is asked, nothing is downloaded."""
    from runner.run.download_missing import Frontend, ensure_files

    return ensure_files(prepared, Frontend(notify, _progress))


def _progress() -> AbstractContextManager["OnProgress"]:
    raise NeedsTerminal("A download is shown in the terminal.")


# --- what may come of it


def _starting(asked: AskedChat) -> str:
    """Say that a server of the same model is being started, and how to chat without it.

    Empty where there is none. What it serves is known once it listens.
    """
    from runner.engine.process import servers

    request = asked.request
    if asked.own or not (found := servers.starting()):
        return ""
    from runner.run.joining import asked_of

    wanted = asked_of(request)
    same = [each for each in found if (each.source, each.extras) == wanted]
    if not same:
        return ""
    alone = shell_line(("steprun", "chat", *_words(request), "--own"))
    return (
        "Waiting for the server of this model that is being started (process "
        f"{same[0].pid}). To chat without it: {alone}"
    )


def _local(
    asked: AskedChat, prepared: "Prepared", make_ready: Callable[["Prepared"], "Ready"]
) -> ChatSetup:
    """Set up a chat with an engine of our own. `make_ready`: downloads what is missing."""
    from runner.cli.remote_chat import must_see
    from runner.engine.process.supervisor import EngineProcess
    from runner.gateway.model_rungs import rungs_of
    from runner.gateway.model_settings import with_files, with_model
    from runner.gateway.own_host import OwnHost
    from runner.gateway.settings import Settings
    from runner.run.prepare import engine_notice, expected_speed
    from runner.speed.estimate import prefill_rate

    plan = prepared.plan
    blind_why = (
        "The profile is fast: speculative decoding (MTP), no images."
        if plan.config.mtp
        else f"{prepared.title} has no vision encoder (mmproj)."
    )
    if not plan.config.projector:
        must_see(asked.common["pictures"], blind_why)
    # Who leaves a chat hangs up before, so that this is for the last bytes of a whole answer only.
    basis = with_model(Settings(drain_s=1, command=asked.command), prepared)
    ready = make_ready(prepared)
    settings, spec = with_files(basis, ready, asked.request)
    make = partial(EngineProcess, prepared.engine.program)
    rungs = rungs_of(settings, ready, asked.request, make)
    return ChatSetup(
        title=f"{prepared.title} {plan.variant.name}",
        open_host=lambda: OwnHost(settings, lambda: make(spec), rungs=rungs),
        options=replace(asked.answer, dialect=_dialect(prepared.engine.stamp.kind)),
        context=plan.config.context,
        sees=plan.config.projector,
        blind_why=blind_why,
        prices=plan.model_spec.geometry.arch == "step35",
        expected_rate=prefill_rate(expected_speed(plan)),
        greeting=as_typed(engine_notice(prepared)),
        hint=prepared.model.hint if prepared.model else "",
        picture_tools=prepared.model.picture_tools if prepared.model else True,
        words=plan.model_spec.words,
        others=_others(asked, prepared),
        **asked.common,
    )


def _dialect(kind: str) -> Dialect:
    from runner.engine.installed.stamp import Kind

    return PYTHON_ENGINE if kind == Kind.PYTHON else LLAMA_SERVER


# What each profile is for, in the words of `--profile`.
_PROFILES: Final = {
    Profile.SEE: "With images",
    Profile.FAST: "Faster by drafts, without images",
    Profile.TEXT: "The longest context, without images and drafts",
}


def _others(asked: AskedChat, prepared: "Prepared") -> tuple[Another, ...]:
    """Return how else the model can be run here, with files that are installed."""
    from runner.run.download_missing import installed_quants

    plan, ask = prepared.plan, asked.request.ask
    spec, config = plan.model_spec, plan.config
    able = {Profile.SEE: bool(spec.projector_bytes), Profile.TEXT: True}
    able[Profile.FAST] = bool(spec.mtp_bytes or spec.mtp_inside)
    now = Profile.SEE if config.projector else Profile.FAST if config.mtp else Profile.TEXT
    ways = [
        (what, replace(ask, profile=profile))
        for profile, what in _PROFILES.items()
        if able[profile] and profile is not now
    ]
    ways += [
        (f"Quant {quant}", replace(ask, quant=quant))
        for quant in installed_quants(prepared)
        if quant != plan.variant.name
    ]
    return tuple(_another(asked, spec.words, what, ask) for what, ask in ways)


def _another(asked: AskedChat, named: tuple[str, ...], what: str, ask: PlanRequest) -> Another:
    wish = replace(
        asked,
        request=replace(asked.request, ask=ask),
        common={**asked.common, "pictures": ()},  # the composer has them, and takes them off
        own=True,
        typed=True,
    )
    words = (*named, *ask.words())
    return Another(what, words, partial(_find_again, wish, words), sees=ask.see)


async def _find_again(
    asked: AskedChat, words: tuple[str, ...], on_wait: Callable[[float], None]
) -> ChatSetup:
    """Find what takes the place of an engine. Raises SteprunError where that takes a terminal."""
    try:
        setup = await _search(asked, on_wait)
    except NeedsTerminal as error:
        raise SteprunError(
            "This engine cannot be started from here.",
            why=f"{error.what} {error.why}".strip(),
            next=shell_line(("steprun", "chat", *words)),
        ) from error
    return replace(setup, words=words)


def _joined(asked: AskedChat, notify: Callable[[str], object] = lambda _: None) -> ChatSetup | None:
    """Return a chat with a server of this machine; None where none serves what is asked for.

    `notify` hears why those that run are not used.
    """
    from runner.engine.process import servers

    found, request = servers.running(), asked.request
    if asked.own or not found:
        return None
    from runner.gateway.asking import Joined, endpoint_of
    from runner.run.joining import why_not

    reasons = []
    for record in found:
        if record.command == "chat -p":  # it ends with its answer, in the middle of another one
            continue
        served, pictures = record.served, bool(asked.common["pictures"])
        what = f"{'chat' if record.command == 'chat' else 'server'} at {record.url}"
        if why := why_not(served, request, profile_typed=asked.typed, pictures=pictures):
            reasons.append(f"The {what} is not used: {why}.")
            continue
        endpoint_of(record)  # a key that cannot be read is refused before the chat begins
        name = f"{served.title} {served.quant}".rstrip()
        return ChatSetup(
            title=name,
            open_host=partial(Joined, record, _words(request)),
            options=replace(asked.answer, model=served.model, dialect=_dialect(served.engine_kind)),
            context=served.context,
            sees=served.sees,
            blind_why=f"The {what} was started without a vision encoder (mmproj).",
            picture_tools=_picture_tools(served.source),
            prices=served.architecture == "step35",
            own=False,
            gateway=True,
            greeting=as_typed(f"Joined the {what} ({name})."),
            words=_words(request),
            **asked.common,
        )
    for reason in reasons:
        notify(reason)
    return None


def _picture_tools(source: str) -> bool:
    """Return whether zoom and mark are offered by default to a model that is served."""
    from runner.catalog.models_toml import load_catalog

    return all(each.picture_tools for each in load_catalog().models if each.name == source)


def _words(request: ModelRequest) -> tuple[str, ...]:
    """Return the options that name a model, to be typed again."""
    if request.model == "demo":
        return ("--demo",)
    named = (("--model", request.model), ("--projector", request.projector), ("--mtp", request.mtp))
    return tuple(word for option, value in named if value for word in (option, value))
