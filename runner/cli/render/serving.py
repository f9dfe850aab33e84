"""What an operator reads while `steprun serve` runs: on stderr, each line when it becomes true."""

from pathlib import Path
from typing import Final

from runner.base.errors import SteprunError
from runner.base.loaded import Loaded
from runner.base.shell import quoted, set_from, shell_line
from runner.base.units import duration, size
from runner.cli.render.common import TransientLine
from runner.cli.render.loading import loading_words
from runner.cli.render.wrap import say
from runner.gateway.admission.key_file import own_file
from runner.gateway.settings import Settings
from runner.net.endpoint import is_loopback_host

_SHOWN: Final = 3  # of a machine with more addresses
_INDENT: Final = 13  # columns before the second column


class ServeReport:
    """Says on stderr how clients reach the server, and what happens to it."""

    def __init__(self, settings: Settings, line: TransientLine) -> None:
        self._settings = settings
        self._line = line
        self._bases: tuple[str, ...] = ()
        self._ready = False  # once at least
        self._asleep = settings.on_demand

    def listening(self, port: int) -> None:
        """Say where the gateway answers, while the model is still loading."""
        self._bases = base_urls(self._settings, port)
        for each in address_lines(self._settings, self._bases):
            say(each, _INDENT, err=True)

    def changed(self, news: str) -> None:
        """Say that a file that the gateway follows has changed."""
        self._line.clear()
        say(news, err=True)

    def loading(self, seconds: float, loaded: Loaded | None) -> None:
        """Say for how long the model has been loading, and how far it is, if that is known."""
        self._line.show(loading_words(self._settings.title, seconds, loaded))

    def ready(self, log: str) -> None:
        """Say that the model answers, also after a restart. `log`: the path of the engine's log."""
        self._line.clear()
        if self._asleep:
            say(f"{self._settings.title} is loaded.", err=True)
        elif self._ready:
            say(f"{self._settings.title} answers again.", err=True)
        else:
            where = f"{self._bases[0]}/"
            say(f"Serving {self._settings.title}: {where} - stop with Ctrl-C.", err=True)
        self._ready, self._asleep = True, False
        say(f"  engine log {log}", _INDENT, err=True)

    def asleep(self, why: SteprunError | None) -> None:
        """Say that the engine is unloaded until the next request; `why` it cannot be loaded."""
        self._line.clear()
        self._asleep = True
        title = self._settings.title
        if why is None:
            idle = duration(self._settings.idle_unload_s)
            text = f"{title} is unloaded after {idle} without a request. The next one loads it."
        else:
            text = (
                f"{title} cannot be loaded now. {why.what} {why.why} The next request tries again."
            )
        say(text, 2, err=True)

    def resumed(self, seconds: float) -> None:
        """Say that the computer slept for so long, and the engine has outlived it."""
        self._line.clear()
        say(f"The computer slept for {duration(seconds)}. The engine answers.", err=True)

    def restarting(self, why: SteprunError, seconds: float) -> None:
        """Say that the engine ended or hangs, why, and in how many seconds it is started again."""
        self._line.clear()
        when = f"in {seconds:.0f} s" if seconds >= 1 else "now"
        what = f"{why.what} {why.why}".strip()
        say(f"{what} It is started again {when}; requests wait for it.", 2, err=True)

    def retiring(self) -> None:
        """Say nothing: why the engine is started again has been said."""
        self._line.clear()

    def lacking(self, missing: int) -> None:
        """Say that the engine is started again when so many bytes of memory have come free."""
        self._line.show(f"waiting until {size(missing)} more of memory are free ...")

    def short(self, left: int | None) -> None:
        """Say that so many bytes of memory are left, and requests wait; None: there is enough."""
        self._line.clear()
        if left is None:
            say("Memory is no longer short.", err=True)
        else:
            say(
                f"Memory is short: {size(left)} are left. New requests wait for a moment, and what "
                "was read is saved. If less is left, the engine is stopped before the machine "
                "suffers. Close other programs.",
                err=True,
            )

    def noticed(self, what: str) -> None:
        """Say that something went wrong with an answer or with the engine's speed."""
        self._line.clear()
        say(what, 2, err=True)

    def draining(self, answers: int, seconds: float) -> None:
        """Say that a stop waits for so many answers, so long at most."""
        self._line.clear()
        some = "1 answer" if answers == 1 else f"{answers} answers"
        say(
            f"Stopping: {some} may take {seconds:.0f} s more. Ctrl-C once more stops now.",
            err=True,
        )


def base_urls(settings: Settings, port: int) -> tuple[str, ...]:
    """Return where clients reach the server, as another machine would type it, the best first."""
    from runner.net.listening import reached_at

    scheme = "https" if settings.certificate else "http"
    hosts = reached_at(settings.host)[:_SHOWN]
    return tuple(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}" for host in hosts)


def address_lines(settings: Settings, bases: tuple[str, ...]) -> list[str]:
    """Return what a client needs: the model's id, the addresses, and the key."""
    base = bases[0]
    state = "is asleep: the first request loads it" if settings.on_demand else "is loading"
    lines = [
        f"{settings.title} {state}; requests wait until it is ready.",
        f"  model id   {settings.model}",
        f"  web page   {base}/",
        f"  OpenAI     {base}/v1",
        f"  Anthropic  {base}",
        f"  Ollama     {base}",
        *_key_lines(settings.key_file),
    ]
    if len(bases) > 1:
        lines.append(f"  also at    {', '.join(bases[1:])}")
    if not is_loopback_host(settings.host):
        lines.append(_notice(settings))
    return lines


def _key_lines(key_file: Path | None) -> list[str]:
    if key_file is None:
        return ["  API key    none needed; a client that insists on one takes any word"]
    named = () if key_file == own_file() else ("--file", str(key_file.absolute()))
    show = shell_line(("steprun", "key", "show", *named))
    return [
        f"  API key    in {quoted(str(key_file))}; for a client that is started from a shell here:",
        f"    {set_from('OPENAI_API_KEY', show)}",
    ]


def _notice(settings: Settings) -> str:
    if settings.key_file is None:
        return "Other machines can reach it, and need no key."
    if settings.certificate:
        return "Other machines can reach it; clients need the API key."
    return (
        "Other machines can reach it; clients need the API key. Whoever can listen in on this "
        "network can read the key and the chats: for other networks use TLS."
    )
