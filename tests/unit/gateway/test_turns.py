"""Waiting is fair by client, bounded, and left at once by who hangs up."""

import asyncio
import sys

import pytest

from runner.gateway.engine.relay import stopping
from runner.gateway.engine.turns import FIRST_GUESS_S, LONGEST_RETRY_S, Turns
from runner.gateway.refusal import Refusal
from tests.fakes.kept_engine import FakeEngines
from tests.unit.gateway.conftest import BODY, Open


class Queue:
    """Clients who take turns; `order` is who was served."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.order: list[str] = []
        self.step = asyncio.Semaphore(0)

    async def one(self, name: str) -> None:
        async with self.turns.turn(name.rstrip("0123456789")):
            self.order.append(name)
            await self.step.acquire()

    def come(self, *names: str) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.one(name)) for name in names]

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    async def play(self, *tasks: asyncio.Task[None]) -> str:
        for _ in tasks:
            await self.settle()
            self.step.release()
        await asyncio.gather(*tasks)
        return " ".join(self.order)


@pytest.mark.parametrize(
    ("come", "served"),
    [
        (["a1", "a2", "a3"], "a1 a2 a3"),
        (["a1", "a2", "a3", "b1", "b2", "c1"], "a1 b1 c1 a2 b2 a3"),
        (["a1", "b1", "b2", "b3", "a2"], "a1 b1 a2 b2 b3"),
    ],
)
async def test_the_order_is_fair_by_client(come: list[str], served: str) -> None:
    queue = Queue(Turns(1))
    assert await queue.play(*queue.come(*come)) == served


async def test_one_who_comes_later_does_not_wait_for_all_of_another() -> None:
    queue = Queue(Turns(2))
    many = queue.come(*(f"a{number}" for number in range(10)))
    await queue.settle()
    assert queue.order == ["a0", "a1"], "as many at once as there are places"
    late = queue.come("b1")
    assert (await queue.play(*many, *late)).split().index("b1") == 2


async def test_who_hangs_up_while_waiting_is_forgotten_at_once() -> None:
    turns = Turns(1)
    queue = Queue(turns)
    first, second, third = queue.come("a1", "b1", "c1")
    await queue.settle()
    assert turns.waiting == 2
    second.cancel()
    await queue.settle()
    assert turns.waiting == 1
    assert await queue.play(first, third) == "a1 c1"
    assert turns.waiting == 0
    assert not turns._served, "nothing is kept of clients that are gone"


async def test_a_turn_given_to_one_who_has_just_left_goes_to_the_next() -> None:
    queue = Queue(Turns(1))
    first = queue.turns.turn("a")
    await first.__aenter__()
    second, third = queue.come("b1", "c1")
    await queue.settle()
    await first.__aexit__(None, None, None)  # the turn is b's now, who has not run yet
    second.cancel()
    assert await queue.play(third) == "c1"


async def test_the_queue_is_bounded_for_all_and_for_one() -> None:
    turns = Turns(1, waiting=3, of_one=2)
    queue = Queue(turns)
    tasks = queue.come("a1", "a2", "a3", "a4", "b1", "b2")
    await queue.settle()
    for task in (tasks[3], tasks[5]):
        with pytest.raises(Refusal, match="waiting already") as caught:
            await task
        assert caught.value.status == 503
        assert caught.value.retry_after_s >= round(FIRST_GUESS_S)
    assert await queue.play(*tasks[:3], tasks[4]) == "a1 b1 a2 a3"


async def test_the_estimate_grows_with_the_queue_and_stays_one_that_clients_heed() -> None:
    turns = Turns(1)
    queue = Queue(turns)
    tasks = queue.come(*(f"a{number}" for number in range(4)))
    before = turns.retry_after_s()
    await queue.settle()
    assert before < turns.retry_after_s() == round(4 * FIRST_GUESS_S)
    more = queue.come(*(f"b{number}" for number in range(50)))
    await queue.settle()
    assert turns.retry_after_s() == LONGEST_RETRY_S
    for task in (*tasks, *more):
        task.cancel()
    await asyncio.gather(*tasks, *more, return_exceptions=True)
    assert turns.waiting == 0


async def test_a_stop_refuses_all_who_wait() -> None:
    queue = Queue(Turns(1))
    first, second = queue.come("a1", "b1")
    await queue.settle()
    queue.turns.close(stopping)
    with pytest.raises(Refusal, match="stopped"):
        await second
    with pytest.raises(Refusal, match="stopped"):
        await queue.one("c1")
    assert await queue.play(first) == "a1"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the loopback has one address")
async def test_turns_are_given_again_when_nothing_holds_them_any_more() -> None:
    turns = Turns(1)
    queue = Queue(turns)
    for why in ("memory", "trouble"):
        turns.hold(held=True, by=why)
    task = queue.come("a")[0]
    turns.hold(held=False, by="memory")
    await queue.settle()
    assert queue.order == []
    turns.hold(held=False, by="trouble")
    assert await queue.play(task) == "a"


async def test_clients_take_turns_over_http(gateway: Open, engines: FakeEngines) -> None:
    """Two keys would be two clients; two addresses of the loopback are, too."""
    import aiohttp
    from aiohttp import web

    go = asyncio.Event()

    async def waits(request: web.BaseRequest, asked: object) -> web.StreamResponse:
        await go.wait()
        return web.json_response({})

    engines.answer = waits
    async with gateway(parallel=1) as running:

        async def ask(name: str, address: str) -> None:
            to = aiohttp.TCPConnector(local_addr=(address, 0))
            async with aiohttp.ClientSession(connector=to) as http:
                body = {**BODY, "user": name}
                await http.post(f"{running.url}/v1/chat/completions", json=body)

        asked = []
        for name, address in (("a1", "127.0.0.1"), ("a2", "127.0.0.1"), ("b1", "127.0.0.2")):
            asked.append(asyncio.create_task(ask(name, address)))
            await asyncio.sleep(0.05)
        go.set()
        await asyncio.gather(*asked)
    assert [body["user"] for _, body in engines.asked] == ["a1", "b1", "a2"]
