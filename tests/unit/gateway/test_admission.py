"""Who may ask: names, origins, pages of other sites, kinds of bodies, and keys."""

import json

import pytest

from runner.gateway.admission import Rules
from runner.gateway.admission.hosts import Hosts, host_name
from runner.gateway.admission.origins import Origins, origin_of
from runner.gateway.refusal import Refusal
from tests.fakes.plain_engine import guarded

CHAT = b'{"messages":[{"role":"user","content":"Hi"}]}'
CHAT_PATH = "/v1/chat/completions"
KEY = "a-key-of-the-tests-1"


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST:1", "localhost.:80", "steprun.localhost:8080"),
        *("127.0.0.1", "127.9.9.9:8080", "[::1]:8080", "[::1]", "192.168.7.7:8080", "1.2.3.4"),
        *("host.docker.internal:8080", "llm.example.org", "LLM.example.org:443"),
    ],
)
def test_names_of_this_machine_are_answered(host: str) -> None:
    Hosts(frozenset({"llm.example.org"})).check({"Host": host})


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((each, 403) for each in ("evil.example", "evil.example:8080", "localhost.evil.example")),
        *((each, 403) for each in ("127.0.0.1.evil.example", "0x7f000001", "2130706433", "127.1")),
        *((each, 400) for each in ("", "a b", "a/b", "u@localhost", "[::1", "localhost:x", ".")),
        *((each, 400) for each in ("localhost, evil.example", "\udce9", "a" * 300)),
    ],
)
def test_other_names_are_refused(host: str, status: int) -> None:
    with pytest.raises(Refusal) as refusal:
        Hosts().check({"Host": host})
    assert refusal.value.status == status


def test_a_foreign_name_is_told_which_option_allows_it() -> None:
    with pytest.raises(Refusal, match=r"steprun serve --allow-host llm\.example\.org$"):
        Hosts().check({"Host": "llm.example.org:8080"})


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://127.0.0.1", "https://127.0.0.1"),
        ("http://[::1]:5173", "http://[::1]:5173"),
        ("https://ok.example", "https://ok.example"),
        ("http://llm.lan:8080", ""),  # the gateway's own page
    ],
)
def test_allowed_origins(origin: str, allowed: str) -> None:
    origins = Origins(frozenset({"https://ok.example"}))
    headers = origins.check({"Origin": origin}, "llm.lan:8080")
    assert headers.get("Access-Control-Allow-Origin", "") == allowed
    assert headers["Vary"] == "Origin"


@pytest.mark.parametrize(
    "origin",
    [
        *("null", "", "http://evil.example", "https://ok.example:444", "http://ok.example", "x"),
        *("http://localhost.evil.example", "http://127.0.0.1.evil.example", "file://"),
        *("http://llm.lan", "http://llm.lan:8080.evil.example", "ftp://localhost", "\udce9"),
    ],
)
def test_other_origins_are_refused(origin: str) -> None:
    with pytest.raises(Refusal) as refusal:
        Origins(frozenset({"https://ok.example"})).check({"Origin": origin}, "llm.lan:8080")
    assert refusal.value.status == 403


def test_what_is_typed_for_origins_and_names() -> None:
    assert origin_of("https://Chat.example.org/") == "https://chat.example.org"
    assert origin_of("https://chat.example.org:443") == "https://chat.example.org"
    assert origin_of("http://[::1]:3000") == "http://[::1]:3000"
    assert origin_of("chrome-extension://abc") == "chrome-extension://abc"
    assert [origin_of(each) for each in ("*", "example.org", "http://a/b", "http://a:b")] == [
        None
    ] * 4
    assert host_name("LLM.example.org.:80") == "llm.example.org"
    assert host_name("*") is None


async def test_a_foreign_page_reaches_nothing() -> None:
    async with guarded() as gateway:
        for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}):
            status, answer, body = await gateway.ask("POST", CHAT_PATH, CHAT, **headers)
            assert status == 403
            assert "access-control-allow-origin" not in answer
            assert "--allow-origin" in json.loads(body)["error"]["message"]
        status, _, _ = await gateway.ask(
            "POST", CHAT_PATH, CHAT, Host="evil.example", Origin="http://evil.example"
        )
        assert status == 403
        assert gateway.asked == []


