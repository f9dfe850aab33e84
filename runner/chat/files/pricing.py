"""What a text costs in tokens: as the engine counts it, or else by a rule of thumb."""

import asyncio
import json
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Final

from runner.base.errors import SteprunError
from runner.chat.dialect import LLAMA_SERVER, Dialect
from runner.chat.long_word import holds_longer_run
from runner.net.endpoint import Endpoint

# DeepSeek's rule for its own tokenizer (api-docs.deepseek.com/quick_start/token_usage): 0.3 tokens
# for an English character, 0.6 for a Chinese one. Step's has the same pre-tokenizer and nearly as
# many tokens (128,896), so that its figures are of the same size.
ASCII_TOKENS: Final = 0.3
OTHER_TOKENS: Final = 0.6
COUNTED_CHARS: Final = 4 << 20  # of a longer text a million tokens are certain: it fits nowhere
COUNT_S: Final = 20.0
# Without a break, where it is not known what a server bears: llama-server with the stack that Linux
# gives programs (8 MiB) bore 23,386 (see `runner.engine.process.stack`).
UNKNOWN_WORD: Final = 20_000
ANSWER_BYTES: Final = 64 << 20  # a token is a number of up to six digits and a comma


def estimate(text: str) -> int:
    """Return about how many tokens a text has."""
    plain = len(text) if text.isascii() else sum(map(str.isascii, text))
    return round(plain * ASCII_TOKENS + (len(text) - plain) * OTHER_TOKENS)


async def count_tokens(endpoint: Endpoint, dialect: Dialect, text: str) -> int | None:
    """Return how many tokens a server's model makes of a text; None where it does not tell.

    Only llama-server is asked (`/tokenize`), and the gateway in front of it.
    """
    if dialect != LLAMA_SERVER or len(text) > COUNTED_CHARS:
        return None
    if holds_longer_run(text, endpoint.longest_word or UNKNOWN_WORD):
        return None  # it might end the engine
    body = await asyncio.to_thread(_body, text)
    # It takes a tenth of a second to import, and a client a third of that to make: in a thread.
    httpx2 = await asyncio.to_thread(import_module, "httpx2")
    made = await asyncio.to_thread(import_module, "runner.net.http")
    headers = {"Content-Type": "application/json", **endpoint.headers()}
    make = partial(made.async_client, httpx2.Timeout(COUNT_S), endpoint, headers=headers)
    try:
        async with (
            asyncio.timeout(COUNT_S),
            await asyncio.to_thread(make) as http,
            http.stream("POST", f"{endpoint.base_url}/tokenize", content=body) as response,
        ):
            if response.status_code != 200:
                return None
            return await _commas(response.aiter_bytes)
    except (httpx2.HTTPError, httpx2.StreamError, OSError, ValueError, SteprunError):
        return None


def _body(text: str) -> bytes:
    return json.dumps({"content": text, "add_special": False}).encode("ascii")


async def _commas(pieces: Callable[[], object]) -> int | None:
    """Return how many numbers a list in a reply has, which may be long: it is not parsed whole."""
    head, numbers, taken = b"", 0, 0
    async for piece in pieces():  # type: ignore[attr-defined] # bytes as they arrive
        head = head if len(head) > 64 else head + piece
        taken += len(piece)
        numbers += piece.count(b",")
        if taken > ANSWER_BYTES:
            return None
    begin = head.replace(b" ", b"")
    if not begin.startswith(b'{"tokens":['):
        return None
    return 0 if begin.startswith(b'{"tokens":[]') else numbers + 1
