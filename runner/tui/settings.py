"""What the chat remembers from one run to the next: the theme, the reasoning, the tools.

`chat.json` in the configuration folder. Each choice is added to what the file holds at that
moment, so that two windows keep each other's. A file that is damaged or of a newer steprun is
reported and left alone: nothing is remembered then.
"""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from runner.base import paths
from runner.base.errors import SteprunError
from runner.base.files import write_private
from runner.chat.dialect import OPENAI
from runner.chat.host import ChatSetup
from runner.chat.wire import EFFORTS

SCHEMA: Final = "steprun.chat/1"
FILE_BYTES: Final = 64 << 10  # hundreds of times what these few names take
NAME_CHARS: Final = 80
THINKING: Final = ("open", "closed")
THUMBNAILS: Final = ("on", "off")
THINKING_DIGITS: Final = 9  # of a number of tokens; the engine takes 2^31


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """The choices. An empty one was never made: the chat's own default counts.

    `theme`: one of Textual's. `thinking`: the reasoning is shown ("open") or hidden ("closed").
    `effort`: how much the model reasons; `max_thinking`: for how many tokens at most. `tools`: the
    image tools are "on" or "off". `thumbnails`: pictures are drawn ("on") or not ("off").
    """

    theme: str = ""
    thinking: str = ""
    effort: str = ""
    max_thinking: str = ""
    tools: str = ""
    thumbnails: str = ""


_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "thinking": THINKING,
    "effort": EFFORTS,
    "tools": ("on", "off"),
    "thumbnails": THUMBNAILS,
}


def parse_settings(data: bytes) -> tuple[ChatSettings, str]:
    """Return the settings that a file holds, and why it cannot be used (empty where it can).

    Pure. A value that is not possible counts as not chosen.
    """
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return ChatSettings(), "It is not JSON."
    if not isinstance(record, dict):
        return ChatSettings(), "It is not a JSON object."
    if record.get("schema") != SCHEMA:
        found = str(record.get("schema"))[:NAME_CHARS]
        return ChatSettings(), f"Its schema is {found!r}, where {SCHEMA!r} was expected."
    values = {each.name: record.get(each.name) for each in fields(ChatSettings)}
    return ChatSettings(**{name: _possible(name, value) for name, value in values.items()}), ""


def _possible(name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > NAME_CHARS:
        return ""
    if name == "max_thinking":
        return value if value.isdecimal() and len(value) <= THINKING_DIGITS else ""
    return value if value in _CHOICES.get(name, (value,)) else ""


class SettingsFile:
    """The file and what it holds. `warning` says why it cannot be used, empty where it can."""

    def __init__(self) -> None:
        """Read the file, if there is one."""
        self.now = ChatSettings()
        self.warning = ""
        self._chosen: dict[str, str] = {}
        self._lock = threading.Lock()
        data, why = _read(self.path)
        if data and not why:
            self.now, why = parse_settings(data)
        if why:
            self.warning = (
                f"{self.path} cannot be used, so that nothing is remembered. {why} Delete it to "
                "start again with the defaults."
            )

    @property
    def path(self) -> Path:
        """Where the file is."""
        return paths.config_dir() / "chat.json"

    def choose(self, **choices: str) -> bool:
        """Take over choices for this run. Returns whether there is something to `write`."""
        self._chosen |= choices
        values = {each.name: getattr(self.now, each.name) for each in fields(ChatSettings)}
        changed = any(values[name] != value for name, value in choices.items())
        self.now = ChatSettings(**(values | choices))
        return changed and not self.warning

    def write(self) -> None:
        """Add this run's choices to the file. Blocks; raises `Refused` where it cannot.

        What the file holds besides them stays, also names that only a later version knows.
        """
        with self._lock:
            data, why = _read(self.path)
            if why or (data and parse_settings(data)[1]):
                return  # spoiled since it was read: it is left alone, as at the start
            record: dict[str, Any] = json.loads(data) if data else {}
            record |= {"schema": SCHEMA, **self._chosen}
            write_private(self.path, json.dumps(record, indent=2) + "\n")


def _read(path: Path) -> tuple[bytes, str]:
    """Return a file's bytes (none where it is missing), and why it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES + 1)
    except FileNotFoundError:
        return b"", ""
    except OSError as error:
        return b"", f"{error.strerror or error}."
    if len(data) > FILE_BYTES:
        return b"", f"It is longer than {FILE_BYTES >> 10} KiB."
    return data, "" if data.strip() else "It is empty."


def write_quietly(settings: SettingsFile) -> SteprunError | None:
    """Write the choices; return why that was not possible, None where it was. Blocks."""
    try:
        settings.write()
    except SteprunError as error:
        return error
    return None


def as_remembered(setup: ChatSetup, settings: ChatSettings) -> ChatSetup:
    """Return the setup with what was chosen earlier of the thinking, where this start does not.

    Not for a server that nobody knows: some refuse what they do not understand.
    """
    options = setup.options
    if options.dialect == OPENAI:
        return setup
    cap = int(settings.max_thinking) if settings.max_thinking else None
    effort = options.effort or settings.effort or None
    cap = cap if options.thinking_cap is None else options.thinking_cap
    return replace(setup, options=replace(options, effort=effort, thinking_cap=cap))
