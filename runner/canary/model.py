"""The model that an engine is asked with: tiny Step, and what it can be relied on to say.

Its weights are random: it is made here the first time (a second, 25 MB) and kept in the cache. Its
words are few, its matrices of a type and size in which faulty kernels show, and its prompts as long
as they need be. What an engine makes of trained weights is asked in `meaning`.
"""

import re
from typing import Final

from filelock import FileLock

from runner.base import paths
from runner.base.files import cannot_write, make_private_dir
from runner.plan.launch import EngineFiles

# Of 25 questions these leave the model least in doubt: its best word leads the next by 0.3 nats at
# least up to the end of the answer to the first (embedded engine b11549, x86-64).
PROMPTS: Final = ("Is it warm?", "Go on.", "Where is the lamp?")
SENTENCE: Final = "The small round word looks warm. "
SENTENCE_TOKENS: Final = 8
# Thinking and answer end after about 13 tokens.
ANSWER_TOKENS: Final = 120
# A forced call is spelled letter by letter in places.
CALL_TOKENS: Final = 400
_FEWEST_WORDS: Final = 3
# It takes 70 MB of an engine's stack (`runner.engine.process.stack`); 8 MiB bear 24,000 letters.
LONG_WORD: Final = "A" * 200_000


def files() -> EngineFiles:
    """Return the model's files, made where they are missing.

    Trunk and draft heads are files of their own, as the real ones are. Raises `Refused` where the
    disk says no.
    """
    # numpy takes 100 ms: only where an engine is asked.
    from runner.testbed import files as sets  # noqa: PLC0415
    from runner.testbed import tiny_step  # noqa: PLC0415

    folder = make_private_dir(paths.cache_dir() / "canary")
    try:
        with FileLock(folder / "lock"):
            sets.ensure(folder, "tiny", tiny_step.write)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return EngineFiles(
        folder / "tiny-step-trunk.gguf",
        folder / "mmproj-tiny-step.gguf",
        folder / "tiny-step-mtp.gguf",
    )


def call_grammar(calls: int) -> str:
    """Return a grammar of thinking and so many calls, for an engine that forces none itself."""
    return rf"""
root ::= "<think>\n" ("The" | "This" | "Some") [a-z, ]+ "</think>"{" call" * calls}
call ::= "<tool_call>\n<function=get_weather>\n" city "\n</function>\n</tool_call>"
city ::= "<parameter=city>" "\n" [a-z ]+ "\n</parameter>"
"""


def long_text(tokens: int) -> str:
    """Return a text of about so many tokens, at least."""
    return SENTENCE * (tokens // SENTENCE_TOKENS + 1)


def sensible(text: str) -> bool:
    """Tell whether the model says such a thing: faulty arithmetic leads it out of its words."""
    from runner.testbed import language  # noqa: PLC0415 - numpy, as above

    tokens = (token for group in language.GROUPS.values() for token in group.tokens)
    known = {token.strip() for token in tokens if len(token) > 1}
    words = re.findall(r"\w+", re.sub(r"<[^>]*>", " ", text))
    return len(words) >= _FEWEST_WORDS and known.issuperset(words)
