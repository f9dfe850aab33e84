"""Which values an engine's flags take, by its own --help, and launch lines that keep to them. Pure.

A flag keeps its name over the builds while what follows it changes: `--flash-attn` was a switch
before it took on, off or auto; `--spec-type` and `--load-mode` know more words each month.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from runner.plan.launch import RESTS_ON, LaunchSpec

Values = Mapping[str, tuple[str, ...]]

_FLAG: Final = re.compile(r"--?[A-Za-z][A-Za-z0-9-]*")
_WORD: Final = r"[a-z0-9][a-z0-9_-]*"
# "[on|off|auto]", "{none,layer,row}", "none,draft-mtp"; a name such as FNAME is any value.
_CHOICES: Final = re.compile(rf"[\[{{<]?({_WORD}(?:[|,]{_WORD})+)[\]}}>]?")
_ALLOWED: Final = re.compile(rf"allowed values: ({_WORD}(?:, {_WORD})*)")
_ITEM: Final = re.compile(rf"- ({_WORD}):")
_ON: Final = frozenset({"on", "1", "true", "enabled"})
_MOST: Final = 64  # choices of a flag that are kept


def values_of(help_text: str) -> dict[str, tuple[str, ...]]:
    """Return what each flag takes: () for a switch, else the words that it knows.

    A flag that takes any value, or of which nothing is certain, is left out; so is everything where
    the help shows no values at all.
    """
    found: dict[str, tuple[str, ...]] = {}
    flags: list[str] = []
    for line in help_text.splitlines():
        if line.startswith("-"):
            flags, spec, about = _entry(line)
            if not spec and not about:
                continue  # what follows may be on the next line, in a layout that is not known
            choices = _CHOICES.fullmatch(spec)
            if not spec or choices:
                words = tuple(re.split(r"[|,]", choices[1])) if choices else ()
                found |= dict.fromkeys(flags, words[:_MOST])
        elif more := (_ALLOWED.search(line) or _ITEM.match(line.strip())):
            for flag in flags:
                known = found.get(flag)
                if known != ():
                    words = (*(known or ()), *more[1].split(", "))
                    found[flag] = tuple(dict.fromkeys(words))[:_MOST]
    return {} if found.get("--model") == () else found


def _entry(line: str) -> tuple[list[str], str, str]:
    """Return the flags of a line, the value that they take, and the description beside them."""
    flags: list[str] = []
    rest = line
    while match := _FLAG.match(rest):
        flags.append(match[0])
        rest = rest[match.end() :]
        if not rest.startswith(","):
            break
        rest = rest[1:].lstrip()
    spec, _, about = rest.partition("  ") if not rest.startswith("  ") else ("", "", rest)
    return flags, spec.strip(), about.strip()


def fitted(spec: LaunchSpec, values: Values) -> LaunchSpec:
    """Return a launch line without values that its engine does not know.

    A switch that is asked to be on stays without its value. What the plan rests on and cannot be
    said is `lost`.
    """
    argv: list[str] = []
    lost = set(spec.lost)
    for flag, value in _pairs(spec.argv):
        known = values.get(flag)
        if value is None or known is None or value in known:
            argv += [flag] if value is None else [flag, value]
        elif not known and value in _ON:
            argv.append(flag)
        elif known and set(value.split(",")) <= set(known):
            argv += [flag, value]  # a list of words
        elif flag in RESTS_ON:
            lost.add(flag)
    return replace(spec, argv=tuple(argv), lost=tuple(sorted(lost)))


def _pairs(argv: tuple[str, ...]) -> Iterator[tuple[str, str | None]]:
    """Yield each flag of a launch line with its value; None for one without."""
    words = list(argv)
    while words:
        flag = words.pop(0)
        takes = bool(words) and not _FLAG.fullmatch(words[0])
        yield flag, words.pop(0) if takes else None
