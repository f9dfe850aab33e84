"""The one HTTP client: where a token may go, what bounds an answer, when to try again, proxies."""

import gzip
import sys
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from runner.base.errors import BadFile, Refused, SteprunError
from runner.base.progress import Phase
from runner.chat import client
from runner.net import http, transfer
from runner.net.endpoint import Endpoint
from runner.net.http import Client, HttpStatus, Mismatch, get_body
from runner.net.retry import Patience, Transient, retry
from tests.fakes.hub import FakeHub, Manner
from tests.fakes.releases import FakeReleases
from tests.fakes.socks import FakeSocks

QUICK = Patience(tries=3, pause_s=0.01, wait_s=1)
SECRET = {"Authorization": "Bearer secret"}
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def server():
    with FakeHub({"a.json": b"[1]", "big": b"x" * 3_000_000}) as made:
        yield made


def get(
    url: str, most: int = 1000, patience: Patience = QUICK, total_s: float = 30, **more
) -> bytes:
    return get_body(url, most_bytes=most, total_s=total_s, patience=patience, **more)


# --- headers by the address


def test_no_other_server_sees_a_header_that_is_for_one(server):
    with FakeHub({"there": b"[2]"}) as other:

        def headers(url: str) -> Mapping[str, str]:
            return SECRET if url.startswith(server.url) else {}

        server.manners["a.json"] = Manner(redirect=f"{other.url}/hop")
        other.manners["hop"] = Manner(redirect=f"{server.url}/back")
        server.manners["back"] = Manner(redirect=f"{other.url}/there")
        assert get(f"{server.url}/a.json", headers=headers) == b"[2]"
        assert [asked.token for asked in server.asked] == ["secret"] * 2
        assert [asked.path for asked in other.asked] == ["/hop", "/there"]
        assert not any("Authorization" in asked.headers for asked in other.asked)


def test_a_redirect_that_leaves_the_server_may_be_the_answer(server):
    sender = Client(QUICK)
    server.manners["a.json"] = Manner(redirect="https://elsewhere.example/x")
    server.manners["first"] = Manner(redirect="/a.json")
    answer = sender.send(f"{server.url}/first", method="HEAD", leave_origin=False)
    sender.close()
    assert answer.status_code == 302
    assert [(asked.method, asked.path) for asked in server.asked] == [
        ("HEAD", "/first"),
        ("HEAD", "/a.json"),
    ]


def test_a_link_that_has_expired_is_requested_anew(server):
    with FakeHub({"there": b"[2]"}) as other:
        server.manners["a.json"] = Manner(redirect=f"{other.url}/there")
        other.turns["there"] = [Manner(status=403), Manner()]
        assert get(f"{server.url}/a.json") == b"[2]"
        assert len(server.asked) == 2


# --- bounds


def test_an_answer_that_is_too_long_is_not_read_to_its_end(server):
    assert len(get(f"{server.url}/big", most=3_000_000)) == 3_000_000
    with FakeHub({"endless": b"x" * (64 << 20)}) as endless:
        with pytest.raises(Mismatch, match="more than 1 MiB"):
            get(f"{endless.url}/endless", most=1 << 20)
        assert endless.body_bytes < 32 << 20  # what lay in the sockets' buffers


def test_what_is_unpacked_counts(server, monkeypatch):
    bomb = gzip.compress(bytes(8 << 20))
    with FakeReleases({}) as packed:
        packed.list_body = bomb
        real = packed.answer

        def answer(to):
            send = to.send_header
            to.send_header = lambda key, value: (
                send(key, value),
                key == "Content-Type" and send("Content-Encoding", "gzip"),
            )
            real(to)

        monkeypatch.setattr(packed, "answer", answer)
        with pytest.raises(Mismatch, match="more than 1 MiB"):
            get(f"{packed.url}/repos/o/r/releases", most=1 << 20)
        assert len(get(f"{packed.url}/repos/o/r/releases", most=8 << 20)) == 8 << 20


