"""What a body must look like, by reader: only what the engine would misread. Other fields pass."""

from typing import Final

import msgspec

from runner.gateway.bodies.shapes.chat import ChatBody, CompletionBody
from runner.gateway.bodies.shapes.messages import MessagesBody
from runner.gateway.bodies.shapes.native import DetokenizeBody, InfillBody, TokenizeBody
from runner.gateway.bodies.shapes.responses import ResponsesBody

SHAPES: Final[dict[str, type[msgspec.Struct]]] = {
    "chat": ChatBody,
    "completions": CompletionBody,
    "native": CompletionBody,
    "responses": ResponsesBody,
    "messages": MessagesBody,
    "tokenize": TokenizeBody,
    "detokenize": DetokenizeBody,
    "infill": InfillBody,
}

__all__ = ["SHAPES"]
