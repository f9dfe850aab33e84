"""What is asked for beside HTTP itself. Pure."""

from collections.abc import Mapping

from runner.gateway.refusal import Refusal


def refuse_websocket(headers: Mapping[str, str]) -> None:
    """Raise Refusal (426) where a client wants a WebSocket.

    Codex tries one first (`openai-beta: responses_websockets`). After 426 it sends the request by
    POST at once; after 404 or 405 only when it has tried seven times, 8 s later (Codex 0.171.0).
    """
    if headers.get("Upgrade", "").strip().lower() == "websocket":
        raise Refusal(426, "This server has no WebSockets. Send the request with POST.")
