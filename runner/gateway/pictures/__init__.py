"""Pictures in a request: found in the body, downloaded where they are addresses, converted."""

from runner.gateway.pictures.settle import Pictures

__all__ = ["Pictures"]
