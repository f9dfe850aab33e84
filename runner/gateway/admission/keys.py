"""API keys: the lines of a key file, and who has sent which. Pure."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# A key of 16 random letters and digits has 95 bits: nobody guesses one through the network.
SHORTEST: Final = 16
LONGEST: Final = 512
FIRST: Final = "default"  # the name of a key that stands alone on its line, as in older files
_NAME_LENGTH: Final = 40


@dataclass(frozen=True, slots=True)
class KeyLines:
    """What a key file says. `keys`: by name. `faults`: sentences about lines that were left out."""

    keys: Mapping[str, str]
    faults: tuple[str, ...] = ()


def read_lines(text: str) -> KeyLines:
    """Read `NAME KEY` or only `KEY`, one a line; lines that begin with `#` are comments."""
    keys: dict[str, str] = {}
    faults: list[str] = []
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        name = words[0] if len(words) > 1 else (f"line-{number}" if FIRST in keys else FIRST)
        fault = _fault(name, words[-1], len(words), keys)
        if fault:
            faults.append(f"Line {number}: {fault}")
        else:
            keys[name] = words[-1]
    return KeyLines(keys, tuple(faults))


def _fault(name: str, key: str, words: int, keys: Mapping[str, str]) -> str:
    if words > 2:
        return "there are more than two words; a line is a name, a space, and a key."
    if not key.isascii() or not key.isprintable():
        return "a key may only have letters, digits and signs of ASCII."
    if not SHORTEST <= len(key) <= LONGEST:
        return f"the key has {len(key)} characters; it needs {SHORTEST} to {LONGEST}."
    if not is_name(name):
        return "a name may only have letters, digits, '.', '_', '-' and '@', 40 at the most."
    return f"there are two keys with the name {name}." if name in keys else ""


def is_name(name: str) -> bool:
    """Whether a key may have this name: it is printed in logs and metrics."""
    letters = name.translate({ord(sign): "" for sign in "._-@"})
    return bool(letters) and letters.isascii() and letters.isalnum() and len(name) <= _NAME_LENGTH


def sent_keys(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return what a request has where clients put keys: OpenAI's, Anthropic's and Azure's."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    sent = (bearer, headers.get("x-api-key", ""), headers.get("api-key", ""))
    return tuple(key for key in sent if key)


def owner(keys: Mapping[str, str], sent: tuple[str, ...]) -> str | None:
    """Return the name of the key that was sent; None where none is right.

    Every key is compared, and in constant time: how long it takes says nothing about any.
    """
    found = None
    for name, key in keys.items():
        for each in sent:
            if hmac.compare_digest(each.encode("utf-8", "surrogateescape"), key.encode()):
                found = name
    return found
