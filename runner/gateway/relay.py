"""Passes a request to the engine, and its answer back as bytes."""

import asyncio
from typing import Any, Final

import aiohttp
from aiohttp import web

from runner.gateway.activity import Entry
from runner.gateway.calls import EngineCall
from runner.gateway.refusal import Refusal, event_of, refused_by_engine
from runner.net.endpoint import Endpoint

# Of one connection only, so that they say nothing about the other one.
_HOP: Final = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "server", "date"}
)
_CORS: Final = "access-control-"
PROPS_S: Final = 10.0  # it answers at once, or is busy with a long batch
ERROR_BYTES: Final = 64 << 10  # of an engine's refusal; they are a few hundred bytes
_LOST: Final = "The engine stopped while it was answering. Send the request again."


class Relay:
    """The gateway's side of the engine's connection. Close it at the end."""

    def __init__(self) -> None:
        self._http = aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
            trust_env=False,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()

    async def props(self, endpoint: Endpoint) -> dict[str, Any]:
        """Return the engine's /props. Raises Refusal (502)."""
        try:
            async with self._http.get(
                endpoint.base_url + "/props",
                headers=endpoint.headers(),
                timeout=aiohttp.ClientTimeout(total=PROPS_S),
            ) as answer:
                found = await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Refusal(502, "The engine does not say what it is.", retry_after_s=1) from error
        return found if isinstance(found, dict) else {}

    async def run(
        self, request: web.BaseRequest, call: EngineCall, endpoint: Endpoint, entry: Entry
    ) -> web.StreamResponse:
        """Ask the engine, and send its answer. Raises Refusal while nothing has been sent."""
        headers = {"Content-Type": "application/json", **endpoint.headers()}
        # Named always, or aiohttp asks for gzip by itself; what is compressed cannot be translated.
        accepts = None if call.translate else request.headers.get("Accept-Encoding")
        headers["Accept-Encoding"] = accepts or "identity"
        url = endpoint.base_url + call.path
        response: web.StreamResponse | None = None
        try:
            async with self._http.request(
                call.method, url, data=call.body or None, headers=headers
            ) as answer:
                if call.translate and answer.status != 200:
                    raise refused_by_engine(answer.status, await answer.content.read(ERROR_BYTES))
                response = web.StreamResponse(status=answer.status)
                for name, value in answer.headers.items():
                    if name.lower() not in _HOP and not name.lower().startswith(_CORS):
                        response.headers.add(name, value)
                entry.status = answer.status
                translator = call.translate() if call.translate else None
                if translator:
                    response.headers["Content-Type"] = translator.content_type
                await response.prepare(request)
                async for data in answer.content.iter_any():
                    entry.passes(data)
                    await response.write(translator.feed(data) if translator else data)
                if translator:
                    await response.write(translator.close())
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError) as error:
            lost = Refusal(502, _LOST, retry_after_s=1)
            if response is None or not response.prepared:
                raise lost from error
            if call.stream:
                await response.write(event_of(entry.api, lost))
        await response.write_eof()
        return response
