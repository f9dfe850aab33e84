"""Reads the body of a request: what is wrong with it, and what the engine is to be asked. Pure."""

from runner.gateway.bodies.read import read

__all__ = ["read"]
