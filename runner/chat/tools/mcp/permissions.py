"""What the user has allowed for good, and what never: `mcp-permissions.json`, beside `mcp.toml`.

An "always" counts for a tool as it was then: one that describes itself otherwise is asked for
again. A file that is damaged or of a newer steprun is reported and left alone.
"""

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from runner.base import paths
from runner.base.errors import SteprunError
from runner.base.files import make_private_dir, write_private

SCHEMA: Final = "steprun.mcp/1"
FILE_BYTES: Final = 4 << 20
LOCK_S: Final = 5.0  # another chat holds the file for some milliseconds
KEPT: Final = 10_000  # decisions: more than anybody makes by hand


class Answer(StrEnum):
    """What the user answers when a tool wants to run."""

    ONCE = "once"
    ALWAYS = "always"
    NEVER = "never"
    NOT_NOW = "not now"


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer that is remembered. `tool`: as the server calls it."""

    server: str
    tool: str
    answer: str
    fingerprint: str

    @property
    def key(self) -> tuple[str, str]:
        """What it is about."""
        return self.server, self.tool


def parse_decisions(data: bytes) -> tuple[dict[tuple[str, str], Decision], str]:
    """Return the decisions that a file holds, and why it cannot be used (empty where it can).

    Pure. An entry that is not whole is left out: the user is asked again.
    """
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return {}, "It is not JSON."
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        return {}, f"Its schema is not {SCHEMA!r}."
    listed = record.get("tools")
    found = [_decision(each) for each in (listed if isinstance(listed, list) else [])[:KEPT]]
    return {each.key: each for each in found if each is not None}, ""


def _decision(record: Any) -> Decision | None:
    if not isinstance(record, dict):
        return None
    values = [value for each in fields(Decision) if isinstance(value := record.get(each.name), str)]
    if len(values) != len(fields(Decision)):
        return None
    decision = Decision(*values)
    return decision if decision.answer in {Answer.ALWAYS, Answer.NEVER} else None


class Permissions:
    """The decisions of the file, and those of this chat. Safe to use from several threads."""

    def __init__(self) -> None:
        # Those that the file could not take; None: taken back.
        self._here: dict[tuple[str, str], Decision | None] = {}
        self._lock = threading.Lock()

    @property
    def path(self) -> Path:
        """Where the file is."""
        return paths.config_dir() / "mcp-permissions.json"

    def read(self) -> tuple[Mapping[tuple[str, str], Decision], str]:
        """Return all decisions, and why the file cannot be used. Blocks.

        Another chat may have changed the file a moment ago, so that it is read each time.
        """
        decisions, why = self._stored()
        with self._lock:
            for key, decision in self._here.items():
                if decision is None:
                    decisions.pop(key, None)
                else:
                    decisions[key] = decision
        return (
            decisions,
            why and f"{self.path} cannot be used, so that nothing is remembered. {why}",
        )

    def decide(self, decision: Decision) -> None:
        """Remember a decision. Blocks; raises `Refused` where it counts for this chat alone."""
        self._change(decision.key, decision)

    def forget(self, server: str, tool: str) -> None:
        """Take a decision back: the user is asked again. Blocks; raises `Refused`."""
        self._change((server, tool), None)

    def _change(self, key: tuple[str, str], decision: Decision | None) -> None:
        with self._lock:
            self._here[key] = decision
            with self._alone():
                self._write(key, decision)
            self._here.pop(key)  # from now on another chat may take it back

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other chats from changing the file: what one has decided, another would lose."""
        from filelock import FileLock, Timeout  # noqa: PLC0415 - most chats only read

        lock = FileLock(self.path.with_suffix(".lock"), timeout=LOCK_S)
        try:
            make_private_dir(self.path.parent)
            lock.acquire()
        except (OSError, Timeout) as error:
            reason = getattr(error, "strerror", None) or "Another chat holds it"
            raise SteprunError(
                f"{self.path} cannot be changed, so that this counts for this chat alone.",
                why=f"{reason}.",
            ) from error
        with lock:
            yield

    def _write(self, key: tuple[str, str], decision: Decision | None) -> None:
        decisions, why = self._stored()
        if why:
            raise SteprunError(
                f"{self.path} cannot be used, so that this counts for this chat alone.",
                why=why,
                next="Delete it to start again; every tool needs your permission then.",
            )
        decisions.pop(key, None)
        if decision is not None:
            decisions[key] = decision
        tools = [asdict(each) for each in list(decisions.values())[-KEPT:]]
        write_private(self.path, json.dumps({"schema": SCHEMA, "tools": tools}, indent=2) + "\n")

    def _stored(self) -> tuple[dict[tuple[str, str], Decision], str]:
        try:
            with self.path.open("rb") as file:
                data = file.read(FILE_BYTES + 1)
        except FileNotFoundError:
            return {}, ""
        except OSError as error:
            return {}, f"{error.strerror or error}."
        if len(data) > FILE_BYTES:
            return {}, f"It is longer than {FILE_BYTES >> 20} MiB."
        return parse_decisions(data)
