"""Sends a chat completion to a server and yields the answer as events, failures included."""

import contextlib
import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import httpx2

from runner.base.errors import SteprunError
from runner.chat.events import Event, Failed, Finished
from runner.chat.long_word import too_long_a_word
from runner.chat.raw_output import Untagged
from runner.chat.wire import Message, Options, garbled, parse_chunk, request_body, server_error
from runner.net.endpoint import Endpoint
from runner.net.http import NETWORK, async_client

# Between two chunks. llama-server reports each batch of a prompt; other servers are silent during
# prefill, which may take most of an hour.
SILENCE_S = 3600.0
CONNECT_S = 10.0
EVENT_BYTES = 4 << 20
ANSWER_BYTES = 256 << 20  # 262,144 tokens in events of 252 bytes each (llama-server's) are 63 MiB


async def stream(
    endpoint: Endpoint, messages: Sequence[Message], options: Options
) -> AsyncGenerator[Event, None]:
    """Yield events while the server answers; the last is Finished or Failed.

    Closing the iterator (or cancelling the task) closes the connection, which makes the server
    stop generating.
    """
    plain = Untagged(options.extra.get("tools", ()))
    async with contextlib.aclosing(_events(endpoint, messages, options)) as events:
        async for event in events:
            for part in plain.take(event):
                yield part


async def _events(
    endpoint: Endpoint, messages: Sequence[Message], options: Options
) -> AsyncGenerator[Event, None]:
    timeout = httpx2.Timeout(SILENCE_S, connect=CONNECT_S)
    if endpoint.longest_word and (refusal := too_long_a_word(messages, endpoint.longest_word)):
        yield Failed(refusal)
        return
    body = request_body(messages, options)
    finished: Finished | None = None
    taken = 0
    try:
        async with (
            async_client(timeout, local=endpoint.local) as http,
            http.sse(
                f"{endpoint.base_url}/v1/chat/completions",
                method="POST",
                json=body,
                headers=endpoint.headers(),
                max_event_size=EVENT_BYTES,
            ) as source,
        ):
            response = source.response
            if response.status_code != 200:
                yield Failed(server_error(response.status_code, await _json(response)))
                return
            async for sse in source:
                taken += len(sse.data)
                if taken > ANSWER_BYTES:
                    yield Failed(garbled(f"more than {ANSWER_BYTES >> 20} MiB"))
                    return
                for event in parse_chunk(sse.data):
                    if isinstance(event, Failed):
                        yield event
                        return
                    if isinstance(event, Finished):
                        finished = event  # usage follows it: yield it last
                    else:
                        yield event
    except SteprunError as error:
        yield Failed(error)
    except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL) as error:
        if finished is None:
            yield Failed(_lost(endpoint, error))
        else:
            yield finished
    else:
        yield finished or Failed(_cut())


async def properties(endpoint: Endpoint) -> dict[str, Any]:
    """Return llama-server's `/props`; empty for any other server.

    Raises SteprunError where no server answers at all.
    """
    return await _get(endpoint, "/props")


async def model_ids(endpoint: Endpoint) -> list[str]:
    """Return the names of the models that a server offers, empty where it does not list them."""
    data = (await _get(endpoint, "/v1/models")).get("data")
    rows = data if isinstance(data, list) else []
    return [str(row["id"]) for row in rows if isinstance(row, dict) and row.get("id")]


async def _get(endpoint: Endpoint, path: str) -> dict[str, Any]:
    timeout = httpx2.Timeout(CONNECT_S)
    try:
        async with (
            async_client(timeout, local=endpoint.local, headers=endpoint.headers()) as http,
            http.stream("GET", f"{endpoint.base_url}{path}") as response,
        ):
            reply = await _json(response)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise _lost(endpoint, error) from error
    if response.status_code in {401, 403}:
        raise server_error(response.status_code, reply)
    return reply if response.status_code == 200 and isinstance(reply, dict) else {}


async def _json(response: httpx2.Response) -> Any:
    """Return a reply's JSON, empty where it is not JSON or is too long to be an answer."""
    body = b""
    with contextlib.suppress(ValueError, RecursionError, httpx2.HTTPError):
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > EVENT_BYTES:
                return {}
        return json.loads(body)
    return {}


def _lost(endpoint: Endpoint, error: Exception) -> SteprunError:
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.InvalidURL):
        return SteprunError(
            f"No server answers at {endpoint.base_url}.",
            why=f"{error}." if str(error) else "The connection failed.",
            next="Start one: steprun serve" if endpoint.local else f"{NETWORK}, and the address.",
        )
    return SteprunError(
        "The connection to the engine broke during the answer.",
        why=f"{type(error).__name__}: {error}".rstrip(": ") + ".",
        next="What arrived is kept; ask again.",
    )


def _cut() -> SteprunError:
    return SteprunError(
        "The answer ended before it was finished.",
        why="The server closed the stream without a reason.",
        next="What arrived is kept; ask again.",
    )
