"""Answers a question about itself, or serves until it is stopped."""

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from .flags import QUESTIONS, help_text, translate

CLOSING_S: Final = 1  # for answers under way; the guard kills after 5 s


def _answer(question: str) -> str:
    if question == "--help":
        return help_text()
    if question == "--version":
        return f"version: llama-cpp-python {version('llama_cpp_python')}\n"
    from .app import devices  # noqa: PLC0415 - the others must answer where llama_cpp does not load

    return "\n".join([*devices(), ""])


def main(argv: Sequence[str]) -> int:
    """Serve until stopped by a signal. Returns 1 where the model does not load."""
    question = argv[0] if argv else "--help"
    if question in QUESTIONS:
        sys.stdout.write(_answer(question))
        return 0
    try:
        wanted = translate(argv)
        from .app import make  # noqa: PLC0415 - so that flags can be read without llama_cpp

        app = make(wanted)
    except (ValueError, RuntimeError, OSError, AttributeError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    import uvicorn  # noqa: PLC0415

    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=wanted["server"]["host"],
            port=wanted["server"]["port"],
            log_level="warning",
            timeout_graceful_shutdown=CLOSING_S,
        )
    )
    # It would raise them again at the end.
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment, unused-ignore]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    sys.stderr.write(f"llama-cpp-python serves on port {wanted['server']['port']}\n")
    server.run()
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # A thread may be in the middle of a prompt, and nothing can call it back.
    os._exit(status)
