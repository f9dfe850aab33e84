"""`steprun serve` with `--install`, `--uninstall` or `--status`: a service of the user's."""

import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from runner.base.errors import Exit, Refused, UsageError
from runner.base.shell import shell_line
from runner.cli.confirm import must_agree
from runner.cli.options import words_typed
from runner.cli.render.wrap import say

if TYPE_CHECKING:
    from runner.run.prepare import Prepared
    from runner.service.registered import ServiceSystem

F = TypeVar("F", bound=Any)

# Beyond the answers that have begun: prompts are saved (20 s), the engine stops (8 s), and a disk
# may be slow.
_STOP_S: Final = 60
_OWN: Final = frozenset({"service", "limit_memory", "agreed", "dry_run"})
_PLACES: Final = frozenset({"model", "projector", "mtp"})  # a path, or something else
_UNINSTALL: Final = "steprun serve --uninstall"


def service_options(command: F) -> F:
    """Add the options that make a service of the server."""
    for option in reversed(
        (
            click.option(
                "--install",
                "service",
                flag_value="install",
                help="Install it as a service that starts at login, with the other options.",
            ),
            click.option(
                "--uninstall", "service", flag_value="uninstall", help="Remove the service."
            ),
            click.option(
                "--status", "service", flag_value="status", help="Show the installed service."
            ),
            click.option(
                "--limit-memory",
                is_flag=True,
                help="With --install: systemd limits its memory to what the plan needs.",
            ),
            click.option("--yes", "-y", "agreed", is_flag=True, help="With --install: do not ask."),
        )
    ):
        command = option(command)
    return command


def uninstall_or_show(service: str, *, agreed: bool) -> int:
    """Remove the service, or show it; return the exit code."""
    from runner.service import manage

    system = manage.system_here()
    if manage.installed(system) is None:
        try:
            manage.must_run(system)
            then = "Install one: steprun serve --install"
        except Refused as cannot:
            then = f"{cannot.what} {cannot.next}"
        say(f"No service is installed. {then}", err=True)
        return Exit.DONE
    if service == "status":
        return _show(system)
    kept = (str(path) for path in system.kept if os.path.lexists(path))
    say(f"This removes {', '.join((str(system.path), *kept))} and runs:", err=True)
    _say_commands(*(each.argv for each in (*system.end, *system.after)))
    if not agreed:
        again = f"{_UNINSTALL} --yes"
        must_agree("Remove the service?", "The service was not removed.", again)
    manage.uninstall(system)
    say("The service is removed.", err=True)
    return Exit.DONE


def _show(system: "ServiceSystem") -> int:
    from runner.service import manage

    for name, value in (
        ("service", f"of {system.title}"),
        ("file", str(system.path)),
        ("state", manage.state(system)),
        ("log", system.log),
    ):
        click.echo(f"{name:9}{value}")
    return Exit.DONE


def install(prepared: "Prepared", *, limit_memory: bool, agreed: bool, dry_run: bool) -> int:
    """Say what is written and run, ask, and install the service; return the exit code."""
    from runner.service import manage

    system = manage.system_here()
    content = _content(system, prepared, limit_memory=limit_memory)
    if dry_run:
        click.echo(_readable(content), nl=False)
        return Exit.DONE
    manage.must_run(system)
    before = manage.installed(system)
    if before == content:
        say(f"{system.path} says the same already. This runs:", err=True)
    else:
        say(f"This {'replaces' if before is not None else 'writes'} {system.path}:", err=True)
        lines = _readable(content).splitlines()
        click.echo("\n" + "".join(f"  {line}\n" for line in lines), err=True)
        say("and runs:", err=True)
    _say_commands(*(each.argv for each in manage.steps_to_install(system, content)))
    if not agreed:
        context = click.get_current_context()
        again = shell_line(("steprun", "serve", *words_typed(context, {"agreed"}), "--yes"))
        must_agree("Install the service?", "The service was not installed.", again)
    manage.install(system, content)
    say(f"The service is installed. It is {manage.state(system)}", err=True)
    say(f"  what it prints   {system.log}", 19, err=True)
    say(f"  to remove it     {_UNINSTALL}", 19, err=True)
    if system.title == "systemd":
        say("  without a login  loginctl enable-linger", 19, err=True)
    return Exit.DONE


def replaces(port: int) -> bool:
    """Return whether an installed service listens at a port: a new one takes its place."""
    from runner.engine.process import servers
    from runner.service import manage

    runs = any(each.port == port and each.command == "serve" for each in servers.running())
    return runs and manage.installed(manage.system_here()) is not None


def _content(system: "ServiceSystem", prepared: "Prepared", *, limit_memory: bool) -> bytes:
    """Return what the service's file says."""
    from runner.service import description, manage

    if limit_memory and system.title != "systemd":
        raise UsageError(
            "--limit-memory needs systemd.",
            why=f"Services are run by {system.title} here, which limits no memory.",
            next="Leave it out. The memory is watched all the same: the engine is stopped before "
            "the machine runs out.",
        )
    context = click.get_current_context()
    words = words_typed(context, _OWN, whole_paths(context.params))
    script = str(sys._xoptions.get("steprun", ""))  # noqa: SLF001 - see `base.shell`
    described = description.ServiceDescription(
        argv=(*description.program(sys.argv[0], script), "serve", *words),
        env=description.carried(os.environ),
        log=Path(system.log),
        stop_s=math.ceil(context.params["drain"]) + _STOP_S,
        user=manage.user_here(),
        memory=description.memory_bounds(prepared.plan) if limit_memory else None,
    )
    description.check_writable(described)
    return system.content(described)


def whole_paths(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as they mean the same in every folder, and as they are typed."""
    whole: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, Path) or (name in _PLACES and value and Path(value).exists()):
            whole[name] = str(Path(value).expanduser().absolute())
    if params.get("idle_unload"):
        whole["idle_unload"] = f"{params['idle_unload']:.0f}s"
    return whole


def _readable(content: bytes) -> str:
    return content.decode("utf-16" if content[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8")


def _say_commands(*commands: tuple[str, ...]) -> None:
    click.echo("".join(f"  {shell_line(each)}\n" for each in commands), err=True)
