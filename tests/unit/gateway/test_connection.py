"""What is not HTTP, slow clients, and more connections than there is room for."""

import asyncio
import json
from contextlib import AsyncExitStack

import pytest

from runner.gateway.clients import connection, intake, listener
from runner.gateway.clients.intake import Intake
from runner.gateway.refusal import Refusal
from tests.fakes.plain_engine import Guarded, guarded, parsed

HOST = "Host: localhost\r\n"
JSON = "Content-Type: application/json\r\n"
CHAT = b'{"messages":[{"role":"user","content":"Hi"}]}'


def post(headers: str, body: str = "", version: str = "1.1") -> bytes:
    head = f"POST /v1/chat/completions HTTP/{version}\r\n{HOST}{JSON}{headers}"
    return f"{head}Connection: close\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),  # TLS to a plain port
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/1.0\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n", 200),
        (b"GET http://localhost/health HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET http://evil.example/health HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 400),
        (b"TRACE /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 405),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nA\x00: b\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n folded\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nA : b\r\n\r\n", 400),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 101 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: %b\r\n" % (b"b" * 9000) * 9, 431),
        # Request smuggling: two readers of one connection must not disagree.
        (post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400),
        (post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), 400),
        (post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), 400),
        (post("Content-Length: 4\r\nContent-Length: 5\r\n", "abcde"), 400),
        (post("Content-Length: +4\r\n", "abcd"), 400),
        (post("Content-Length: -1\r\n"), 400),
        (post("Content-Length: 0x4\r\n", "abcd"), 400),
        (post("Content-Length: 99999999999999999999999\r\n", "abcd"), 400),
        (post("Transfer-Encoding: chunked\r\n", "zz\r\n"), 400),
        (post("Transfer-Encoding: chunked\r\n", "-1\r\nx\r\n0\r\n\r\n"), 400),
        (post("Content-Length: 999999999\r\n"), 413),
        (post("Content-Length: 4\r\nExpect: miracles\r\n", "null"), 417),
    ],
    ids=lambda value: repr(value)[:70],
)
async def test_requests_that_are_none(
    data: bytes, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    async with guarded() as gateway:
        got, headers, body = await gateway.answer(data)
        assert got == status, body
        if status >= 400:
            assert headers["content-type"].startswith("application/json")
            assert json.loads(body)["error"]["message"].endswith(".")
        assert gateway.asked == []
        assert (await gateway.ask("GET", "/health"))[0] == 200
    assert "Traceback" not in capfd.readouterr().err


async def test_a_body_waits_for_100_continue_and_a_refused_one_is_not_sent() -> None:
    async with guarded() as gateway:
        for headers, wanted in (("", b"100 Continue"), ("Origin: null\r\n", b"403 ")):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            size = f"Content-Length: {len(CHAT)}\r\n"
            writer.write(post(f"{headers}{size}Expect: 100-continue\r\n"))
            assert wanted in await reader.readline()
            if not headers:
                await reader.readline()
                writer.write(CHAT)
                assert b"200 OK" in await reader.readline()
            writer.close()


async def test_requests_may_follow_each_other_without_a_pause() -> None:
    async with guarded() as gateway:
        one = f"GET /health HTTP/1.1\r\n{HOST}\r\n".encode()
        last = f"GET /health HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n".encode()
        data = await gateway.raw(one * 50 + last)
        assert data.count(b"HTTP/1.1 200 OK") == 51


async def test_half_a_head_is_answered_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.05)
    async with guarded() as gateway:
        assert parsed(await gateway.raw(b"GET /health HTTP/1.1\r\nHo"))[0] == 408
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(f"GET /health HTTP/1.1\r\n{HOST}\r\n".encode())
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.1)  # between two requests there is more time
        writer.write(b"GET /he")
        assert b"408 Request Timeout" in await reader.read()
        writer.close()


async def test_an_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_S", 0.05)
    async with guarded() as gateway:
        assert await gateway.raw(b"") == b""


async def test_a_body_has_to_keep_moving() -> None:
    async with guarded() as gateway:
        gateway.service.intake = Intake(grace_s=0.05)
        status, _, body = await gateway.answer(post("Content-Length: 20\r\n", '{"a"'))
        assert (status, gateway.asked) == (408, [])
        assert b"in time" in body


async def test_a_client_that_takes_no_answer_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "STALL_S", 0.05)
    dropped = asyncio.Event()
    real = connection.Connection.connection_lost

    def lost(self: connection.Connection, error: BaseException | None) -> None:
        dropped.set()
        real(self, error)

    monkeypatch.setattr(connection.Connection, "connection_lost", lost)
    async with guarded(body=b"x" * (32 << 20)) as gateway:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1)
        writer.write(f"GET /props HTTP/1.1\r\n{HOST}\r\n".encode())
        await asyncio.wait_for(dropped.wait(), 30)
        writer.close()
        assert (await gateway.ask("GET", "/health"))[0] == 200


