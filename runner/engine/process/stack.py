"""How large an engine's stack may be, and how long a word it bears.

llama.cpp splits a text with std::regex. The one of GCC's library calls itself once for each
character of a run without a break (letters, CJK text, punctuation, blanks; digits are split), so
that one long word in a message overruns the stack of the thread that answers, and ends the engine
(llama.cpp issue 26965). Linux takes the limit of the stack, as it is when a program starts, for
all of the program's threads. It is address space: an engine with 12 threads held as much memory
with 1 GiB as with 64 MiB (51 MB, tiny Step, x86-64). Only what a long word touches stays in use:
1.0 GiB after 3,000,000 letters, which took 2 to 4 seconds.

More is not wanted. A body may have 100 MB, which would take 35 GiB of memory: to end the engine at
once is better than to press everything else out of a machine that the weights fill. A chat and the
gateway refuse a longer word before it is sent.
"""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

# Measured on Linux x86-64, GCC 12: 352 in the embedded engine b11549 and 323 in a llama-server
# built here, from 8 MiB (23,386 and 25,518 letters) to 64 MiB (188,254 and 208,199).
CHARACTER_BYTES: Final = 384
# Bears 2,796,202 characters, more than ten for each of 262,144 tokens; 3,000,000 were answered.
WANTED_BYTES: Final = 1 << 30
PLAIN_BYTES: Final = 8 << 20  # the stack that programs have on Linux, and what is taken elsewhere
_OVERCOMMIT: Final = Path("/proc/sys/vm/overcommit_memory")


def for_engine() -> int:
    """Return the bytes to which an engine's limit is set before it starts; 0: it is left alone."""
    if sys.platform != "linux":
        return 0  # macOS and Windows give threads what the program asks for, whatever the limit
    import resource  # noqa: PLC0415 - not on Windows

    strict = False
    with suppress(OSError):
        strict = _OVERCOMMIT.read_text("ascii").strip() == "2"
    return wanted(*resource.getrlimit(resource.RLIMIT_STACK), strict=strict)


def wanted(soft: int, hard: int, *, strict: bool) -> int:
    """Return what a limit is set to, given the present ones in bytes; -1 is none. Pure.

    `strict`: the system counts address space as memory in use, so that the threads would not
    start. No limit at all is set, too: glibc then gives each thread 2 MiB only.
    """
    if strict or soft >= WANTED_BYTES:
        return 0
    return WANTED_BYTES if hard < 0 else min(WANTED_BYTES, hard)


def longest_word(*, passed: bool = False) -> int:
    """Return how many characters without a break an engine that is started now bears; 0: any.

    `passed`: its self-test has answered or refused a long word, which is nine times what a stack of
    `PLAIN_BYTES` bears in GCC's library. Outside Linux another library is in use then: one that
    calls itself less often (Apple's), or gives up in time (Microsoft's).
    """
    if passed and sys.platform != "linux":
        return 0
    return (for_engine() or _present()) // CHARACTER_BYTES


def _present() -> int:
    if sys.platform != "linux":
        return PLAIN_BYTES
    import resource  # noqa: PLC0415 - not on Windows

    soft, _ = resource.getrlimit(resource.RLIMIT_STACK)
    return soft if soft > 0 else PLAIN_BYTES // 4
