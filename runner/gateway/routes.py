"""What the gateway answers, from `routes.toml`. Pure once loaded."""

import re
from functools import cache
from pathlib import Path
from typing import Final, Literal

import msgspec

from runner.gateway.refusal import Api, Refusal

_TABLE: Final = Path(__file__).with_name("routes.toml")
Work = Literal["generate", "count", "engine", "page", "own"]
# No dot at the start of a name, so that no `..` climbs out of the page's folder.
_FILE: Final = re.compile(r"(?:/[\w-][\w.-]*)+\.(\w+)", re.ASCII)
_FILE_PATH = 200  # characters; the longest of llama.cpp b11549's page has 50


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One path that is answered, and how. `routes.toml` says what the fields mean."""

    path: str
    methods: tuple[str, ...]
    api: Api
    work: Work
    body: str = ""
    to: str = ""
    open: bool = False

    @property
    def engine_path(self) -> str:
        """The path at the engine."""
        return self.to or self.path


class _Table(msgspec.Struct, frozen=True):
    route: tuple[Route, ...]
    page_files: frozenset[str]


@cache
def _table() -> _Table:
    return msgspec.toml.decode(_TABLE.read_bytes(), type=_Table)


@cache
def routes() -> dict[str, Route]:
    """Return every route, by its path."""
    return {route.path: route for route in _table().route}


def api_of(path: str) -> Api:
    """Return the API whose shape an error at this path has, also where there is no route."""
    if (route := routes().get(path)) is not None:
        return route.api
    if path.startswith("/v1/messages"):
        return Api.ANTHROPIC
    if path.startswith("/v1/responses"):
        return Api.RESPONSES
    return Api.OLLAMA if path.startswith("/api/") else Api.OPENAI


def find(method: str, path: str) -> Route:
    """Return the route of a request. Raises Refusal: 404 for the path, 405 for the method."""
    route = routes().get(path) or _page_file(path)
    if route is None:
        raise Refusal(404, f"There is nothing at {path[:200]!r}.")
    if method not in route.methods:
        raise Refusal(405, f"{path} takes {' and '.join(route.methods)}, not {method[:20]}.")
    return route


def _page_file(path: str) -> Route | None:
    """Return the route of a file that the engine's web page may consist of, by its ending."""
    file = _FILE.fullmatch(path) if len(path) <= _FILE_PATH else None
    if file is None or file[1].lower() not in _table().page_files:
        return None
    return Route(path=path, methods=("GET", "HEAD"), api=Api.OPENAI, work="page", open=True)
