"""Reads the body of a request: what is wrong with it, and what the engine is to be asked. Pure."""

from runner.gateway.bodies.long_words import refuse_long_text, refuse_long_words
from runner.gateway.bodies.read import Terms, read

__all__ = ["Terms", "read", "refuse_long_text", "refuse_long_words"]
