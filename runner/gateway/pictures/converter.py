"""The process that converts pictures, as the gateway sees it: one picture at a time."""

import asyncio
import os
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from runner.chat.images.converting import HEAD
from runner.gateway.aside import Buffer
from runner.gateway.refusal import Refusal

MODULE: Final = "runner.chat.images.converting"
CONVERT_S: Final = 30.0  # 24 megapixels of PNG took 4 s on two busy cores
IDLE_S: Final = 120.0  # its process takes some 40 MB, and 0.2 s to start
RESULT_BYTES: Final = 128 << 20  # 9 megapixels, the most there are, as a PNG that does not pack
_DIED: Final = "The picture cannot be decoded: it is damaged, or takes too much memory."
_SLOW: Final = f"The picture takes longer than {CONVERT_S:.0f} s to decode. Make it smaller first."
Result = tuple[bytes, bytes | bytearray]  # its letter and its data
_BUFFER: Final = 1 << 20
_PIECE: Final = 256 << 10  # bytes that are sent or taken at once


class Converter:
    """Converts pictures in a process that starts when there is one. Close it at the end."""

    def __init__(self, program: tuple[str, ...] = (sys.executable, "-P", "-m", MODULE)) -> None:
        self._program = program
        self._process: Process | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self.started = 0  # processes, so far

    async def convert(self, letter: bytes, source: Sequence[Buffer]) -> Result:
        """Return a result (`runner.chat.images.converting`). One call at a time.

        `source`: in its parts.

        Raises Refusal (400) where the process does not survive it.
        """
        if self._idle:
            self._idle.cancel()
        try:
            async with asyncio.timeout(CONVERT_S):
                result = await self._ask(letter, source)
        except TimeoutError:
            self._end()
            raise Refusal(400, _SLOW) from None
        except (OSError, EOFError) as error:  # asyncio's IncompleteReadError is an EOFError
            self._end()
            raise Refusal(400, _DIED) from error
        except BaseException:  # cancelled: what it says next is no answer to the next question
            self._end()
            raise
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._end)
        return result

    async def close(self) -> None:
        """End the process."""
        if self._idle:
            self._idle.cancel()
        self._end()
        await asyncio.gather(*self._ending)

    def _end(self) -> None:
        if self._process is not None:
            task = asyncio.create_task(_ended(self._process))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        self._process = None

    async def _ask(self, letter: bytes, source: Sequence[Buffer]) -> Result:
        process = await self._running()
        if process.stdin is None or process.stdout is None:
            raise AssertionError
        process.stdin.write(HEAD.pack(letter, sum(map(len, source))))
        for part in source:
            view = memoryview(part)
            for at in range(0, len(view), _PIECE):
                process.stdin.write(view[at : at + _PIECE])
                await process.stdin.drain()
        kind, length = HEAD.unpack(await process.stdout.readexactly(HEAD.size))
        if length > RESULT_BYTES:
            raise EOFError
        result = bytearray()  # in pieces, so that nothing large is copied at once
        while len(result) < length:
            piece = await process.stdout.read(min(_PIECE, length - len(result)))
            if not piece:
                raise EOFError
            result += piece
        return kind, result

    async def _running(self) -> Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *self._program,
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                limit=_BUFFER,
                # A Ctrl-C in the terminal is for the gateway, which still has answers to end.
                start_new_session=os.name == "posix",
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
            self.started += 1
        return self._process


async def _ended(process: Process) -> None:
    """Kill a process, and return when nothing of it is left."""
    with suppress(ProcessLookupError):
        process.kill()
    if process.stdin is not None:
        process.stdin.close()
    if process.stdout is not None:
        await process.stdout.read()
    await process.wait()
