"""The end of a chat that its user did not type: a closed terminal, a system that goes down."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from runner.base.errors import Exit

HANGUP_S = 40.0  # what an engine has read is saved in 20, and the engine is stopped in 8


def catch_signals(terminated: Callable[[], object], hung_up: Callable[[], object]) -> None:
    """Call `terminated` on SIGTERM and `hung_up` on SIGHUP, in the event loop that runs now."""
    if threading.current_thread() is not threading.main_thread():
        return
    for name, call in (("SIGTERM", terminated), ("SIGHUP", hung_up)):
        # Windows has neither, nor signals in its event loop.
        with contextlib.suppress(AttributeError, NotImplementedError, ValueError):
            asyncio.get_running_loop().add_signal_handler(getattr(signal, name), call)


async def leave(saving: Coroutine[Any, Any, None]) -> None:
    """Let a chat without a terminal save what it has, and end the process.

    Textual would wait for ever to write to the terminal, so it does not end the run; and the
    process ends even if the event loop is stuck.
    """
    timer = threading.Timer(HANGUP_S, os._exit, (int(Exit.INTERRUPTED),))
    timer.daemon = True
    timer.start()
    try:
        await saving
    finally:
        os._exit(Exit.INTERRUPTED)