@pytest.mark.parametrize(
    "sent", [b"", b"GET /health HTTP/1.1\r\nHo", post("Content-Length: 20\r\n", '{"a"')]
)
async def test_slow_clients_keep_nobody_out(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_connections", lambda: 8)
    async with guarded() as gateway, AsyncExitStack() as slow:
        for _ in range(20):
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            slow.callback(writer.close)
            writer.write(sent)
        for _ in range(20):
            assert (await gateway.ask("GET", "/health"))[0] == 200


async def test_who_is_being_answered_is_not_dropped_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listener, "_connections", lambda: 4)
    async with guarded() as gateway, gateway.service.turns.turn("x"):  # the only one there is
        waiting = [asyncio.create_task(_chat(gateway)) for _ in range(4)]
        running = gateway.service.activity.running
        while [entry.stage for entry in running.values()] != ["waiting"] * 4:
            ended, _ = await asyncio.wait(waiting, timeout=0.01)
            assert not ended, [each.exception() or each.result() for each in ended]
        assert (await gateway.ask("GET", "/health"))[0] == 503
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _chat(gateway: Guarded) -> bytes:
    return await gateway.raw(post(f"Content-Length: {len(CHAT)}\r\n", CHAT.decode()), wait_s=60)


async def test_bodies_are_bounded_in_all_and_in_values() -> None:
    async with guarded() as gateway:
        gateway.service.intake = Intake(held_bytes=100)
        long = b'{"prompt":"' + b"a" * 200 + b'"}'
        status, headers, _ = await gateway.ask("POST", "/v1/completions", long)
        assert (status, headers["retry-after"]) == (503, "5")
        for _ in range(5):  # what was held is let go
            assert (await gateway.ask("POST", "/v1/chat/completions", CHAT))[0] == 200
        gateway.service.intake = Intake()
        many = b'{"prompt":[' + b"0," * intake.VALUES + b"0]}"
        assert (await gateway.ask("POST", "/v1/completions", many))[0] == 413


async def test_a_fault_of_the_gateway_is_answered_in_words_and_leaves_no_trace_on_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fault(*_: object) -> None:
        raise ZeroDivisionError("a prompt")

    monkeypatch.setattr("runner.gateway.bodies.read", fault)
    async with guarded() as gateway:
        status, _, body = await gateway.ask("POST", "/v1/messages", CHAT)
        assert status == 500
        assert json.loads(body)["type"] == "error"
    assert "Traceback" not in capfd.readouterr().err


async def test_large_bodies_are_parsed_one_at_a_time() -> None:
    at_once: list[int] = []
    inside = 0

    def parser() -> None:
        nonlocal inside
        inside += 1
        at_once.append(inside)
        inside -= 1

    takes = Intake()
    data = b" " * (1 << 20)
    await asyncio.gather(*(takes.parse(data, parser) for _ in range(4)))
    assert at_once == [1] * 4


async def test_networks_have_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_connections", lambda: 16)
    monkeypatch.setattr(connection, "network_of", lambda _: "203.0.113.7")
    async with guarded() as gateway, AsyncExitStack() as slow:
        for _ in range(10):
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            slow.callback(writer.close)
        assert (await gateway.ask("GET", "/health"))[0] == 200


async def test_the_client_that_is_silent_for_longest_makes_room_for_one_of_another_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No network has more than its share, and all of them together have all there is."""
    accepted: list[str] = []

    def network_of(_: str) -> str:
        accepted.append(f"203.0.113.{len(accepted)}")
        return accepted[-1]

    monkeypatch.setattr(listener, "_connections", lambda: 8)
    monkeypatch.setattr(connection, "network_of", network_of)
    async with guarded() as gateway, AsyncExitStack() as slow:
        readers = []
        for number in range(8):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            slow.callback(writer.close)
            readers.append(reader)
            while len(accepted) <= number:  # the next one is younger
                await asyncio.sleep(0.01)
        assert (await gateway.ask("GET", "/health"))[0] == 200
        assert await asyncio.wait_for(readers[0].read(), 10) == b""
        assert not any(reader.at_eof() for reader in readers[1:])


def test_refusals_of_the_intake_are_refusals() -> None:
    takes = Intake(held_bytes=1)
    with takes.room() as room, pytest.raises(Refusal):
        room.take(2)
    with takes.room() as room:
        room.take(1)
