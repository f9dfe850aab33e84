"""A key goes where it belongs: to its service, to this machine, or where the user says."""

import pytest

from runner.base.errors import Refused
from runner.net.endpoint import Endpoint, server_address
from runner.net.keys import key_for

ALL = {"STEP_API_KEY": "step", "OPENAI_API_KEY": "open"}


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://api.stepfun.ai", "step"),
        ("https://api.openai.com", "open"),
        ("http://api.openai.com", ""),
        ("https://api.openai.com.evil.example", ""),
        ("https://notstepfun.com", ""),
        ("http://192.0.2.7:8000", ""),
    ],
)
def test_a_key_goes_to_its_own_service(url: str, key: str) -> None:
    assert key_for(url, ALL)[0] == key
    assert bool(key_for(url, ALL)[1]) is not bool(key), "what to do is said where it is kept back"


@pytest.mark.parametrize("name", [*ALL, "STEPRUN_API_KEY"])
def test_any_key_goes_to_this_machine(name: str) -> None:
    assert key_for("http://[::1]:8080", {name: " k\n"}) == ("k", "")


def test_our_own_goes_anywhere_and_first() -> None:
    assert key_for("http://192.0.2.7", {**ALL, "STEPRUN_API_KEY": "mine"}) == ("mine", "")
    assert key_for("https://api.openai.com", {**ALL, "STEPRUN_API_KEY": "mine"})[0] == "mine"


def test_a_key_that_no_header_can_hold_is_refused_unread() -> None:
    with pytest.raises(Refused) as raised:
        key_for("http://localhost", {"STEPRUN_API_KEY": "secrét\nkey"})
    assert "secr" not in str(raised.value)


def test_a_key_that_anybody_on_the_way_can_read_is_told() -> None:
    assert "without encryption" in Endpoint("http://192.0.2.7", api_key="k").warning
    assert not Endpoint("http://127.0.0.1:1", api_key="k").warning
    assert not Endpoint("https://192.0.2.7", api_key="k").warning
    assert not Endpoint("http://192.0.2.7").warning


@pytest.mark.parametrize(
    ("typed", "base"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("8080", "http://127.0.0.1:8080"),
        (":8080", "http://127.0.0.1:8080"),
        (" HTTP://LocalHost:1/v1/ ", "http://localhost:1"),
        ("'http://h:1/v1/chat/completions'", "http://h:1"),
        ("http://h/v1/models?x=1#top", "http://h"),
        ("https://h/api/v1", "https://h/api"),
        ("http://h:11434/api/chat", "http://h:11434"),
        ("::1", "http://[::1]"),
        ("[fe80::1]:80/v1//", "http://[fe80::1]:80"),
        ("//h:9", "http://h:9"),
        ("https://me:p%40ss@h", "https://h"),
    ],
)
def test_an_address_may_end_in_anything(typed: str, base: str) -> None:
    found = server_address(typed)
    assert found is not None
    assert found[0] == base


@pytest.mark.parametrize("typed", ["", "http://", "ftp://h", "h:99999", "h:0", "a b", "http://[x"])
def test_what_is_no_address_is_none(typed: str) -> None:
    assert server_address(typed) is None


def test_a_login_is_sent_and_never_shown() -> None:
    base, login = server_address("https://me:p%40ss@h") or ("", "")
    endpoint = Endpoint(base, login=login)
    assert endpoint.headers() == {"Authorization": "Basic bWU6cEBzcw=="}
    assert "p@ss" not in repr(endpoint)
    assert login not in repr(endpoint)


def test_other_versions_of_the_api_keep_their_path() -> None:
    assert Endpoint("http://h").api_url == "http://h/v1"
    assert Endpoint("https://h/api/paas/v4").api_url == "https://h/api/paas/v4"
    assert Endpoint("https://h/v1beta/openai").api_url == "https://h/v1beta/openai"