async def test_a_page_of_this_machine_may_ask_and_read() -> None:
    origin = "http://localhost:5173"
    async with guarded(Rules({"a": KEY})) as gateway:
        status, headers, body = await gateway.ask(
            "OPTIONS",
            "/v1/chat/completions",
            Origin=origin,
            Access_Control_Request_Method="POST",
            Access_Control_Request_Headers="authorization, content-type",
            Access_Control_Request_Private_Network="true",
        )
        assert (status, body) == (204, b"")
        assert headers["access-control-allow-origin"] == origin
        assert headers["access-control-allow-headers"] == "authorization, content-type"
        assert headers["access-control-allow-private-network"] == "true"
        for key, wanted in ((KEY, 200), ("", 401)):
            status, headers, _ = await gateway.ask(
                "POST", CHAT_PATH, CHAT, Origin=origin, x_api_key=key
            )
            assert status == wanted
            assert headers["access-control-allow-origin"] == origin
            assert headers["vary"] == "Origin"
        foreign = {"Origin": "http://evil.example", "Access_Control_Request_Method": "POST"}
        assert (await gateway.ask("OPTIONS", CHAT_PATH, b"", **foreign))[0] == 403


@pytest.mark.parametrize(
    ("path", "mode", "dest", "status"),
    [
        ("/", "navigate", "document", 200),  # a link to the web page
        ("/", "navigate", "iframe", 403),
        ("/v1/models", "no-cors", "image", 403),
        ("/v1/models", "navigate", "document", 403),
        ("/health", "no-cors", "script", 403),
    ],
)
async def test_what_another_sites_page_can_load(
    path: str, mode: str, dest: str, status: int
) -> None:
    async with guarded() as gateway:
        for site, wanted in (("cross-site", status), ("same-site", status), ("same-origin", 200)):
            fetch = {"Sec_Fetch_Site": site, "Sec_Fetch_Mode": mode, "Sec_Fetch_Dest": dest}
            got, headers, _ = await gateway.ask("GET", path, b"", **fetch)
            assert got == wanted, site
            assert headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content_Type": "application/json"}, 200),
        ({"Content_Type": "Application/JSON; charset=UTF-8"}, 200),
        ({"Content_Type": "application/json; charset=utf-16"}, 415),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Type": "multipart/form-data; boundary=x"}, 415),
        ({"Content_Type": "text/plain; application/json"}, 415),
        ({"Content_Type": "", "Origin": "http://localhost:3000"}, 415),
        ({"Content_Type": "", "origin": "http://localhost:3000"}, 415),
        ({"Content_Type": "", "Sec_Fetch_Site": "same-origin"}, 415),
        ({"Content_Type": ""}, 200),
        ({"Content_Encoding": "gzip"}, 415),
        ({"Content_Encoding": "identity"}, 200),
    ],
)
async def test_bodies_are_json_and_say_so(headers: dict[str, str], status: int) -> None:
    async with guarded() as gateway:
        got, _, body = await gateway.ask("POST", CHAT_PATH, CHAT, **headers)
        assert got == status, body
        assert len(gateway.asked) == (status == 200)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": f"Bearer {KEY}"}, 200),
        ({"Authorization": f"bearer  {KEY} "}, 200),
        ({"x_api_key": KEY}, 200),
        ({"api_key": KEY}, 200),
        ({"Authorization": "Bearer placeholder", "x_api_key": KEY}, 200),
        ({"Authorization": f"Basic {KEY}"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": f"Bearer {KEY}x"}, 401),
        ({"x_api_key": "\u00e9\u00e9"}, 401),
        ({}, 401),
    ],
)
async def test_where_a_key_may_be(headers: dict[str, str], status: int) -> None:
    async with guarded(Rules({"other": "b" * 20, "laptop": KEY})) as gateway:
        assert (await gateway.ask("GET", "/v1/models", b"", **headers))[0] == status
        assert (await gateway.ask("GET", "/health"))[0] == 200


async def test_no_keys_left_is_not_no_keys_needed() -> None:
    async with guarded(Rules({}, key_needed=True)) as gateway:
        assert (await gateway.ask("GET", "/v1/models", x_api_key="anything"))[0] == 401


async def test_wrong_keys_are_counted_and_the_right_one_still_passes() -> None:
    async with guarded(Rules({"laptop": KEY})) as gateway:
        guesses = [await gateway.ask("GET", "/v1/models", x_api_key=f"no-{n}") for n in range(12)]
        assert [status for status, _, _ in guesses] == [401] * 10 + [429] * 2
        assert 0 < int(guesses[-1][1]["retry-after"]) <= 61
        assert (await gateway.ask("GET", "/v1/models", x_api_key=KEY))[0] == 200
        assert (await gateway.ask("GET", "/v1/models"))[0] == 401  # no guess


def test_keys_are_in_no_repr() -> None:
    assert KEY not in repr(Rules({"laptop": KEY}))