@pytest.mark.parametrize("manner", [Manner(drip_s=0.05), Manner(drip_headers_s=0.05)])
def test_all_tries_together_have_a_limit(server, manner):
    server.manner = manner
    began = time.monotonic()
    with pytest.raises(Transient, match=r"more than 0\.4 seconds in all"):
        get(f"{server.url}/big", most=1 << 30, total_s=0.4)
    assert time.monotonic() - began < 20


def test_json_is_json(server):
    assert http.parse_json(get(f"{server.url}/a.json")) == [1]
    for data in (b"", b"{", b"[" * 200_000, b"\xff"):
        with pytest.raises(Mismatch, match="not JSON"):
            http.parse_json(data)
    server.manner = Manner(page=True)
    with pytest.raises(Mismatch, match="web page"):
        get(f"{server.url}/a.json")


# --- statuses


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_what_may_pass_is_tried_again(server, status):
    server.turns["a.json"] = [Manner(status=status), Manner(status=status), Manner()]
    assert get(f"{server.url}/a.json") == b"[1]"
    server.turns["a.json"] = [Manner(status=status, headers=(("Retry-After", "90"),)), Manner()]
    before = len(server.asked)
    with pytest.raises(Transient, match=f"status {status}") as caught:
        get(f"{server.url}/a.json")
    assert "wait for 90 seconds" in caught.value.why
    assert len(server.asked) == before + 1


@pytest.mark.parametrize("status", [204, 304, 400, 401, 403, 404, 410, 416, 451])
def test_what_will_not_pass_is_asked_once(server, status):
    server.manner = Manner(status=status)
    with pytest.raises(HttpStatus, match=str(status)):
        get(f"{server.url}/a.json")
    assert len(server.asked) == 1


def advice(**changed) -> http.ErrorAdvice:
    words = ("what", "odd", "denied", "missing", "mismatch", "redirect", "otherwise")
    return http.ErrorAdvice(**({word: word for word in words} | changed))


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, Refused, "denies access"),
        (403, Refused, "denies access"),
        (404, SteprunError, "no such file"),
        (410, SteprunError, "no such file"),
        (416, BadFile, "shorter"),
        (418, SteprunError, "status 418"),
    ],
)
def test_a_status_has_one_meaning(status, kind, words):
    with pytest.raises(kind) as caught, http.errors_for(advice()):
        raise HttpStatus(status, {})
    assert type(caught.value) is kind
    assert words in caught.value.why


def test_every_failure_becomes_an_error_with_advice():
    found = {}
    for failure in (
        Mismatch("m"),
        Transient("t", 5),
        Transient("b", final=BadFile),
        http.RedirectRefused("r"),
        HttpStatus(404, {"x-error-code": "RevisionNotFound"}),
        HttpStatus(401, {"x-error-code": "RepoNotFound"}),
    ):
        with pytest.raises(SteprunError) as caught, http.errors_for(advice()):
            raise failure
        found[str(failure)] = (caught.value.what, caught.value.why, caught.value.next)
    assert found["m"] == ("odd", "m", "mismatch")
    assert found["t"] == ("what", "t It asks to wait for 5 seconds.", "otherwise")
    assert found["b"] == ("odd", "b", "mismatch")
    assert found["r"] == ("what", "r", "redirect")
    assert "no such revision" in found["status 404"][1]
    assert "may not exist" in found["status 401"][1]


def test_a_pause_doubles_up_to_a_limit(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)

    def once() -> None:
        raise Transient("no")

    with pytest.raises(Transient):
        retry(Patience(tries=6, pause_s=1, most_pause_s=5), once)
    assert slept == [1, 2, 4, 5, 5]


# --- the watch, with a clock of the test's own


def watched(patience: Patience):
    fetch: Any = SimpleNamespace(
        attempt=1, opening=False, phase=Phase.DOWNLOADING, patience=patience, got=0, ended=[]
    )
    fetch.moved, fetch.interrupt = lambda: fetch.got, fetch.ended.append
    fetch.given_up = SteprunError
    return fetch, transfer._Watch(fetch)


