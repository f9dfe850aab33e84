"""The build dependencies: found on this computer, or listed with the command that installs each.

Nothing is installed here. `BuildHost` is the only part that looks at the disk or runs a program.
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runner.base.errors import Refused
from runner.base.text import clean
from runner.engine.builder.recipe import Recipe
from runner.engine.builder.recipe_rows import TEMPLATE, Least, Need, Tools, chosen
from runner.machine.facts import Machine

ANSWER_S: Final = 20.0  # a first `xcrun` or `nvcc` on a cold disk takes seconds
_LONGEST = 4096
# A line that begins so takes several packages at once.
MANAGERS: Final = (
    "sudo apt install ",
    "sudo dnf install ",
    "sudo pacman -S ",
    "brew install ",
    "python -m pip install ",
)
# By `ID` and `ID_LIKE` of /etc/os-release: the systems that the recipes have lines for.
SYSTEMS: Final = {"debian": "debian", "ubuntu": "debian", "fedora": "fedora", "arch": "arch"}

_VARIABLE = re.compile(r"\$(?:\{([^}]+)\}|(\w+))")


@dataclass(frozen=True, slots=True)
class Missing:
    """A dependency that is missing. `found`: what is installed instead, empty where nothing is."""

    name: str
    why: str
    install: str
    found: str = ""

    def __str__(self) -> str:
        """Say it in a few words."""
        here = f"; found {self.found}" if self.found else ""
        return f"{self.name} ({self.why}{here})"


class BuildHost:
    """This computer, as far as a build needs to know it."""

    def system(self, os_name: str) -> str:
        """Return which install lines are for this system: `debian`, `macos`, …; else empty."""
        if os_name != "linux":
            return os_name
        try:
            text = Path("/etc/os-release").read_text("utf-8", "replace")
        except OSError:
            return ""
        words = re.findall(r'^ID(?:_LIKE)?="?([^"\n]*)', text, re.MULTILINE)
        names = [SYSTEMS.get(name) for word in words for name in word.split()]
        return next((name for name in names if name), "")

    def programs(self, need: Need) -> Iterator[str]:
        """Return the paths at which a program of a need lies, the likeliest first."""
        own = (str(Path(sys.executable).parent), sysconfig.get_path("scripts"))
        places = [path for place in need.places for path in _expanded(place)]
        folders = [*os.environ.get("PATH", os.defpath).split(os.pathsep), *own, *places]
        for pattern in need.programs:
            for name in _variables(pattern):
                for folder in ("",) if os.path.dirname(name) else folders:  # noqa: PTH120 - text
                    found = shutil.which(name, path=folder or None)
                    if found:
                        yield found

    def exists(self, pattern: str) -> bool:
        """Whether a file exists."""
        return bool(_expanded(pattern))

    def answer(self, argv: Sequence[str]) -> str | None:
        """Return what a program prints, a little of it; None where it fails."""
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=ANSWER_S,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return clean(done.stdout[:_LONGEST].decode("utf-8", "replace")).strip()


def find_tools(recipe: Recipe, machine: Machine, host: BuildHost | None = None) -> Tools:
    """Return the tools of a build. Raises `Refused` that names everything missing at once."""
    tools, missing = look(recipe, machine, host or BuildHost())
    if missing:
        raise Refused(
            f"{recipe.title}: build dependencies are missing.",
            why=f"Missing: {', '.join(map(str, missing))}.",
            next="; ".join(together(each.install for each in missing)),
        )
    return tools


def together(lines: Iterable[str]) -> list[str]:
    """Join the lines that install something into as few as will do."""
    joined: dict[str, list[str]] = {}
    for line in dict.fromkeys(lines):
        manager = next((each for each in MANAGERS if line.startswith(each)), line)
        packages = joined.setdefault(manager, [])
        packages += [p for p in line.removeprefix(manager).split() if p not in packages]
    return [f"{manager}{' '.join(packages)}" for manager, packages in joined.items()]


def look(recipe: Recipe, machine: Machine, host: BuildHost) -> tuple[Tools, list[Missing]]:
    """Return the tools that are installed, and everything that a build would miss."""
    if recipe.build.systems and machine.os not in recipe.build.systems:
        raise Refused(
            f"{recipe.title} cannot be built on {machine.os}.",
            why=f"steprun builds it on {' and '.join(recipe.build.systems)}.",
            next="Choose another: steprun engine build --backend cpu",
        )
    values: dict[str, str] = {}
    versions: dict[str, str] = {}
    missing: list[Missing] = []
    for need in chosen((*recipe.build.needs, *recipe.common.needs), machine):
        if need.files:
            if not any(map(host.exists, need.files)):
                missing.append(_missing(need, None, "", machine, host))
            continue
        least = need.oldest(machine)
        path, answer = _program(need, least, host)
        if path and answer is not None:
            values[need.name], versions[need.name] = path, answer
        else:
            missing.append(_missing(need, least, path, machine, host))
    _query_tools(recipe, machine, host, values)
    return Tools(values, versions), missing


def _query_tools(recipe: Recipe, machine: Machine, host: BuildHost, values: dict[str, str]) -> None:
    """Query the programs for what the settings need (`hipconfig -l`)."""
    build = recipe.build
    for row in chosen((*build.define, *build.environment), machine):
        for question in TEMPLATE.findall(row.value):
            name, *words = question.split()
            open_ = name in values and question not in values
            if words and open_ and (answer := host.answer((values[name], *words))):
                values[question] = answer


def _program(need: Need, least: Least | None, host: BuildHost) -> tuple[str, str | None]:
    """Return a suitable program and its answer; else what was found instead, and None."""
    here = ""
    for path in host.programs(need):
        answer = host.answer((path, *need.ask)) if need.ask else ""
        if answer is None:
            continue
        version = re.search(need.version, answer) if need.version else None
        if not least or (version and _number(version[1]) >= _number(least.version)):
            return path, answer
        here = here or f"{version[1] if version else 'one of unknown version'}, {path}"
    return here, None


def _missing(
    need: Need, least: Least | None, here: str, machine: Machine, host: BuildHost
) -> Missing:
    install, system = need.install, host.system(machine.os)
    # What is installed and too old is what the system's own packages have.
    order = ("any", system) if here else (system, "any")
    line = next((install[name] for name in order if name in install), "")
    return Missing(
        f"{need.name} {least.version} or newer" if least else need.name,
        f"{need.why}; {least.why}" if least and least.why else need.why,
        line or f"Install {need.name} with this system's package manager.",
        here,
    )


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part)


def _variables(text: str) -> list[str]:
    """Return a text with its $VARIABLES filled in, once for each entry of a list of folders.

    Nothing where one of them is not set.
    """
    found = _VARIABLE.search(text)
    if not found:
        return [text]
    entries = os.environ.get(found[1] or found[2], "").split(os.pathsep)
    return [
        rest
        for entry in entries
        if entry
        for rest in _variables(text[: found.start()] + entry + text[found.end() :])
    ]


def _expanded(pattern: str) -> list[str]:
    return [path for text in _variables(pattern) for path in sorted(glob.glob(text))]  # noqa: PTH207 - absolute patterns
