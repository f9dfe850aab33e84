"""Which addresses pictures are downloaded from, and that nothing reaches any other."""

import asyncio
import socket
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

import pytest
from yarl import URL

from runner.gateway.pictures import fetch
from runner.gateway.pictures.addresses import NOT_PUBLIC, Reach, after_redirect, checked, is_public
from runner.gateway.pictures.fetch import Fetcher, is_near, reach_of
from runner.gateway.refusal import Refusal
from tests.fakes.picture_host import PictureHost

ANY_PORT: frozenset[int] = frozenset()


@pytest.mark.parametrize(
    "address",
    [
        *("93.184.215.14", "8.8.8.8", "1.1.1.1", "172.15.0.1", "172.32.0.1", "100.63.0.1"),
        *("100.128.0.1", "169.253.0.1", "2606:4700::1111", "2a00:1450::1", "64:ff9b::8.8.8.8"),
    ],
)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.255.255.254", "10.1.2.3", "172.16.0.1", "172.31.255.255"),
        *("192.168.1.1", "169.254.169.254", "100.64.0.1", "100.127.255.255", "0.0.0.9"),
        *("0.1.2.3", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "198.18.0.1"),
        *("192.0.0.8", "192.0.2.1", "198.51.100.1", "203.0.113.1", "192.88.99.1"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::ffff:0:127.0.0.1"),
        *("64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::8.8.8.8"),
        *("2002:7f00:1::", "2002:808:808::", "2001::1", "2001:db8::1", "3fff::1", "fec0::1"),
        *("100::1", "5f00::1", "nonsense", ""),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


def test_the_networks_of_this_machine_are_near() -> None:
    assert is_near("127.0.0.1")
    assert not is_near("8.8.8.8")


@pytest.mark.parametrize(
    "address",
    [
        *("file:///etc/passwd", "ftp://a.example/x.png", "gopher://a.example", "http:/x", "//a/x"),
        *("javascript:alert(1)", "http://", "https:///x.png", "http://a.example:0/x"),
        *("http://a.example:99999/", "http://[::1", "http://a.example/\r\nHost: x"),
        *("http://a.example\\@b.example/", " http://a.example/", "http://a.example/" + "x" * 9000),
        "blob:http://a.example/x",
    ],
)
@pytest.mark.parametrize("setting", ["public", "all"])
def test_what_is_no_address_is_refused_in_every_setting(address: str, setting: Any) -> None:
    with pytest.raises(Refusal) as caught:
        checked(address, reach_of(setting))
    assert caught.value.status == 400
    assert "http://" in caught.value.message


def test_a_name_and_a_password_are_not_sent() -> None:
    for address in ("http://me:secret@a.example/", "http://me@a.example/", "http://:x@a.example/"):
        with pytest.raises(Refusal, match="password"):
            checked(address, reach_of("all"))


def test_other_ports_are_for_networks_that_one_trusts() -> None:
    with pytest.raises(Refusal, match="port"):
        checked("http://a.example:6379/", reach_of("public"))
    assert checked("http://a.example:6379/", reach_of("all")).port == 6379
    assert checked("https://a.example/x", reach_of("public")).port == 443


def test_off_downloads_nothing() -> None:
    with pytest.raises(Refusal, match="--picture-urls off"):
        checked("https://a.example/x.png", reach_of("off"))


@pytest.fixture
def host() -> Iterator[PictureHost]:
    with PictureHost({"/a.png": b"a picture"}) as running:
        yield running


def download(fetcher: Fetcher, address: str) -> bytes:
    return asyncio.run(fetcher.download(address))


PRIVATE = (
    *("http://127.0.0.1:{port}/", "http://localhost:{port}/", "http://LOCALHOST.:{port}/"),
    *("http://0x7f000001:{port}/", "http://2130706433:{port}/", "http://0177.0.0.1:{port}/"),
    *("http://127.1:{port}/", "http://127.0.0.1.:{port}/", "http://0:{port}/", "http://[::1]:{port}/"),
    *("http://[::ffff:127.0.0.1]:{port}/", "http://[::ffff:7f00:1]:{port}/", "http://0.0.0.0:{port}/"),
    *("http://[::]:{port}/", "http://169.254.169.254/latest/meta-data/", "http://[fe80::1%25lo]/"),
    *("http://[64:ff9b::7f00:1]:{port}/", "http://[2002:7f00:1::]:{port}/", "http://0x7f.1:{port}/"),
    *("http://\uff11\uff12\uff17.0.0.1:{port}/", "http://127。0。0。1:{port}/", "http://ⓛocalhost:{port}/"),
)  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_no_request_reaches_a_private_address(address: str, host: PictureHost) -> None:
    fetcher = Fetcher(Reach(is_public, ANY_PORT))
    with pytest.raises(Refusal) as caught:
        download(fetcher, address.format(port=host.port))
    assert host.asked == []
    # Open or closed, private or not there: the same words.
    assert caught.value.message in {NOT_PUBLIC, str(malformed())}


def malformed() -> Refusal:
    with pytest.raises(Refusal) as caught:
        checked("nothing:", Reach())
    return caught.value


class Names:
    """A fake resolver: each name's answers in turn, the last one for ever."""

    def __init__(self, **names: list[list[str]]) -> None:
        self.names = names
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        answers = self.names.get(host.replace(".", "_"))
        if answers is None:
            raise socket.gaierror(-2, "Name or service not known")
        return answers.pop(0) if len(answers) > 1 else answers[0]


# 127.0.0.1 stands for the public internet here, all else of this machine for what is private.
PUBLIC, OURS = "127.0.0.1", "::ffff:127.0.0.1"


def fetcher_with(names: Names) -> Fetcher:
    return Fetcher(Reach(lambda address: address == PUBLIC, ANY_PORT), names)


def test_a_name_that_is_private_and_one_that_is_not_there_are_told_alike(host: PictureHost) -> None:
    fetcher = fetcher_with(Names(intranet_test=[[OURS]], both_test=[[PUBLIC, OURS]]))
    for name in ("intranet.test", "both.test", "nothing.test"):
        with pytest.raises(Refusal) as caught:
            download(fetcher, f"http://{name}:{host.port}/a.png")
        assert caught.value.message == NOT_PUBLIC
    assert host.asked == []


def test_a_public_one_is_downloaded_and_told_nothing(
    host: PictureHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # may not be used
    names = Names(public_test=[[PUBLIC]])
    assert download(fetcher_with(names), f"http://public.test:{host.port}/a.png") == b"a picture"
    ((_, headers),) = host.asked
    told = {name.lower() for name in headers} - {"host", "connection"}
    assert told == {"user-agent", "accept", "accept-encoding"}
    assert headers["Host"] == f"public.test:{host.port}"


def test_a_name_is_resolved_once(host: PictureHost) -> None:
    names = Names(rebinds_test=[[PUBLIC], [OURS]])
    assert download(fetcher_with(names), f"http://rebinds.test:{host.port}/a.png") == b"a picture"
    assert names.asked == ["rebinds.test"]
    with pytest.raises(Refusal) as caught:  # the second time it says another
        download(fetcher_with(names), f"http://rebinds.test:{host.port}/a.png")
    assert caught.value.message == NOT_PUBLIC
    assert host.paths == ["/a.png"]


@pytest.mark.parametrize(
    "to",
    [
        *("http://private.test:{port}/a.png", "http://[::ffff:127.0.0.1]:{port}/a.png"),
        *("http://0x7f000001:{port}/a.png", "file:///etc/passwd", "//private.test:{port}/a.png"),
        *("http://me:secret@public.test:{port}/a.png", "", "http://nothing.test/"),
    ],
)
def test_a_redirect_is_checked_anew(host: PictureHost, to: str) -> None:
    names = Names(public_test=[[PUBLIC]], private_test=[[OURS]])
    address = f"http://public.test:{host.port}/to/{quote(to.format(port=host.port), safe='')}"
    with pytest.raises(Refusal) as caught:
        download(fetcher_with(names), address)
    assert caught.value.status == 400
    assert [path for path in host.paths if not path.startswith("/to/")] == []


def test_redirects_are_followed_so_often(host: PictureHost) -> None:
    names = Names(public_test=[[PUBLIC]])
    start = f"http://public.test:{host.port}"
    path = "/a.png"
    for _ in range(5):
        path = f"/to/{quote(path, safe='')}"
    assert download(fetcher_with(names), start + path) == b"a picture"
    with pytest.raises(Refusal, match="on and on"):
        download(fetcher_with(names), f"{start}/to/{quote(path, safe='')}")
    assert not any("Cookie" in headers for _, headers in host.asked)


def test_from_https_nothing_leads_to_http() -> None:
    with pytest.raises(Refusal, match="https to http"):
        after_redirect(URL("https://a.example/"), "http://a.example/", Reach())


def test_bad_servers_are_refused_in_words(
    host: PictureHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "DOWNLOAD_S", 0.5)
    fetcher = fetcher_with(Names(public_test=[[PUBLIC]]))
    for path, words in {
        "/slow": "within",
        "/status/404": "answers 404",
        "/status/500": "answers 500",
        "/nothing": "answers 404",
    }.items():
        with pytest.raises(Refusal, match=words):
            download(fetcher, f"http://public.test:{host.port}{path}")


def test_no_more_is_read_than_a_picture_may_have(
    host: PictureHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "DOWNLOAD_BYTES", 1 << 20)
    fetcher = fetcher_with(Names(public_test=[[PUBLIC]]))
    host.files["/long"] = b"\0" * ((1 << 20) + 1)
    for path in ("/endless", "/long"):
        with pytest.raises(Refusal, match="larger than"):
            download(fetcher, f"http://public.test:{host.port}{path}")


def test_nothing_is_unpacked(host: PictureHost) -> None:
    fetcher = fetcher_with(Names(public_test=[[PUBLIC]]))
    data = download(fetcher, f"http://public.test:{host.port}/gzip")
    assert data[:2] == b"\x1f\x8b"
    assert len(data) < 1 << 20


def test_a_closed_port_is_told_in_words(host: PictureHost) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(Refusal, match="could not be downloaded"):
        download(fetcher_with(Names(public_test=[[PUBLIC]])), f"http://public.test:{port}/")


def test_all_reaches_this_machine(host: PictureHost) -> None:
    fetcher = Fetcher(reach_of("all"), Names())
    assert download(fetcher, f"{host.url}/a.png") == b"a picture"
    with pytest.raises(Refusal, match="not found"):
        download(fetcher, "http://nothing.test/")