def test_a_server_that_sends_almost_nothing_is_ended_after_its_window():
    now = 0.0
    fetch, watch = watched(Patience(slow_s=60, slow_bytes=1000, clock=lambda: now))
    watch.look()
    now = 60.0
    watch.look()
    assert fetch.ended == []
    fetch.got, now = 1000, 61.0
    watch.look()  # enough in this window
    fetch.got, now = 1999, 122.0
    assert fetch.ended == []
    watch.look()  # a byte too few in that one
    assert fetch.ended == ["It sends almost nothing."]


def test_a_server_that_does_not_answer_is_ended_and_then_given_up():
    now = 0.0
    fetch, watch = watched(Patience(head_s=30, clock=lambda: now))
    fetch.opening, fetch.phase = True, Phase.CHECKING
    watch.look()
    now = 30.0
    watch.look()
    assert fetch.ended == []
    now = 31.0
    watch.look()
    assert fetch.ended == ["No answer within 30 seconds."]
    fetch.attempt = 2  # another try has all the time again
    watch.look()
    now = 62.0
    watch.look()
    now = 332.0
    with pytest.raises(SteprunError, match="No answer"):
        watch.look()


# --- proxies


def test_no_proxy_stands_between_this_machine_and_itself(server, monkeypatch):
    for name in PROXIES[:3]:
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert get(f"{server.url}/a.json") == b"[1]"
    with pytest.raises(Transient, match="connection failed"):
        get("http://hub.example/a.json")


def test_a_redirect_from_this_machine_goes_through_the_proxy(server, monkeypatch):
    with FakeSocks(server.url) as socks:
        monkeypatch.setenv("ALL_PROXY", socks.url)
        server.manners["first"] = Manner(redirect="http://cdn.example/a.json")
        assert get(f"{server.url}/first") == b"[1]"
        assert socks.asked == ["cdn.example"]


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_works(server, monkeypatch, scheme):
    with FakeSocks(server.url) as socks:
        monkeypatch.setenv("ALL_PROXY", socks.url.replace("socks5h", scheme))
        assert get("http://hub.example/a.json") == b"[1]"
        assert socks.asked == ["hub.example"]
        assert server.asked[0].headers["Host"] == "hub.example"


def test_missing_socks_support_is_named(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(SteprunError, match="No connection") as caught:
        get("http://hub.example/a.json")
    assert "socksio" in caught.value.why
    assert caught.value.next.endswith("-m pip install socksio")
    assert get(f"{server.url}/a.json") == b"[1]", "this machine needs no proxy"


def test_a_proxy_of_an_unknown_kind_is_named(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:9")  # as some desktops set it
    with pytest.raises(SteprunError, match="No connection") as caught:
        get("http://hub.example/a.json")
    assert "socks://" in caught.value.why
    assert "socks5h://" in caught.value.next


async def test_a_chat_elsewhere_names_the_proxy(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:9")
    with pytest.raises(SteprunError, match="No connection"):
        await client.identify(Endpoint("http://192.0.2.1:8080"))
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(SteprunError, match="No server answers") as caught:
        await client.identify(Endpoint("http://192.0.2.1:8080"))
    assert "ALL_PROXY" in caught.value.next


def test_certificates_are_read_once_and_for_encrypted_servers_only(monkeypatch):
    reads: list[str] = []
    real = httpx2.create_ssl_context

    def create() -> Any:
        reads.append("read")
        return real()

    monkeypatch.setattr(httpx2, "create_ssl_context", create)
    http._trusted.cache_clear()
    timeout = httpx2.Timeout(1)
    for _ in range(3):
        http.async_client(timeout, Endpoint("http://127.0.0.1:1"))
    assert not reads
    for place in ("https://127.0.0.1:1", "https://example.org", "http://example.org"):
        http.async_client(timeout, Endpoint(place))
    assert len(reads) == 1
    monkeypatch.setenv("SSL_CERT_DIR", "/nowhere")
    http.async_client(timeout, Endpoint("https://example.org"))
    assert len(reads) == 2
    http._trusted.cache_clear()
