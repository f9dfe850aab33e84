"""What each system is told of the service: a file, and the commands that make it known. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runner.service import launchd, systemd, windows
from runner.service.description import ServiceDescription

Argv = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One command. `may_fail`: its failure means no more than that there was nothing to do.

    `tries`: so often, a second apart, as what was ended before may still be ending.
    """

    argv: Argv
    may_fail: bool = False
    tries: int = 1


@dataclass(frozen=True, slots=True)
class ServiceSystem:
    """How services are run on one system.

    `title`: its name for people. `path`: the file that describes the service; `kept`: further files
    that are its own. `asks`: a command that fails where the system does not run for this user.
    `begin`: after the file was written, `again` before that where an older one is replaced;
    `start`: where it says the same already, but may have been stopped. `end` before it is removed,
    `after` when it is gone. `shows`: prints its state. `log`: how what it prints is read.
    """

    title: str
    path: Path
    asks: Argv
    begin: tuple[Step, ...]
    again: tuple[Step, ...]
    start: Step
    end: tuple[Step, ...]
    after: tuple[Step, ...]
    shows: Argv
    log: str
    kept: tuple[Path, ...] = ()

    def content(self, description: ServiceDescription) -> bytes:
        """Return what the file says. Raises Refused where the system cannot be told."""
        return _CONTENT[self.title](description)


_CONTENT: Final = {
    "systemd": lambda description: systemd.unit(description).encode(),
    "launchd": launchd.property_list,
    "the Task Scheduler": windows.task,
}


def service_system(
    platform: str, environ: Mapping[str, str], home: Path, uid: int, own: Path
) -> ServiceSystem:
    """Return how services are run here.

    `platform`: Python's `sys.platform`. `uid`: this user's number, where there are such. `own`:
    steprun's own folder, for what the system has no place for.
    """
    if platform == "darwin":
        domain = f"gui/{uid}"
        place, log = f"{domain}/{launchd.LABEL}", own / "service.log"
        path = home / "Library" / "LaunchAgents" / f"{launchd.LABEL}.plist"
        bootout = Step(("launchctl", "bootout", place), may_fail=True)
        return ServiceSystem(
            "launchd",
            path,
            asks=("launchctl", "print", domain),
            begin=(Step(("launchctl", "bootstrap", domain, str(path)), tries=10),),
            again=(bootout,),
            start=Step(("launchctl", "kickstart", place)),
            end=(bootout,),
            after=(),
            shows=("launchctl", "print", place),
            log=str(log),
            kept=(log,),
        )
    if platform == "win32":
        task, path = ("/TN", windows.NAME), own / "service.xml"
        end = Step(("schtasks", "/End", *task), may_fail=True)
        return ServiceSystem(
            "the Task Scheduler",
            path,
            asks=("schtasks", "/Query", "/FO", "LIST"),
            begin=(
                Step(("schtasks", "/Create", *task, "/XML", str(path), "/F")),
                Step(("schtasks", "/Run", *task)),
            ),
            again=(end,),
            start=Step(("schtasks", "/Run", *task)),
            end=(end, Step(("schtasks", "/Delete", *task, "/F"), may_fail=True)),
            after=(),
            shows=("schtasks", "/Query", *task, "/FO", "LIST"),
            log="steprun logs",
        )
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    control = ("systemctl", "--user")
    reload, units = ("daemon-reload",), config / "systemd" / "user"
    return ServiceSystem(
        "systemd",
        units / systemd.NAME,
        asks=(*control, "show", "--property=Version"),
        begin=(
            Step((*control, *reload)),
            Step((*control, "enable", systemd.NAME)),
            Step((*control, "restart", systemd.NAME)),
        ),
        again=(),
        start=Step((*control, "start", systemd.NAME)),
        end=(Step((*control, "disable", "--now", systemd.NAME), may_fail=True),),
        after=(
            Step((*control, *reload), may_fail=True),
            Step((*control, "reset-failed", systemd.NAME), may_fail=True),
        ),
        shows=(*control, "show", systemd.NAME, "--property=ActiveState,SubState,StatusText"),
        log=f"journalctl --user -u {systemd.NAME}",
        kept=(units / "default.target.wants" / systemd.NAME,),
    )
