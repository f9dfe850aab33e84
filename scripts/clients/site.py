"""What a check needs: the gateway, pictures, a tool; and how its outcome is told."""

import base64
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image, ImageDraw

WEATHER = "What is the weather in Paris?"
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris", "Oslo"]}},
    "required": ["city"],
}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": PARAMETERS,
    },
}
OTHER_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "The time in a city",
        "parameters": PARAMETERS,
    },
}
# A schema that even a model without sense fills within a few tokens.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"colour": {"type": "string", "enum": ["red", "blue"]}},
    "required": ["colour"],
    "additionalProperties": False,
}
SEEN_TOKENS = 100  # a picture costs a Step more than this


class NotOfferedError(Exception):
    """The gateway says in words that it does not offer this."""


@dataclass(frozen=True)
class Site:
    """The gateway under test. `key`: any text where it needs none."""

    url: str
    model: str
    key: str

    @property
    def v1(self) -> str:
        """The base URL of OpenAI's clients."""
        return f"{self.url}/v1"


Check = Callable[[Site], str | None]
CHECKS: list[Check] = []


def check(function: Check) -> Check:
    """Register a check; its docstring is the feature. It may return a note."""
    CHECKS.append(function)
    return function


def picture(kind: str = "PNG", colour: str = "red") -> bytes:
    """Return a picture of a circle."""
    image = Image.new("RGB", (224, 224), "white")
    ImageDraw.Draw(image).ellipse((40, 40, 184, 184), fill=colour)
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def in_base64(kind: str = "PNG") -> str:
    """Return a picture in base64."""
    return base64.b64encode(picture(kind)).decode()


def data_url(kind: str = "PNG") -> str:
    """Return a picture as a data URL."""
    return f"data:image/{kind.lower()};base64,{in_base64(kind)}"


@contextmanager
def hosted(data: bytes) -> Iterator[str]:
    """Serve a picture on the loopback address; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/picture.png"
    finally:
        server.shutdown()
        server.server_close()


def refused(ask: Callable[[], object]) -> None:
    """Ask for something that is not offered; the refusal has to say so in words.

    Raises NotOfferedError with the words, AssertionError for an answer or a fault.
    """
    try:
        ask()
    except Exception as error:
        status = getattr(error, "status_code", None)
        words = str(error)
        if status in {400, 404, 405, 501} and len(words) > 20:
            raise NotOfferedError(words) from error
        raise
    raise AssertionError("It was answered, as if it had been done.")
