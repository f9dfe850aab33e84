"""Whether an answer repeats itself without end, seen in the bytes of its stream. Pure.

Step and other models fall into it: `<<<<` after hours of long context (llama.cpp 24259), white
space in place of a tool call (24181, PR 25238). Nothing of the engine ends it before the context is
full, which takes hours.

The bounds are in tokens, as tokens are the time that is lost. No text of 16,183 files comes near
them (355 MiB of source code, documents, tables and data of a Debian system and of llama.cpp's
tree). The longest in which a part is exactly repeated has 7,729 bytes, in which it is so eight
times or more 4,802, about 2,000 tokens; the next is a picture in base64 with 3,823 times `A`.
"""

import re
from dataclasses import dataclass
from typing import Final

TOKENS: Final = 8192  # at least so many in which a part is repeated exactly
REPEATS: Final = 16  # and so often: a long part takes more tokens
# White space alone, in any order: a model that may write nothing else (a grammar) mixes it. The
# longest run in those files has 358 characters.
BLANK_TOKENS: Final = 1024
LONGEST_PART: Final = 4096  # bytes of a part: a few hundred tokens of any language
_SHORT_PROBE: Final = LONGEST_PART // 8
# So much of a stream is looked at in one go: about 250 tokens, in 0.4 ms (x86-64).
LOOK_BYTES: Final = 64 << 10
# An event holds the text of one token, in the words of each API. A quotation mark within a text is
# escaped, so that no text can be mistaken for a name; escapes stay as they are, as what is repeated
# is repeated in them, too.
_TEXT: Final = re.compile(
    rb'"(?:content|reasoning_content|text|thinking|arguments|partial_json|delta)"'
    rb'\s?:\s?"((?:[^"\\]|\\.)+)"'
)
_BLANK: Final = re.compile(rb"(?:\s|\\[nrt])*")


@dataclass(frozen=True, slots=True)
class Loop:
    """What is repeated without end. `tokens`: for how many; `part`: bytes of it, 0: white space."""

    tokens: int
    part: int

    def in_words(self) -> str:
        """Return what happened, for the client: nothing of the answer itself."""
        what = f"the same {self.part} bytes over and over" if self.part else "white space only"
        if self.part == 1:
            what = "the same character over and over"
        return f"The answer repeated itself without end: its last {self.tokens:,} tokens are {what}"


class Repetition:
    """Follows the stream of one answer. Feed it all that the engine sends."""

    def __init__(self, look_bytes: int = LOOK_BYTES) -> None:
        self._look_bytes = look_bytes
        self._raw = bytearray()
        self._tail = b""
        self._part = 0  # bytes of the part that is repeated, 0 for none
        self._since = 0  # tokens since it has been
        self._bytes = 0
        self._blank = 0

    def feed(self, data: bytes) -> Loop | None:
        """Take a piece of the stream; return what is repeated without end, None for nothing."""
        self._raw += data
        if len(self._raw) < self._look_bytes:
            return None
        end = self._raw.rfind(b"\n") + 1 or len(self._raw)
        texts = _TEXT.findall(self._raw, 0, end)
        del self._raw[:end]
        return self._look(b"".join(texts), len(texts)) if texts else None

    def _look(self, new: bytes, tokens: int) -> Loop | None:
        if _BLANK.fullmatch(new):
            self._blank += tokens
            if self._blank >= BLANK_TOKENS:
                return Loop(self._blank, 0)
        else:
            self._blank = 0
        both = self._tail + new
        part = self._part
        if part and both[len(self._tail) - part : -part] == new:
            self._since += tokens
            self._bytes += len(new)
        else:
            self._part, self._since, self._bytes = _repeated(both), 0, 0
        self._tail = both[-2 * LONGEST_PART :]
        if self._since >= TOKENS and self._bytes >= REPEATS * self._part:
            return Loop(self._since, self._part)
        return None


def _repeated(text: bytes) -> int:
    """Return how long the part is with whose repetition a text ends, in bytes; 0 for none.

    It is found from the end: the nearest place at which the last bytes were before. They are many
    first: a part may repeat something within itself.
    """
    back = text[-2 * LONGEST_PART :][::-1]
    for probe in (LONGEST_PART, _SHORT_PROBE):
        if len(back) > probe and (at := back.find(back[:probe], 1)) > 0:
            return at
    return 0
