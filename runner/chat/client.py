"""Sends a chat completion to a server and yields the answer as events, failures included."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from runner.base.errors import SteprunError
from runner.base.text import clean, shown
from runner.base.units import duration
from runner.chat.clock import AnswerClock
from runner.chat.dialect import Offer, offers_of
from runner.chat.events import (
    Event,
    Failed,
    Finished,
    Reasoning,
    Text,
    ToolCall,
    ToolsRefused,
    Usage,
)
from runner.chat.long_word import too_long_a_word
from runner.chat.payloads import Payloads, TooLong
from runner.chat.raw_output import Untagged
from runner.chat.reading import RESTORED, with_headers
from runner.chat.refusals import Unreachable, garbled, server_error
from runner.chat.request_bytes import RequestBytes
from runner.chat.surrogates import Pairs
from runner.chat.untrusted import mapping
from runner.chat.wire import (
    Message,
    Options,
    answer_id,
    parse_chunk,
    request_body,
    simpler_body,
)
from runner.net.endpoint import CHAT_HEADER, Endpoint
from runner.net.headers import number
from runner.net.http import NETWORK, async_client

# Between two chunks. llama-server reports each batch of a prompt; other servers are silent during
# prefill, which may take most of an hour.
SILENCE_S = 3600.0
CONNECT_S = 10.0
REPLY_S = 20.0  # for a list of models, whole
WAIT_POLL_S = 0.25
EVENT_BYTES = 4 << 20
ANSWER_BYTES = 256 << 20  # 262,144 tokens in events of 252 bytes each (llama-server's) are 63 MiB
ANSWER_CHARACTERS = 16 << 20  # 262,144 tokens are about a million characters

NETWORK_FAILURES: Final = (
    *(httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL),
    *(OSError, ValueError, ImportError),  # of a proxy, of a host's name, of SOCKS
)


async def stream(
    endpoint: Endpoint,
    messages: Sequence[Message],
    options: Options,
    *,
    chat: str = "",
    clock: AnswerClock | None = None,
) -> AsyncGenerator[Event, None]:
    """Yield events while the server answers; the last is Finished or Failed.

    `chat`: the ID of the session; a gateway of ours is told, as what it keeps of a chat goes with
    the chat. `clock` is told when the server takes the connection, and whenever it sends anything.
    Closing the iterator (or cancelling the task) closes the connection, which makes the
    server stop generating.
    """
    pairs, plain = Pairs(), Untagged(options.extra.get("tools", ()))
    named = {CHAT_HEADER: chat} if chat and endpoint.owned else {}
    clock = clock or AnswerClock()
    async with contextlib.aclosing(_events(endpoint, messages, options, named, clock)) as events:
        async for event in events:
            if isinstance(event, Failed) and endpoint.api_key:  # servers repeat the key
                event.error.why = event.error.why.replace(endpoint.api_key, "***")
            # A model that was not done goes on thinking in its answer, and ends that with the tag.
            plain.distrust = options.thinking_cap is not None or clock.ended_thinking
            for whole in pairs.take(event):
                for part in plain.take(whole):
                    yield part


async def _events(
    endpoint: Endpoint,
    messages: Sequence[Message],
    options: Options,
    named: Mapping[str, str],
    clock: AnswerClock,
) -> AsyncGenerator[Event, None]:
    timeout = httpx2.Timeout(SILENCE_S, connect=CONNECT_S)
    if endpoint.longest_word and (refusal := too_long_a_word(messages, endpoint.longest_word)):
        yield Failed(refusal)
        return
    pictures = RequestBytes()
    body = request_body(messages, options, pictures.url)
    clock.reports = options.dialect.progress
    arrived = Arrived()

    async def trace(what: str, _: object) -> None:
        if what.endswith("send_request_headers.started"):
            clock.connected(time.monotonic())

    try:
        async with async_client(timeout, endpoint) as http:
            while True:
                size, content = await pictures.encoded(body)
                sent = {"Content-Type": "application/json", "Content-Length": str(size)}
                async with http.stream(
                    "POST",
                    f"{endpoint.api_url}/chat/completions",
                    content=content,
                    headers={"Accept": "text/event-stream", **sent, **endpoint.headers(), **named},
                    extensions={"trace": trace},
                ) as response:
                    if response.status_code == 200:
                        clock.heard(time.monotonic())
                        clock.restored = number(response.headers, RESTORED) or 0
                        if "tools" in options.extra and "tools" not in body:
                            yield ToolsRefused()
                        async for event in _answer(response, arrived, clock):
                            yield event
                        return
                    reply = await read_json(response)
                    simpler = simpler_body(body, response.status_code, reply)
                    if simpler is None:
                        yield Failed(_refusal(endpoint, response, reply))
                        return
                    body = simpler
    except SteprunError as error:
        yield Failed(error)
    except NETWORK_FAILURES as error:
        yield arrived.finished or Failed(_lost(endpoint, error, begun=arrived.begun))


@dataclass(slots=True)
class Arrived:
    """What an answer has said so far: its end, whether it has begun, and how long its text is.

    `odd`: the first JSON text that is no part of an answer.
    """

    finished: Finished | None = None
    begun: bool = False
    characters: int = 0
    odd: str = ""


async def _answer(
    response: httpx2.Response, arrived: Arrived, clock: AnswerClock
) -> AsyncGenerator[Event, None]:
    """Yield the events of an answer's body; the last is Finished or Failed."""
    payloads = Payloads(EVENT_BYTES)
    done = False
    async with contextlib.aclosing(_texts(response, payloads, clock)) as found:
        async for text in found:
            if text.strip() == "[DONE]":
                done = True
                break  # some servers leave the connection open
            found_any = False
            if not clock.answer_id and not arrived.begun:  # no need to look in all that follow
                clock.answer_id = answer_id(text)
            for event in parse_chunk(text):
                arrived.begun = found_any = True
                arrived.characters += _characters(event)
                if arrived.characters > ANSWER_CHARACTERS:
                    raise garbled(f"more than {ANSWER_CHARACTERS:,} characters")
                if isinstance(event, Finished):
                    arrived.finished = event  # usage follows it: yield it last
                    continue
                yield with_headers(event, response.headers) if isinstance(event, Usage) else event
                if isinstance(event, Failed):
                    return
            if not found_any:
                arrived.odd = arrived.odd or text
    if not arrived.begun and (odd := payloads.odd or arrived.odd):
        raise garbled(odd)
    # [DONE] says that this is all, although not why.
    whole = Finished() if done and arrived.begun else Failed(_cut(begun=arrived.begun))
    yield arrived.finished or whole


