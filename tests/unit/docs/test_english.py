"""Plain English in whatever a user reads, and one style of errors."""

import re
from collections.abc import Callable, Iterable
from functools import cache

import pytest

from tests.unit.docs import texts
from tests.unit.docs.texts import HOLE, Sentence

# What not to write, and what to write instead.
BANNED = {
    r"(?<!there )\bis no\b(?! longer)": "is not a",
    r"\bthere (is|are):": "Installed:, Available:, Known:",
    r"\b(is|are|was|were|not|nothing) here\b": "installed, downloaded, found, on this disk",
    r"\bgo(es|ing)? on\b(?! (a|the) )|\bwent on\b": "resume, continue",
    r"\b(brought|brings?|bringing)\b(?!.{0,20}up to date)": "download, ship, include",
    r"\b(came|has come|have come|coming|comes? (as|whole|by itself))\b": "downloaded, arrived",
    r"\b(a|the|this|each|every|last|next|no) fetch\b": "download",
    r"\b(proven|proved?|proves|proofs?|proving)\b": "verified, verify",
    r"\bsound\b": "intact, verified",
    r"\bmend(s|ed|ing)?\b": "repair, fix",
    r"\basked for\b": "requested",
    r"\b(reads?|reading) (a |the |its |long )?prompts?\b": "prefill",
    r"\b(writes?|writing) .{0,12}(tokens?|t/s)\b": "decode",
    r"\b(read|write) (t|tokens)/s": "prefill, decode",
    r"(?<!much )(?<!part )(?<!half )(?<!all )(?<!iB )\bof it\b": "its",
    r"\bwords of\b": "the message, the text",
    r"\bdoes not get on\b": "has stopped responding",
    r"\bkeeper\b": "operator",
    r"\banew\b": "again",
    r"\blivelocks?\b": "hangs",
    r"\bthat sees\b": "vision encoder",
    r"\bgives? way\b": "is reduced",
    r"\btake[ns]? (them |it )?away\b": "delete",
    r"\bwhat is (there|here)\b": "what is installed, downloaded",
}

# Lines that were replaced, by what stood there: a merge or a copy must not bring them back.
REPLACED = {
    "and it sees": "a 198B vision-language model",
    "knows the machine, counts every byte": "detects your machine, budgets memory to the byte",
    "after a question": "asks before downloading",
    "What it is not yet": "Status and limits",
    "Ask this, print the answer, and end.": "Ask one question, print the answer and exit.",
    "(else ": "Default: ...",
    "Micro-batch in tokens": "Physical batch size in tokens (`--ubatch-size`).",
    "draft heads instead": "speculative decoding (MTP), no images",
    "0 for always the same answer": "Sampling temperature; 0 is greedy.",
    "Go on with an earlier chat": "Resume a chat (the latest if no ID is given).",
    "for everything that a chat will ask": "Self-test an engine (default: the active one).",
    "Do not ask its canary": "Skip the self-test; the engine is not activated.",
    "the part that sees": "vision encoder (mmproj)",
    "When memory is short": "When memory is tight, these are reduced first:",
    "tokens a second": "tokens/s",
    "tok/s": "tokens/s",
    " t/s": "tokens/s",
    "needs its power cut": "hangs until power-cycled",
    "It comes as": "Available:",
    "is no sha256": "must be 64 hexadecimal digits",
    "was looked for in": "(searched ...)",
    "to mend it": "to repair them",
    "is known of its pieces": "no block checksums to repair from",
    "You said no": "Cancelled.",
    "is a disk to be mounted": "Is that disk mounted?",
    "There was thinking, and no answer": "The model produced reasoning but no answer",
    "Away with it": "To reset it:",
    "To take what is newer into use": "To update:",
}

# Where a pattern is right: text -> reason.
ALLOWED = {
    "Go on.": "a message to the model in the self-test",
}

MAKERS: dict[str, Callable[[], Iterable[Sentence]]] = {
    "help": texts.help_texts,
    "strings": texts.literals,
    "data": texts.data,
    "docs": texts.docs,
}


