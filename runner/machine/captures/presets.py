"""Presets: machines that steprun knows by name, for planning before one is bought.

Each is a capture in `known/`, read only on request. Its `about` describes the state of the machine
and which of its values were measured; the probes never see that.
"""

import json
import os
from functools import cache
from pathlib import Path

from runner.base.errors import find
from runner.machine.captures import capture
from runner.machine.captures.capture import Capture

_FOLDER = Path(__file__).parent / "known"


@cache
def names() -> tuple[str, ...]:
    """Return the names of all machines, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.json")))


def load_preset(name: str) -> Capture:
    """Return a machine by its name, in any case; UsageError with the nearest names."""
    return capture.load_capture(_path(name))


def about(name: str) -> str:
    """Say which machine this is, in what state, and where its values come from."""
    text: str = json.loads(_path(name).read_text(encoding="utf-8"))["about"]
    return text


def open_capture(name_or_path: str) -> Capture:
    """Return a capture: a file's where it can only be a file or is one, else one by name."""
    looks_like_a_path = "/" in name_or_path or "\\" in name_or_path
    if looks_like_a_path or name_or_path.lower().endswith(".json") or _is_file(name_or_path):
        return capture.load_capture(Path(name_or_path).expanduser())
    return load_preset(name_or_path)


def _is_file(path: str) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - Path's own raises for a name that is too long


def _path(name: str) -> Path:
    known = {each: _FOLDER / f"{each}.json" for each in names()}
    see = "steprun machine --known (the file of a capture works too)"
    return find("machine", name, known, see=see)
