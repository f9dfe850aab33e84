"""What the gateway answers, from `routes.toml`. Pure once loaded."""

import difflib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, Literal

import msgspec

from runner.gateway.refusal import Api, Refusal

_TABLE: Final = Path(__file__).with_name("routes.toml")
Work = Literal["generate", "count", "engine", "page", "own", "refuse"]
_PLACEHOLDER: Final = re.compile(r"\\\{[a-z]+\\\}")
# Of the API that a path belongs to where there is no route, so that its error has the right shape.
_LIKE: Final = (
    (re.compile(r"/messages\b"), Api.ANTHROPIC),
    (re.compile(r"/responses\b"), Api.RESPONSES),
    (re.compile(r"^/api/"), Api.OLLAMA),
)
# No dot at the start of a name, so that no `..` climbs out of the page's folder.
_FILE: Final = re.compile(r"(?:/[\w-][\w.-]*)+\.(\w+)", re.ASCII)
_FILE_PATH: Final = 200  # characters; the longest of llama.cpp b11549's page has 50


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One path that is answered, and how. `routes.toml` says what the fields mean."""

    path: str
    methods: tuple[str, ...]
    api: Api
    work: Work
    also: tuple[str, ...] = ()
    body: str = ""
    to: str = ""
    open: bool = False
    status: int = 0
    says: str = ""

    @property
    def engine_path(self) -> str:
        """The path at the engine."""
        return self.to or self.path

    def rest(self, path: str) -> str:
        """Return what a path has in the place of the route's last name in braces."""
        heads = [each.rpartition("{")[0] for each in (self.path, *self.also)]
        return next(path.removeprefix(head) for head in heads if path.startswith(head))


class _Table(msgspec.Struct, frozen=True):
    route: tuple[Route, ...]
    page_files: frozenset[str]


@cache
def _table() -> _Table:
    return msgspec.toml.decode(_TABLE.read_bytes(), type=_Table)


@cache
def routes() -> dict[str, Route]:
    """Return every route, by each of its paths."""
    return {path: route for route in _table().route for path in (route.path, *route.also)}


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], Route], ...]:
    """Return the routes whose path has a name in braces; at its end it may hold slashes."""
    found = []
    for path, route in routes().items():
        if "{" in path:
            head, _, last = re.escape(path).rpartition("/")
            last = _PLACEHOLDER.sub(".+", last)
            found.append((re.compile(f"{_PLACEHOLDER.sub('[^/]+', head)}/{last}"), route))
    return tuple(found)


def api_of(path: str, headers: Mapping[str, str] | None = None) -> Api:
    """Return the API whose shape an error at this path has, also where there is no route.

    A client that sends Anthropic's version speaks Anthropic's API, wherever it asks.
    """
    route = _route(path)
    api = route.api if route else next((it for like, it in _LIKE if like.search(path)), Api.OPENAI)
    return Api.ANTHROPIC if api is Api.OPENAI and "anthropic-version" in (headers or {}) else api


def find(method: str, path: str) -> Route:
    """Return the route of a request. Raises Refusal: 404 for the path, 405 for the method.

    Also what a route itself refuses, with its status and in its words.
    """
    route = _route(path)
    if route is None:
        raise Refusal(404, f"There is nothing at {path[:200]!r}. {_instead(path)}")
    if method not in route.methods:
        raise Refusal(405, f"{path} takes {' and '.join(route.methods)}, not {method[:20]}.")
    if route.work == "refuse":
        raise Refusal(route.status, route.says)
    return route


def _route(path: str) -> Route | None:
    if (route := routes().get(path)) is not None:
        return route
    found = (route for pattern, route in _patterns() if pattern.fullmatch(path))
    return next(found, None) or _page_file(path)


def _instead(path: str) -> str:
    """Return what somebody may have meant, such as /v1/messages by /v1/v1/messages."""
    offered = [each for each, route in routes().items() if "{" not in each and _is_api(route)]
    if near := difflib.get_close_matches(path[:200], offered, n=1, cutoff=0.75):
        return f"Is it {near[0]}?"
    return "The APIs are at /v1/chat/completions, /v1/responses, /v1/messages and /v1/models."


def _is_api(route: Route) -> bool:
    return route.work != "refuse"


def _page_file(path: str) -> Route | None:
    """Return the route of a file that the engine's web page may consist of, by its ending."""
    file = _FILE.fullmatch(path) if len(path) <= _FILE_PATH else None
    if file is None or file[1].lower() not in _table().page_files:
        return None
    return Route(path=path, methods=("GET", "HEAD"), api=Api.OPENAI, work="page", open=True)
