"""Replaces every picture of a request by one that the engine decodes."""

from runner.gateway.calls import Asked
from runner.gateway.settings import Settings


async def settle(asked: Asked, settings: Settings) -> None:
    """Replace the pictures of a request by data URLs of PNG or JPEG.

    Raises Refusal (400) for a picture that cannot be used, and says which and why.
    """
