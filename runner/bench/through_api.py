"""Measures the grid through a llama-server's own API, where its own tool is missing."""

import asyncio
import json
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import httpx2

from runner.base.errors import SteprunError
from runner.bench.grid import N_GEN, Grid, Measurement, rate
from runner.chat.refusals import server_error
from runner.engine.process.supervisor import EngineProcess
from runner.plan.launch import LaunchSpec

POLL_S: Final = 1.0  # as rare as in `batched`
REPLY_BYTES: Final = 1 << 20  # only the timings are requested: under 1 kB


async def measure(
    program: Sequence[str],
    spec: LaunchSpec,
    grid: Grid,
    on_wait: Callable[[float], None] = lambda _: None,
) -> AsyncGenerator[Measurement]:
    """Yield each row of the grid when it is measured; as `batched.measure` for the rest."""
    began = time.monotonic()
    async with EngineProcess(program, spec) as engine:
        await engine.wait_ready(on_wait)
        timeout = httpx2.Timeout(None)  # `Engine.check` knows whether it still works
        headers = engine.endpoint.headers()
        async with httpx2.AsyncClient(timeout=timeout, headers=headers, trust_env=False) as http:

            async def ask(method: str, path: str, body: Any = None) -> Any:
                asking = asyncio.create_task(
                    _reply(http, method, f"{engine.endpoint.base_url}{path}", body)
                )
                try:
                    while not (await asyncio.wait({asking}, timeout=POLL_S))[0]:
                        engine.check()
                        on_wait(time.monotonic() - began)
                    return asking.result()
                except httpx2.HTTPError as error:
                    raise engine.verdict() from error
                finally:
                    asking.cancel()

            words = _vocabulary(await ask("GET", "/v1/models"))
            # The same tokens each time, and as llama-batched-bench takes any of the vocabulary.
            chance = random.Random(0)  # noqa: S311 - no secret
            for prompt in grid.prompts:
                # Nothing cannot be asked: one token stands for an empty prompt.
                tokens = chance.choices(range(words), k=max(1, prompt))
                yield _row(prompt, await ask("POST", "/completion", _request(tokens)))


def _request(tokens: list[int]) -> dict[str, Any]:
    return {
        "prompt": tokens,
        # The server's clock starts when the first token is there: so many more are computed.
        "n_predict": N_GEN + 1,
        "cache_prompt": False,
        "ignore_eos": True,
        "samplers": ["top_k"],
        "top_k": 1,
        "stream": False,
        "response_fields": ["timings"],
    }


async def _reply(http: httpx2.AsyncClient, method: str, url: str, body: Any) -> Any:
    """Return a reply's JSON; None where it is not JSON, or too long.

    Raises what the server says of itself (`SteprunError`) where it refuses.
    """
    data = b""
    async with http.stream(method, url, json=body) as response:
        async for chunk in response.aiter_bytes():
            data += chunk
            if len(data) > REPLY_BYTES:
                return None
    reply = None
    with suppress(ValueError, RecursionError):
        reply = json.loads(data)
    if response.status_code != 200:
        raise server_error(response.status_code, reply)
    return reply


def _vocabulary(reply: Any) -> int:
    try:
        count = reply["data"][0]["meta"]["n_vocab"]
    except (LookupError, TypeError) as error:
        raise _garbled("/v1/models") from error
    if type(count) is not int or not 0 < count < 1 << 24:
        raise _garbled("/v1/models")
    return count


def _row(prompt: int, reply: Any) -> Measurement:
    try:
        timings = reply["timings"]
        seconds = float(timings["prompt_ms"]) / 1000 if prompt else 0.0
        decode_s = float(timings["predicted_ms"]) / 1000
        asked = (max(1, prompt), N_GEN + 1)
        whole = (timings["prompt_n"], timings["predicted_n"]) == asked
    except (LookupError, TypeError, ValueError) as error:
        raise _garbled("/completion") from error
    prefill, decode = rate(prompt, seconds), rate(N_GEN, decode_s)
    if not whole or not decode or (prompt and not prefill):
        raise _garbled("/completion")
    return Measurement(prompt, N_GEN, 1, prompt + N_GEN, seconds, prefill, decode_s, decode)


def _garbled(path: str) -> SteprunError:
    return SteprunError(
        f"The engine's answer to {path} lacks the expected figures.",
        why="It is an unknown program, or an older version.",
        next="Choose another engine: steprun engine list",
    )