def _characters(event: Event) -> int:
    match event:
        case Text(text) | Reasoning(text) | ToolCall(arguments=text):
            return len(text)
    return 0


async def _texts(
    response: httpx2.Response, payloads: Payloads, clock: AnswerClock
) -> AsyncGenerator[str, None]:
    """Yield the JSON texts of a body. Raises SteprunError where it is too long to be an answer."""
    taken = 0
    try:
        async for data in response.aiter_bytes():
            clock.heard(time.monotonic())  # comments, too: they say that the server lives
            taken += len(data)
            if taken > ANSWER_BYTES:
                raise garbled(f"more than {ANSWER_BYTES >> 20} MiB")
            for text in payloads.feed(data):
                yield text
        for text in payloads.close():
            yield text
    except TooLong:
        raise garbled(f"one event of more than {EVENT_BYTES >> 20} MiB") from None


def _refusal(endpoint: Endpoint, response: httpx2.Response, reply: Any) -> SteprunError:
    """Return why a request was refused; a key that the server repeats is not shown."""
    status = response.status_code
    if 300 <= status < 400:
        where = shown(response.headers.get("location", ""))
        return SteprunError(
            f"The server at {endpoint.base_url} is at another address.",
            why=f"It redirects to {where} (status {status}), and a chat is not sent elsewhere.",
            next="Name that address with --url, if you trust it.",
        )
    error = server_error(status, reply)
    if status == 429 and (seconds := number(response.headers, "retry-after")):
        error.next = f"Wait {duration(seconds)} and ask again."
    if endpoint.api_key:
        error.why = error.why.replace(endpoint.api_key, "***")
        if status in {401, 403}:
            error.what = "The server does not accept the API key, or not for this."
    elif status in {401, 403} and endpoint.key_note:
        error.next = endpoint.key_note
    return error


class Busy(SteprunError):  # noqa: N818 - it passes
    """A server takes connections, and does not answer yet."""


async def wait_for(
    endpoint: Endpoint, on_wait: Callable[[float], None]
) -> tuple[dict[str, Any], list[Offer]]:
    """Ask a server what it is, as `identify` does, for as long as it is busy.

    `on_wait` hears the seconds waited so far, several times a second.
    """
    began = time.monotonic()
    while True:
        asking = asyncio.create_task(identify(endpoint))
        try:
            while not asking.done():
                on_wait(time.monotonic() - began)
                await asyncio.wait([asking], timeout=WAIT_POLL_S)
            return asking.result()
        except Busy:
            await asyncio.sleep(WAIT_POLL_S)  # one that says at once that it loads its model
        finally:
            asking.cancel()


async def identify(endpoint: Endpoint) -> tuple[dict[str, Any], list[Offer]]:
    """Ask a server once what it is: llama-server's `/props`, and the models that it offers.

    Raises SteprunError where no server answers at all, or not without a key; `Busy` where it takes
    connections and does not answer, or has not loaded its model.
    """
    props = await properties(endpoint)
    return props, offers_of(await _get(endpoint, f"{endpoint.api_url}/models"))


