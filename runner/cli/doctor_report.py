"""The report of `steprun doctor --report`: one document for the people who look at a problem.

It holds what the machine's owner is asked for, and nothing else: the checks, the plan for the
machine, the engines' self-tests, and what the probes saw. Nothing is sent anywhere.
"""

import getpass
import platform
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from runner import __version__
from runner.engine.installed.stamp import to_json as stamp_json
from runner.engine.installed.store import InstalledEngine
from runner.machine.captures.capture import Capture
from runner.plan.choose import Plan
from runner.plan.launch import LaunchSpec
from runner.run import document

SCHEMA = "steprun.report/1"
_SHORTEST_NAME = 3  # "pi" would be found in many words that are nobody's name


def report(
    checks: list[dict[str, str]],
    plan: Plan,
    engines: Iterable[InstalledEngine],
    capture: Capture,
) -> dict[str, Any]:
    """Return the document, without the names of this user, their home folder and this computer."""
    whole = {
        "schema": SCHEMA,
        "steprun": __version__,
        "python": platform.python_version(),
        "checks": checks,
        "plan": document.to_json(plan, LaunchSpec(())),
        "engines": [stamp_json(each.stamp) for each in engines],
        "capture": capture.to_json(),
    }
    scrubbed: dict[str, Any] = _scrubbed(whole, _names())
    return scrubbed


def _names() -> list[tuple[re.Pattern[str], str]]:
    """Return what must not be in a report, and what stands there instead; the longest first."""
    found = [(str(Path.home()), "~"), (platform.node(), "COMPUTER")]
    with suppress(OSError, KeyError):  # a user whom the system does not know by name
        found.append((getpass.getuser(), "USER"))
    return [
        (re.compile(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])"), instead)
        for name, instead in sorted(found, key=lambda pair: -len(pair[0]))
        if len(name) >= _SHORTEST_NAME
    ]


def _scrubbed(value: Any, names: list[tuple[re.Pattern[str], str]]) -> Any:
    """Return the same value, with the names replaced in every text of it."""
    if isinstance(value, str):
        for pattern, instead in names:
            value = pattern.sub(instead, value)
        return value
    if isinstance(value, dict):
        return {_scrubbed(key, names): _scrubbed(each, names) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_scrubbed(each, names) for each in value]
    return value
