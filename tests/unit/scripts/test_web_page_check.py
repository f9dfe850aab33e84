"""What `scripts/check_web_page` takes for wrong; the page itself is not opened here."""

from gateway_checks.web_page import _unexpected

URL = "http://127.0.0.1:8080/"


def request(path: str, status: int, method: str = "GET") -> dict[str, object]:
    return {"method": method, "url": path if ":" in path else URL + path, "status": status}


def test_what_the_page_does_without_is_not_wrong() -> None:
    seen = [
        request("", 200),
        request("", 503),
        request("tools", 403),
        request("props?autoload=false", 401),
        request("data:image/png;base64,AAAA", 200),
        request("v1/chat/completions", 200, "POST"),
    ]
    assert _unexpected(seen, URL) == []


def test_a_refused_file_and_another_host_are_wrong() -> None:
    seen = [request("_app/a.js", 404), request("http://elsewhere.example/x.png", 200)]
    assert _unexpected(seen, URL) == [
        "GET /_app/a.js was answered with 404.",
        "The page asked another host: http://elsewhere.example/x.png",
    ]