async def properties(endpoint: Endpoint) -> dict[str, Any]:
    """Return llama-server's `/props`; empty for any other server.

    Raises SteprunError where no server answers at all.
    """
    reply = await _get(endpoint, f"{endpoint.base_url}/props")
    return reply if isinstance(reply, dict) else {}


async def _get(endpoint: Endpoint, url: str) -> Any:
    timeout = httpx2.Timeout(CONNECT_S)
    try:
        async with (
            async_client(timeout, endpoint, headers=endpoint.headers()) as http,
            asyncio.timeout(REPLY_S),
            http.stream("GET", url) as response,
        ):
            reply = await read_json(response)
    except TimeoutError as error:
        raise _lost(endpoint, httpx2.ReadTimeout("")) from error
    except NETWORK_FAILURES as error:
        raise _lost(endpoint, error) from error
    if response.status_code == 503 and _is_loading(reply):
        raise Busy(
            f"The server at {endpoint.base_url} does not answer.",
            why="It is still loading its model.",
            next="Wait until it has, then try again.",
        )
    if response.status_code in {401, 403} and "/props" not in url:
        raise _refusal(endpoint, response, reply)
    return reply if response.status_code == 200 else {}


def _is_loading(reply: Any) -> bool:
    """Tell whether a 503 is llama-server's while it loads its model (`unavailable_error`)."""
    return mapping(mapping(reply).get("error")).get("type") == "unavailable_error"


async def read_json(response: httpx2.Response) -> Any:
    """Return a reply's JSON, empty where it is not JSON or is too long to be an answer."""
    body = b""
    with contextlib.suppress(ValueError, RecursionError, httpx2.HTTPError):
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > EVENT_BYTES:
                return {}
        return json.loads(body)
    return {}


def _lost(endpoint: Endpoint, error: Exception, *, begun: bool = False) -> SteprunError:
    if isinstance(error, httpx2.ConnectError) and "SSL" in str(error):
        return _no_encryption(endpoint, _cause(error))
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.InvalidURL):
        slow = isinstance(error, httpx2.ConnectTimeout)
        failed = f"It took no connection within {CONNECT_S:.0f} s." if slow else "It refused."
        return Unreachable(
            f"No server answers at {endpoint.base_url}.",
            why=f"{_cause(error)}." if str(error) else failed,
            next="Start one: steprun serve" if endpoint.local else f"{NETWORK}, and the address.",
        )
    if isinstance(error, httpx2.ProxyError | ImportError) or "SOCKS" in str(error):
        return SteprunError(
            "The proxy does not connect to the server.", why=f"{_cause(error)}.", next=f"{NETWORK}."
        )
    if isinstance(error, httpx2.ReadTimeout) and not begun:
        return Busy(
            f"The server at {endpoint.base_url} does not answer.",
            why="It takes connections, and sent nothing within the time limit; it may be busy.",
            next="Wait until it is free, then try again.",
        )
    if isinstance(error, httpx2.ReadTimeout):
        return SteprunError(
            f"The server at {endpoint.base_url} stopped sending in mid-answer.",
            why=f"Nothing arrived for {duration(SILENCE_S)}, not even a sign of life.",
            next="Ask again.",
        )
    if (
        not begun
        and not endpoint.owned
        and isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError | httpx2.WriteError)
    ):
        return SteprunError(
            f"The program at {endpoint.base_url} does not speak HTTP, or it hung up.",
            why=f"{_cause(error) or type(error).__name__}.",
            next="Check the port, and whether the address begins with https://.",
        )
    return SteprunError(
        "The connection to the engine broke during the answer."
        if endpoint.owned
        else "The connection to the server broke during the answer.",
        why=f"{type(error).__name__}: {_cause(error)}".rstrip(": ") + ".",
        next="Ask again.",
    )


def _no_encryption(endpoint: Endpoint, why: str) -> SteprunError:
    if "CERTIFICATE" in why:
        return SteprunError(
            f"The certificate of {endpoint.base_url} is not trusted.",
            why=f"{why}.",
            next="If the server is yours, name its certificate: SSL_CERT_FILE=FILE",
        )
    return SteprunError(
        f"The server at {endpoint.base_url} does not speak https.",
        why=f"{why}.",
        next="Check the port, or begin the address with http:// if the server is not encrypted.",
    )


def _cause(error: Exception) -> str:
    return clean(str(error)).strip().rstrip(".")[:300]


def _cut(*, begun: bool) -> SteprunError:
    if not begun:
        return SteprunError(
            "The server sent no answer.",
            why="It accepted the request and ended its answer before it began.",
            next="Ask again; if it happens again, see the server's log.",
        )
    return SteprunError(
        "The answer ended before it was finished.",
        why="The server closed the stream without a reason.",
        next="Ask again.",
    )
