"""What the first request does not wait for."""

from runner.gateway.bodies.fields import unmet_fields
from runner.gateway.prompts.changing import changing
from runner.gateway.routes import routes
from tests.unit.gateway.conftest import Open


async def test_the_tables_are_read_before_the_gateway_listens(gateway: Open) -> None:
    for table in (routes, unmet_fields, changing):
        table.cache_clear()
    async with gateway():
        assert [table.cache_info().currsize for table in (routes, unmet_fields, changing)] == [
            1
        ] * 3
