"""Mutated captures: those of the tests and of the machines known by name, changed with knowledge.

What a probe reads is text: lines, numbers and tables. So most mutations stay JSON of the right
form and change a number, a line or a whole answer.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (ROOT / "tests/data/captures", ROOT / "runner/machine/captures/known")

NUMBERS = (
    *("0", "-1", "1", "00", "1e9", "NaN", "inf", "0x10", "9" * 18, "9" * 30, "9" * 5000, ""),
    *("[N/A]", "18446744073709551616", "-9223372036854775808", "1.5", "1_000"),
    *("\uff11\uff12", "\u00b2"),  # digits to Python, and to nobody else
)
TEXTS = ("", "\n", "\0", "\x1b[2J", "\ud800", "x" * 10_000, "é" * 99, "[]", "{}", "[" * 2000, "|")
JUNK = ("null", "true", "0", "-1", "1e308", '""', "[]", "{}", "[null]", '{"exit": 0}', '"x"')
PLATFORMS = ("linux-x86_64", "linux-aarch64", "darwin-arm64", "win32-AMD64", "", "plan9", "linux")
_NUMBER = re.compile(r"\d[\d.,]*")


def mutated(random: Random) -> bytes:
    """Return a capture that lies."""
    document = json.loads(random.choice(seeds()))
    for _ in range(random.choice((0, 1, 1, 2, 4, 8))):
        random.choice(_MUTATIONS)(random, document)
    raw = json.dumps(document, ensure_ascii=random.random() < 0.9)
    data = bytearray(raw.encode("utf-8", "surrogatepass"))
    if random.random() < 0.1:
        for _ in range(random.choice((1, 3, 20))):
            data[random.randrange(len(data))] = random.randrange(256)
    if random.random() < 0.02:
        del data[random.randrange(len(data)) :]
    return bytes(data)


@cache
def seeds() -> tuple[bytes, ...]:
    """Return the captures to start from."""
    paths = sorted(path for folder in FOLDERS for path in folder.glob("*.json"))
    return tuple(path.read_bytes() for path in paths)


def _edit_text(random: Random, document: dict[str, Any]) -> None:
    """Change the text of a file, or of what a command said."""
    holder, key, text = _some_text(random, document)
    if holder is not None and text is not None:
        holder[key] = random.choice(_EDITS)(random, text)


def _some_text(random: Random, document: dict[str, Any]) -> tuple[Any, str, str | None]:
    places: list[tuple[Any, str]] = []
    files, commands = document.get("files"), document.get("commands")
    if isinstance(files, dict):
        places += [(files, path) for path, text in files.items() if isinstance(text, str)]
    if isinstance(commands, dict):
        answers = [ran for ran in commands.values() if isinstance(ran, dict)]
        places += [(ran, "stdout") for ran in answers if isinstance(ran.get("stdout"), str)]
    if not places:
        return None, "", None
    holder, key = random.choice(places)
    return holder, key, holder[key]


def _number(random: Random, text: str) -> str:
    found = list(_NUMBER.finditer(text))
    if not found:
        return random.choice(NUMBERS)
    match = random.choice(found)
    return text[: match.start()] + random.choice(NUMBERS) + text[match.end() :]


def _line(random: Random, text: str) -> str:
    lines = text.split("\n")
    at = random.randrange(len(lines))
    lines[at : at + 1] = random.choice(([], [lines[at]] * 2, [lines[at]] * 300, [""]))
    return "\n".join(lines)


def _noise(random: Random, text: str) -> str:
    at = random.randrange(len(text) + 1)
    return text[:at] + random.choice(TEXTS) + text[at + random.randrange(4) :]


def _cut(random: Random, text: str) -> str:
    return text[: random.randrange(len(text) + 1)]


_EDITS: tuple[Callable[[Random, str], str], ...] = (_number, _number, _number, _line, _noise, _cut)


def _drop(random: Random, document: dict[str, Any]) -> None:
    holder = document.get(random.choice(("files", "commands")))
    if isinstance(holder, dict) and holder:
        key = random.choice(list(holder))
        if random.random() < 0.5:
            del holder[key]
        else:
            holder[key] = json.loads(random.choice(JUNK))


def _borrow(random: Random, document: dict[str, Any]) -> None:
    """Let the machine answer some questions as another would."""
    other = json.loads(random.choice(seeds()))
    for part in ("files", "commands"):
        if isinstance(document.get(part), dict):
            taken = {key: v for key, v in other[part].items() if random.random() < 0.4}
            document[part].update(taken)


def _exit(random: Random, document: dict[str, Any]) -> None:
    commands = document.get("commands")
    if isinstance(commands, dict) and commands:
        ran = commands[random.choice(list(commands))]
        if isinstance(ran, dict):
            ran["exit"] = random.choice((0, 1, -9, 127, 1 << 40, None, "0", True))


def _platform(random: Random, document: dict[str, Any]) -> None:
    document["platform"] = random.choice((*PLATFORMS, *PLATFORMS, 0, None))


def _field(random: Random, document: dict[str, Any]) -> None:
    document[random.choice(("schema", "files", "commands", "about", "x"))] = json.loads(
        random.choice(JUNK)
    )


_MUTATIONS: tuple[Callable[[Random, dict[str, Any]], None], ...] = (
    *(_edit_text, _edit_text, _edit_text, _edit_text, _edit_text),
    *(_drop, _borrow, _exit, _platform),
    *(_field,),
)
