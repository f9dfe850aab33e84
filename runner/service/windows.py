"""The task of a service for the Task Scheduler of Windows. Pure."""

import re
from pathlib import Path
from string import Template
from subprocess import list2cmdline
from typing import Final
from xml.sax.saxutils import escape

from runner.base.errors import Refused
from runner.service.description import TITLE, ServiceDescription

NAME: Final = "steprun"
_TASK: Final = Template(Path(__file__).with_name("task.xml").read_text("utf-8"))
# The scheduler replaces both in commands and arguments, and has no way to write them as they are.
_REPLACED: Final = re.compile(r"%[^%]+%|\$\(")


def task(description: ServiceDescription) -> bytes:
    """Return the task, as `schtasks /Create /XML` reads it. Raises Refused."""
    for word in description.argv:
        if _REPLACED.search(word):
            raise Refused(
                "A service cannot be started with this command.",
                why=f"Windows would replace a part of {word!r}, as if it named a variable.",
                next="Rename the file or the folder.",
            )
    text = _TASK.substitute(
        title=escape(TITLE),
        user=escape(description.user),
        command=escape(description.argv[0]),
        arguments=escape(list2cmdline(description.argv[1:])),
    )
    return text.replace("\n", "\r\n").encode("utf-16")
