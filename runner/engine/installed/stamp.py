"""What is known of one engine: its origin, how it was built, what it can do. Pure.

Every engine on this disk has a stamp beside it, `stamp.json`. A launch passes no flag that is not
in it, and what failed in its self-test (the canary) every plan for it avoids, or warns of.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

import msgspec

from runner.machine.facts import Backend

SCHEMA: Final = "steprun.stamp/1"
MAX_BYTES: Final = 1 << 20  # a real one is under 20 kB
ADOPTED: Final = "adopted"  # the source of an engine that was on this disk already

Result = Literal["pass", "fail", "absent"]
# What the self-test covers, in the order of its table, and what each is called for people.
FEATURES: Final = {
    "text": "text",
    "threads": "several threads",
    "picture": "pictures",
    "two_pictures": "two pictures in one question",
    "thinking": "thinking",
    "tools": "tools",
    "long_prompt": "long prompts",
    "long_word": "long words",
    "slots": "saved slots",
    "spare_slot": "a spare slot",
    "resume_turn": "saved prompts at a next turn",
    "resume_restart": "saved prompts after a restart",
    "resume_picture": "saved prompts with pictures",
    "mtp": "draft heads",
    "mtp_picture": "draft heads with pictures",
    "resume_mtp": "saved prompts with draft heads",
}
# What decides how prompts that were read are kept; a stamp of before says nothing of them.
RESUMING: Final = tuple(n for n in FEATURES if n == "spare_slot" or n.startswith("resume_"))


class Kind(StrEnum):
    """The kinds of engine: which program answers, and whose flags it takes."""

    EMBEDDED = "embedded"  # llama-server inside the xllamacpp wheel
    SERVER = "llama-server"
    PYTHON = "llama-cpp-python"
    WHEEL = "xllamacpp"  # as EMBEDDED, from a wheel in an environment of its own


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an engine came from.

    `source`: its name in `builds/sources.toml`, or `folder`. `where`: an address, package or path.
    `version`: a tag, branch, build or package version. `sha256`: of the archive, else empty.
    """

    source: str
    where: str = ""
    version: str = ""
    commit: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Feature:
    """The self-test of one feature: it works, it fails, or the engine lacks it."""

    result: Result
    seconds_s: float = 0.0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Stamp:
    """One engine.

    `program`: what to start, its first word relative to the engine's folder where it lies in it.
    `cmake`: the definitions that it was configured with. `flags`: every flag that its own `--help`
    lists. `devices`: lines of its own list. `safe_flags`: what its canary found that it needs.
    `features`: by name; empty before the canary. `made`: when, in UTC, ISO 8601. `content`: of an
    adopted engine, which stays where it lies: what its files were when it was tested. `values`: by
    flag, the words that it takes, none for a switch; a flag that is not in it takes any value.
    `no_device`: why it lists no device, as far as its output says.
    """

    name: str
    kind: Kind
    backend: Backend
    origin: Origin
    program: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    version: str = ""
    compiler: str = ""
    cmake: tuple[str, ...] = ()
    flags: frozenset[str] = frozenset()
    devices: tuple[str, ...] = ()
    safe_flags: tuple[str, ...] = ()
    features: dict[str, Feature] = field(default_factory=dict)
    made: str = ""
    content: str = ""
    values: dict[str, tuple[str, ...]] = field(default_factory=dict)
    no_device: str = ""

    @property
    def adopted(self) -> bool:
        """Whether it lies elsewhere, and others may change it."""
        return self.origin.source == ADOPTED

    @property
    def tested(self) -> bool:
        """Whether it was self-tested."""
        return bool(self.features)

    @property
    def blind(self) -> bool:
        """Whether it was built for an accelerator but lists none: it would not use it."""
        lists = "--list-devices" in self.flags and self.kind is not Kind.EMBEDDED
        return lists and self.backend is not Backend.CPU and not self.devices

    @property
    def passed(self) -> bool:
        """Whether it may become the current engine: it answers, with all the cores."""
        answers = all(self.can(name) for name in ("text", "threads"))
        return answers and self.tested and not self.blind

    @property
    def broken(self) -> tuple[str, ...]:
        """The features that are off for this engine: they failed or are missing."""
        return tuple(n for n in FEATURES if n in self.features and not self.can(n))

    def can(self, feature: str) -> bool:
        """Whether a feature may be used: it passed, or nobody has looked yet."""
        found = self.features.get(feature)
        return found is None or found.result == "pass"

    def with_results(self, features: Mapping[str, Feature], safe_flags: tuple[str, ...]) -> Self:
        """Return the stamp with the results of a self-test."""
        return replace(self, features=dict(features), safe_flags=safe_flags)


class _StampDocument(msgspec.Struct, tag=SCHEMA, tag_field="schema"):
    """What every stamp's document has beside the stamp's own fields."""


def to_json(stamp: Stamp) -> dict[str, Any]:
    """Return a stamp as the document that is written beside its engine."""
    fields: dict[str, Any] = msgspec.to_builtins(stamp, order="deterministic")
    return {"schema": SCHEMA, **fields}


def from_json(text: str | bytes) -> Stamp:
    """Return the stamp of a document. Raises ValueError for anything else."""
    if len(text) > MAX_BYTES:
        raise ValueError("too long for a stamp")
    try:
        # Not msgspec's own reader: it refuses half characters, which the path of a folder may have.
        data = json.loads(text)
        msgspec.convert(data, _StampDocument)
        return msgspec.convert(data, Stamp)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a {SCHEMA} ({error})") from error
