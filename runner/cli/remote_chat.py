"""Chats with a server that the user names: where it is, and what it says of itself."""

import asyncio
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.base.errors import UsageError
from runner.base.text import clean_name
from runner.chat.host import ChatSetup, Find, Remote
from runner.chat.wire import Options
from runner.net.endpoint import Endpoint, server_address

if TYPE_CHECKING:
    from runner.chat.dialect import Offer


def must_see(images: tuple[Path, ...], why: str) -> None:
    """Refuse images for a model that does not see; `why` it does not."""
    if images:
        raise UsageError(
            "This model cannot see images.",
            why=why,
            next="Leave --image out, or choose a model with a vision encoder: steprun models",
        )


def endpoint_of(url: str, key_file: Path | None) -> Endpoint:
    """Return where a typed address leads, with its key. Raises UsageError where it is none."""
    from runner.net.keys import key_for

    found = server_address(url)
    if found is None:
        raise UsageError(
            f"{re.sub(r'//[^/@]*@', '//***@', url)!r} is not the address of a server.",
            why="An address is a scheme, a host and a port.",
            next="Such as: --url http://127.0.0.1:8080",
        )
    base, login = found
    key, note = key_for(base, os.environ)
    if key_file or login:
        key = ""
    if key_file:
        from runner.engine.process.supervisor import read_key  # brings httpx2

        key = read_key(key_file)
    return Endpoint(base, api_key=key, login=login, key_note=note)


@dataclass(frozen=True, slots=True)
class OfferedModels:
    """A server's models, and how a chat with one of them is set up (see `chat.host.Models`)."""

    endpoint: Endpoint
    answer: Options
    common: Mapping[str, Any]

    async def offered(self) -> Sequence["Offer"]:
        """Return its models. Raises SteprunError where it does not answer."""
        client = await asyncio.to_thread(import_module, "runner.chat.client")
        _, offers = await client.identify(self.endpoint)
        found: Sequence[Offer] = offers
        return found

    def finding(self, model: str) -> Find:
        """Return what sets a chat with a model up."""
        return partial(ask_server, self.endpoint, model, self.answer, dict(self.common))


def not_asked_yet(
    endpoint: Endpoint, model: str, answer: Options, common: dict[str, Any], find: Find
) -> ChatSetup:
    """Return the setup of a chat with a server of which nothing is known but its address."""
    return ChatSetup(
        title=f"{model or 'a model'} at {endpoint.base_url}",
        open_host=lambda: Remote(endpoint),
        options=answer,
        sees=True,
        prices=False,
        own=False,
        greeting=endpoint.warning,
        words=("--url", endpoint.base_url, *(("--model", model) if model else ())),
        find=find,
        models=OfferedModels(endpoint, answer, common),
        **common,
    )


async def ask_server(
    endpoint: Endpoint,
    model: str,
    answer: Options,
    common: dict[str, Any],
    on_wait: Callable[[float], None] | None,
) -> ChatSetup:
    """Ask a server what it is, and set up a chat with it.

    `on_wait`: hears for how long a busy server has been waited for; None: not for long.
    """
    client = await asyncio.to_thread(import_module, "runner.chat.client")  # the window stays alive
    from runner.chat.dialect import OURS, chosen, is_step, recognised

    ask = client.identify(endpoint) if on_wait is None else client.wait_for(endpoint, on_wait)
    reported, offers = await ask
    asked, offer = model, chosen(offers, model)
    model = offer.name
    modalities = reported.get("modalities")
    # Only llama-server reports whether it sees; with others a request will show it.
    sees = bool(modalities.get("vision")) if isinstance(modalities, dict) else True
    blind_why = "The server reports no vision encoder (mmproj) for its model."
    if not sees and on_wait is None:  # an open window says so itself
        must_see(common["pictures"], blind_why)
    defaults = reported.get("default_generation_settings")
    context = defaults.get("n_ctx") if isinstance(defaults, dict) else None
    find = partial(ask_server, endpoint, asked, answer, common)
    return replace(
        not_asked_yet(endpoint, asked, answer, common, find),
        title=f"{clean_name(model) if model else 'a model'} at {endpoint.base_url}",
        options=replace(answer, model=model, dialect=recognised(reported, offers)),
        context=context if isinstance(context, int) else offer.context,
        sees=sees,
        blind_why=blind_why,
        prices=is_step(model, reported),
        gateway=any(each.owner == OURS for each in offers),
    )
