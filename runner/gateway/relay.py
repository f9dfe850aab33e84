"""Passes a request to the engine, and its answer back as bytes."""

import asyncio
from typing import Final

import aiohttp
from aiohttp import web

from runner.gateway.activity import Entry
from runner.gateway.calls import EngineCall
from runner.gateway.faults import refusal_of
from runner.gateway.refusal import Refusal, event_of
from runner.net.endpoint import Endpoint

# Of one connection only, so that they say nothing about the other one.
_HOP: Final = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "server", "date"}
)
_CORS: Final = "access-control-"
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

    async def run(
        self, request: web.BaseRequest, call: EngineCall, endpoint: Endpoint, entry: Entry
    ) -> web.StreamResponse:
        """Ask the engine, and send its answer. Raises Refusal while nothing has been sent."""
        headers = {"Content-Type": "application/json", **endpoint.headers()}
        if accepts := request.headers.get("Accept-Encoding"):
            headers["Accept-Encoding"] = accepts
        url = endpoint.base_url + call.path
        response: web.StreamResponse | None = None
        try:
            async with self._http.request(
                call.method, url, data=call.body or None, headers=headers
            ) as answer:
                if answer.status >= 400:
                    raise refusal_of(answer.status, await answer.content.read())
                response = web.StreamResponse(status=answer.status, headers=dict(call.headers))
                for name, value in answer.headers.items():
                    if name.lower() not in _HOP and not name.lower().startswith(_CORS):
                        response.headers.add(name, value)
                entry.status = answer.status
                make = call.translate if answer.status == 200 else None
                translator = make() if make else None
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
