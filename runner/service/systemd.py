"""The unit of a service for `systemd --user`. Pure."""

import re
from pathlib import Path
from string import Template
from typing import Final

from runner.service.description import TITLE, ServiceDescription

NAME: Final = "steprun.service"
_UNIT: Final = Template(Path(__file__).with_name(NAME).read_text("utf-8"))
_SPECIAL: Final = re.compile(r'[\\"]')
_NO_PROGRAM: Final = re.compile(r"""[$"'\\]""")


def unit(description: ServiceDescription) -> str:
    """Return the text of the unit."""
    memory = description.memory
    bounds = f"MemoryHigh={memory.high}\nMemoryMax={memory.most}" if memory else ""
    return _UNIT.substitute(
        title=TITLE,
        program=" ".join(_command(description.argv)),
        environment="\n".join(
            f"Environment={_quoted(f'{name}={value}')}" for name, value in description.env
        ),
        stop_s=description.stop_s,
        memory=bounds,
    )


def _command(argv: tuple[str, ...]) -> list[str]:
    """Return the words of ExecStart. Source: systemd.service(5), "Command lines".

    In arguments `$` begins a variable, and two of them are one. In the program's own path they
    stay two, and quotes and backslashes are refused ("contains special characters", systemd 252):
    a shell then becomes that program.
    """
    if _NO_PROGRAM.search(argv[0]):
        argv = ("/bin/sh", "-c", 'exec "$0" "$@"', *argv)
    return [_quoted(argv[0]), *(_quoted(word).replace("$", "$$") for word in argv[1:])]


def _quoted(text: str) -> str:
    """Return a text within quotes, in which only `%` has a meaning, and two of them are one.

    Source: systemd.syntax(7), "Quoting"; systemd.unit(5), "Specifiers".
    """
    return '"' + _SPECIAL.sub(lambda found: "\\" + found[0], text).replace("%", "%%") + '"'