SOURCES = {name: cache(lambda make=make: tuple(make())) for name, make in MAKERS.items()}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("pattern", BANNED)
def test_no_banned_words(source: str, pattern: str) -> None:
    wrong = [
        f"{each}\n  write: {BANNED[pattern]}"
        for each in SOURCES[source]()
        if each.text not in ALLOWED and re.search(pattern, each.text, re.IGNORECASE)
    ]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("source", SOURCES)
def test_replaced_lines_stay_replaced(source: str) -> None:
    wrong = [
        f"{each}\n  write: {new}"
        for each in SOURCES[source]()
        for old, new in REPLACED.items()
        if old in each.text
    ]
    assert not wrong, "\n" + "\n".join(wrong)


# Words that no name has. (A key of a JSON document is not a name: these never change.)
NOT_IN_NAMES = {
    *("told", "tell", "said", "brought", "bring", "mend", "mended", "anew"),
    *("prove", "proven", "proof", "sight"),
}


def test_no_banned_names() -> None:
    wrong = [
        str(each)
        for each in texts.names()
        if NOT_IN_NAMES & {word.lower() for word in re.findall(r"[A-Z]?[a-z]+", each.text)}
    ]
    assert not wrong, "\n" + "\n".join(wrong)


# Names that are written small wherever they stand, options and paths.
SMALL = re.compile(
    r"(steprun|git|llama|pip|hf|cmake|macOS|nvidia|xllamacpp|http|bench|[-`'\"/(~0-9])"
)
# Something to type, at the end: alone, or after a colon, a comma or a word such as "or".
COMMAND = re.compile(
    r"(^|[:;,(]\s+|\b(or|with|run|then)\s+|\n\s*|`)"
    rf"(steprun|env|unset|export|hf|sudo|git|python|\.?/|--?[a-z]|[A-Z_]+=|{HOLE})"
    r"([^.]|\.(?=\S))*$"
)
LOG = re.compile(rf"\(log: {HOLE}\)$")


@pytest.mark.parametrize("part", ["what", "why", "next"])
def test_errors_have_one_style(part: str) -> None:
    """Each part of an error begins with a capital and ends in a full stop (a command has none)."""
    wrong = [str(each) for each in texts.messages() if each.part == part and not _fine(each)]
    assert not wrong, "\n" + "\n".join(wrong)


def _fine(sentence: Sentence) -> bool:
    text = sentence.text.strip()
    types = COMMAND.search(text) if sentence.part == "next" else None
    begins = (
        text[0] == HOLE or text[0].isupper() or SMALL.match(text) or (types and not types.start())
    )
    ends = text[-1] in f".?{HOLE}" or types or LOG.search(text)
    return bool(begins and ends)


@pytest.mark.parametrize(
    ("part", "text", "fine"),
    [
        ("what", "The file is damaged.", True),
        ("what", "the file is damaged.", False),
        ("what", "The file is damaged", False),
        ("what", "steprun cannot write to \0.", True),
        ("why", "\0 is set", False),
        ("why", "It says: \0", True),
        ("next", "Free some space", False),
        ("next", "Free some space.", True),
        ("next", "steprun doctor", True),
        ("next", "See: steprun engine list", True),
        ("next", "Wait, or steprun models pull", True),
        ("next", "For example: --url http://127.0.0.1:8080", True),
        ("next", "env -u HF_HUB_OFFLINE \0", True),
        ("next", "\0 --help", True),
        ("next", "Leave --at out", False),
        ("next", "leave --at out.", False),
        ("what", "steprun doctor", False),
    ],
)
def test_the_style_of_an_error(part: str, text: str, fine: bool) -> None:
    assert _fine(Sentence("x.py:1", text, part)) is fine


def test_the_guard_sees_all_sources() -> None:
    """It would pass on nothing at all: each source has texts, and each error its parts."""
    for make in SOURCES.values():
        assert sum(1 for _ in make()) > 20
    parts = [each.part for each in texts.messages()]
    assert all(parts.count(part) > 50 for part in ("what", "why", "next"))
