"""The gateway's tables, read while the engine loads: the first request does not wait for them."""

from runner.gateway.bodies.fields import unmet_fields
from runner.gateway.prompts.changing import changing
from runner.gateway.routes import routes


def read_tables() -> None:
    """Read them all. Blocks, for some 8 ms: call it in a thread."""
    for table in (routes, unmet_fields, changing):
        table()
