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
Work = Literal["generate", "count", "engine", "own", "refuse"]
_PLACEHOLDER: Final = re.compile(r"\\\{[a-z]+\\\}")
# Of the API that a path belongs to where there is no route, so that its error has the right shape.
_LIKE: Final = (
    (re.compile(r"/messages\b"), Api.ANTHROPIC),
    (re.compile(r"/responses\b"), Api.RESPONSES),
    (re.compile(r"^/api/"), Api.OLLAMA),
)


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


@cache
def routes() -> dict[str, Route]:
    """Return every route, by each of its paths."""
    table = msgspec.toml.decode(_TABLE.read_bytes(), type=_Table)
    return {path: route for route in table.route for path in (route.path, *route.also)}


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
    return next((route for pattern, route in _patterns() if pattern.fullmatch(path)), None)


def _instead(path: str) -> str:
    """Return what somebody may have meant, such as /v1/messages by /v1/v1/messages."""
    offered = [each for each, route in routes().items() if "{" not in each and _is_api(route)]
    if near := difflib.get_close_matches(path[:200], offered, n=1, cutoff=0.75):
        return f"Is it {near[0]}?"
    return "The APIs are at /v1/chat/completions, /v1/responses, /v1/messages and /v1/models."


def _is_api(route: Route) -> bool:
    return route.work != "refuse"
