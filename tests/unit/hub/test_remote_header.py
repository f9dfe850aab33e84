"""A model on the network: its header is read in pieces, and no server can do harm."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runner.base import paths
from runner.base.errors import BadFile, Refused, SteprunError, UsageError
from runner.gguf import local_file
from runner.gguf.header import Header, geometry
from runner.hub import address, client, pieces, remote_header
from runner.net import http
from runner.net.retry import Patience
from runner.weights import model_headers
from tests.fakes.hub import FakeHub, Manner
from tests.unit.gguf.test_header import STEP, TENSORS, U8, entry, gguf, tensor

TOKEN = "hf_secretsecret"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "tiny-step.gguf"
SOUND = gguf(STEP, TENSORS, 288 + 288 * 4)
# Larger than the first piece: 3 MB of numbers that a plan has no use for.
LARGE = gguf([*STEP, entry("long", U8, [7] * 3_000_000)], [tensor("blk.0.a")], 5_000_000)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pieces, "PATIENCE", replace(client.PATIENCE, pause_s=0.01))


@pytest.fixture
def hub(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    files: dict[str, bytes | Path] = {path.name: path for path in tiny.glob("*.gguf")}
    files |= {"sound.gguf": SOUND, "large.gguf": LARGE, "empty.gguf": b""}
    with FakeHub(files) as made:
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        yield made


def at(name: str, revision: str = "") -> str:
    return f"hf:owner/repo/{name}{'@' if revision else ''}{revision}"


def same(far: tuple[Header, ...], near: tuple[Header, ...]) -> bool:
    return all(
        (f.metadata, f.tensors, f.data_offset, f.file_size, f.shards)
        == (n.metadata, n.tensors, n.data_offset, n.file_size, n.shards)
        for f, n in zip(far, near, strict=True)
    )


def fault(kind: type[SteprunError], text: str = "") -> SteprunError:
    with pytest.raises(kind) as caught:
        remote_header.read_model(text or at("sound.gguf"))
    assert type(caught.value) is kind
    assert caught.value.why
    assert caught.value.next
    assert str(caught.value).isprintable()
    assert TOKEN not in str(caught.value)
    return caught.value


# --- what is read, and how much of it


def test_a_model_far_away_reads_as_one_that_is_here(hub: FakeHub, tiny: Path) -> None:
    assert same(remote_header.read_model(at(NAME)), local_file.read_model(tiny / NAME))
    assert same(
        remote_header.read_model(f"{hub.url}/{NAME}?download=true"),
        local_file.read_model(tiny / NAME),
    )
    assert hub.asked[0].path == f"/owner/repo/resolve/main/{NAME}"
    assert hub.asked[0].range == "bytes=0-1048575"
    assert hub.asked[0].headers["Accept-Encoding"] == "identity"


def test_all_parts_of_the_twin_are_found_by_name(twin: Path, monkeypatch) -> None:
    parts: dict[str, bytes | Path] = {
        f"IQ4_XS/{path.name}": path for path in twin.glob("step-twin-IQ4_XS-*-of-*.gguf")
    }
    with FakeHub(parts) as made:
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        near = local_file.read_model(twin / "step-twin-IQ4_XS-00001-of-00003.gguf")
        far = remote_header.read_model(at("IQ4_XS/step-twin-IQ4_XS-00003-of-00003.gguf", "v1"))
        assert same(far, near)
        assert {asked.path.rpartition("/")[2] for asked in made.asked} == {
            Path(name).name for name in parts
        }
        # 105 GB are 9 MB for a plan.
        assert made.body_bytes < 12_000_000
        made.files.pop("IQ4_XS/step-twin-IQ4_XS-00002-of-00003.gguf")
        lost = fault(UsageError, at("IQ4_XS/step-twin-IQ4_XS-00001-of-00003.gguf", "w"))
        assert "00002-of-00003" in lost.what


def test_a_header_beyond_the_first_piece_is_fetched_on(hub: FakeHub) -> None:
    (made,) = remote_header.read_model(at("large.gguf"))
    assert made.data_offset > 3_000_000
    assert hub.asked[0].range == "bytes=0-1048575"
    assert 1 < len(hub.asked) < 4
    assert hub.body_bytes < len(LARGE)


def test_a_server_that_knows_no_ranges_is_read_no_further_than_needed(
    hub: FakeHub, tiny: Path, tmp_path: Path
) -> None:
    hub.manner = Manner(ranges=False)
    assert same(remote_header.read_model(at(NAME)), local_file.read_model(tiny / NAME))
    (made,) = remote_header.read_model(at("large.gguf"))
    assert made.file_size == len(LARGE)
    hub.files["zeros.gguf"] = tmp_path / "zeros"
    with (tmp_path / "zeros").open("wb") as sparse:
        sparse.truncate(300 << 20)
    before = hub.body_bytes
    assert "zeros" in fault(BadFile, at("zeros.gguf")).why
    assert hub.body_bytes - before < 32 << 20  # what lay in the sockets' buffers


def test_a_subject_of_far_files_can_be_planned_for(hub: FakeHub, tiny: Path) -> None:
    near, files = model_headers.read_local(
        tiny / NAME, tiny / "mmproj-tiny-step.gguf", None, see=True
    )
    assert files.weights == tiny / NAME
    far = model_headers.read_anywhere(at(NAME), at("mmproj-tiny-step.gguf"), None)
    assert far.words == ("--model", at(NAME), "--projector", at("mmproj-tiny-step.gguf"))
    assert (far.name, far.variants, far.geometry) == (near.name, near.variants, near.geometry)
    assert (far.projector_bytes, far.mtp_bytes) == (near.projector_bytes, near.mtp_bytes)
    layout = far.variants[0].layout
    assert layout
    assert layout.total == far.variants[0].weights_bytes
    assert len(layout.resident) == len(far.geometry.layers)
    # Nothing is looked for that was not named.
    assert model_headers.read_anywhere(at(NAME), None, None).projector_bytes == 0
    # Here and there may be mixed.
    mixed = model_headers.read_anywhere(
        tiny / "tiny-step-trunk.gguf", None, at("tiny-step-mtp.gguf")
    )
    assert mixed.mtp_bytes == (tiny / "tiny-step-mtp.gguf").stat().st_size
    assert len(mixed.geometry.mtp_layers) == 3
    assert 0 < mixed.mtp_input_bytes < mixed.mtp_bytes
    with pytest.raises(BadFile, match="not what --projector needs"):
        model_headers.read_anywhere(at(NAME), at(NAME), None)
    assert "a projector" in fault(BadFile, at("mmproj-tiny-step.gguf")).why


# --- addresses


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("hf:a/b/c.gguf", "/a/b/resolve/main/c.gguf"),
        ("hf:a/b/d/c.GGUF@refs/pr/1", "/a/b/resolve/refs%2Fpr%2F1/d/c.GGUF"),
        ("HF:a/b/c@d.gguf@v1.0", "/a/b/resolve/v1.0/c%40d.gguf"),
        ("hf:a/b/ü?#%.gguf", "/a/b/resolve/main/%C3%BC%3F%23%25.gguf"),
    ],
)
def test_addresses_of_the_hub(monkeypatch, text: str, url: str) -> None:
    assert address.address(text).url == f"https://huggingface.co{url}"
    monkeypatch.setenv("HF_ENDPOINT", "HTTPS://mirror.example:8443/hub/")
    assert address.address(text).url == f"https://mirror.example:8443/hub{url}"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://h/x.gguf", "https://h/x.gguf"),
        ("HTTPS://h/a%20b/x.gguf?sig=1#top", "https://h/a%20b/x.gguf?sig=1"),
        # The page of a file, as it is copied from a browser.
        ("https://huggingface.co/a/b/blob/main/x.gguf", "https://huggingface.co/a/b/resolve/main/x.gguf"),
        ("https://h/a/b/blob/main/x.gguf", "https://h/a/b/blob/main/x.gguf"),
    ],
)  # fmt: skip
def test_addresses_of_the_web(text: str, url: str) -> None:
    made = address.address(text)
    assert made.url == url
    assert "sig" not in made.text


def test_parts_are_looked_for_beside_each_other() -> None:
    place = address.address("https://h/d/x-00001-of-00002.gguf?sig=1")
    beside = place.beside("x-00002-of-00002.gguf")
    assert beside.url == "https://h/d/x-00002-of-00002.gguf?sig=1"
    assert beside.text == "https://h/d/x-00002-of-00002.gguf"
    hub = address.address("hf:a/b/d/x-00001-of-00002.gguf@v").beside("x-00002-of-00002.gguf")
    assert hub.text == "hf:a/b/d/x-00002-of-00002.gguf@v"


@pytest.mark.parametrize(
    "text",
    [
        "hf:",
        "hf:a/b",
        "hf:a/b/",
        "hf:a/b/c.txt",
        "hf:a/b/../c.gguf",
        "hf:a/../c.gguf",
        "hf:a/b//c.gguf",
        "hf:a/b/c.gguf@",
        "hf:a/b/c.gguf@../../x",
        "hf:a/b/c\x1b[2J.gguf",
        "hf:a/b/\u202ec.gguf",
        "https:",
        "https://",
        "https://h",
        "https://h/",
        "https://h/x.bin",
        "https://h:port/x.gguf",
        "https://user:pass@h/x.gguf",
        "https://[::1/x.gguf",
        "https://h/ x.gguf",
        "https://h/x%2Fy.gguf",
        "https://h/x\n.gguf",
    ],
)
def test_what_names_no_file_is_wrong_usage(text: str) -> None:
    assert address.is_remote(text)
    assert "pass" not in fault(UsageError, text).what.replace("password", "")


def test_what_is_remote() -> None:
    assert all(map(address.is_remote, ("hf:a/b/c.gguf", "https://h/x.gguf", "HTTP://h/x.gguf")))
    assert not any(map(address.is_remote, ("step-3.7-flash", "C:/x.gguf", "./hf/x.gguf", "")))


@pytest.mark.parametrize("value", ["ftp://h", "nonsense", "https://", "https://a b"])
def test_an_endpoint_that_is_none(monkeypatch, value: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", value)
    assert "HF_ENDPOINT" in fault(UsageError).what


# --- the token


def test_the_token_goes_to_the_hub_and_nowhere_else(hub: FakeHub, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", f" {TOKEN}\n")
    with FakeHub({"sound.gguf": SOUND}) as other:
        # localhost and 127.0.0.1 are two hosts, and each port is another server.
        hub.manner = Manner(token=TOKEN, redirect=f"{other.url}{{path}}")
        remote_header.read_model(at("sound.gguf"))
        remote_header.read_model(f"{other.url}/sound.gguf")
        assert [asked.token for asked in hub.asked] == [TOKEN]
        assert len(other.asked) == 2
        assert not any("Authorization" in asked.headers for asked in other.asked)
        assert not any("Cookie" in asked.headers for asked in other.asked)


def test_a_file_for_which_a_token_is_needed(hub: FakeHub, monkeypatch) -> None:
    hub.manner = Manner(token=TOKEN)
    assert "HF_TOKEN" in fault(Refused).next
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "not open to this token" in fault(Refused).why
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert len(remote_header.read_model(at("sound.gguf"))) == 1


@pytest.mark.parametrize("value", ["a b", "ä", "x\r\nX-Evil: 1"])
def test_a_token_that_no_header_carries(hub: FakeHub, monkeypatch, value: str) -> None:
    monkeypatch.setenv("HF_TOKEN", value)
    error = fault(UsageError)
    assert "HF_TOKEN" in error.what
    assert value not in str(error)
    assert hub.asked == []


def test_a_token_that_hf_auth_login_has_left_is_enough(hub: FakeHub, monkeypatch, tmp_path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    with FakeHub({"sound.gguf": SOUND}) as other:
        hub.manner = Manner(token=TOKEN, redirect=f"{other.url}{{path}}")
        assert len(remote_header.read_model(at("sound.gguf"))) == 1
        assert [asked.token for asked in hub.asked] == [TOKEN]
        assert not any("Authorization" in asked.headers for asked in other.asked)
    hub.manner = Manner(token="hf_other")
    monkeypatch.setenv("HF_TOKEN", "hf_other")  # which comes first, as for the hub's own tools
    assert len(remote_header.read_model(at("sound.gguf"))) == 1


def test_a_plan_needs_no_more_than_the_login_of_the_hubs_own_tool(
    hub: FakeHub, tmp_path: Path
) -> None:
    (tmp_path / "hub").mkdir()  # HF_HOME of the tests
    (tmp_path / "hub" / "token").write_text(TOKEN)
    hub.manner = Manner(token=TOKEN)
    hub.turns["*"] = [Manner(token=TOKEN, status=503), hub.manner]
    done = subprocess.run(
        [sys.executable, "-m", "runner", "plan", "--model", at(NAME), "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert json.loads(done.stdout)["model"], done.stderr
    assert hub.asked[0].token == TOKEN
    assert len(hub.asked) > 1


# --- bad manners


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_trouble_that_passes_is_waited_for(hub: FakeHub, status: int) -> None:
    hub.turns["*"] = [Manner(status=status), Manner(cut=100), Manner()]
    assert len(remote_header.read_model(at("sound.gguf"))) == 1
    assert len(hub.asked) == 3


def test_a_shorter_piece_than_was_requested_will_do(hub: FakeHub) -> None:
    short = Manner(content_range=f"bytes 0-999/{len(SOUND)}", length_lie=1000 - len(SOUND))
    hub.turns["*"] = [short, Manner()]
    assert len(remote_header.read_model(at("sound.gguf"))) == 1
    assert [asked.range for asked in hub.asked][1].startswith("bytes=1000-")


MANNERS: list[tuple[Manner, type[SteprunError], str]] = [
    (Manner(status=400), SteprunError, "status 400"),
    (Manner(status=401), Refused, "status 401"),
    (Manner(status=401, headers=(("X-Error-Code", "RepoNotFound"),)), Refused, "may not exist"),
    (Manner(status=403), Refused, "status 403"),
    (Manner(status=404), UsageError, "no such file"),
    (Manner(status=404, headers=(("X-Error-Code", "RevisionNotFound"),)), UsageError, "revision"),
    (Manner(status=416), BadFile, "status 416"),
    (Manner(status=429), SteprunError, "asks for a pause"),
    (Manner(status=429, headers=(("Retry-After", "30"),)), SteprunError, "wait for 30 seconds"),
    (Manner(status=429, headers=(("Retry-After", "9" * 99),)), SteprunError, "asks for a pause"),
    (Manner(status=500), SteprunError, "in trouble"),
    (Manner(status=503), SteprunError, "in trouble"),
    (Manner(status=204), SteprunError, "status 204"),
    (Manner(status=304), SteprunError, "status 304"),
    (Manner(status=302), SteprunError, "not a web address"),
    (Manner(redirect="{path}"), SteprunError, "redirects more than 5"),
    (Manner(redirect="file:///etc/passwd"), SteprunError, "not a web address"),
    (Manner(redirect="http://"), SteprunError, "redirects more than 5"),
    (Manner(redirect="http://[::1/x"), SteprunError, "connection failed"),
    (Manner(page=True), BadFile, "web page"),
    (Manner(page=True, ranges=False), BadFile, "web page"),
    (Manner(encoding="gzip"), BadFile, "compressed"),
    (Manner(ranges=False, chunked=True), BadFile, "does not say how long"),
    (Manner(content_range="bytes 0-99/*"), BadFile, "bytes 0-99/*"),
    (Manner(content_range="bytes 5-99/200"), BadFile, "bytes 5-99/200"),
    (Manner(content_range="bytes 0-9999999/99999999"), BadFile, "it sends"),
    (Manner(content_range="bytes 0-99/50"), BadFile, "it sends"),
    (Manner(content_range="bytes 0-99/200"), BadFile, "promises"),
    (Manner(content_range="bytes 0-99/" + "9" * 40), BadFile, "it sends"),
    (Manner(content_range="nonsense\x01"), BadFile, "nonsense"),
    (Manner(content_range="bytes 0-99/200", chunked=True), BadFile, "more than the 100"),
    (Manner(content_range="bytes 0-9999/10000", chunked=True), BadFile, "sends"),
    (Manner(length_lie=10), BadFile, "promises"),
    (Manner(length_lie=10, ranges=False), SteprunError, "connection failed"),
    (Manner(length_lie=-10), BadFile, "promises"),
    (Manner(cut=100), SteprunError, "connection failed"),
]  # fmt: skip


@pytest.mark.parametrize(("manner", "kind", "name"), MANNERS, ids=lambda v: str(v)[:60])
def test_a_server_without_manners(
    hub: FakeHub, manner: Manner, kind: type[SteprunError], name: str
) -> None:
    hub.manner = manner
    start = time.monotonic()
    assert name in str(fault(kind))
    assert time.monotonic() - start < 20


def test_an_empty_file(hub: FakeHub) -> None:
    assert "empty" in fault(BadFile, at("empty.gguf")).why
    hub.manner = Manner(ranges=False)
    assert "empty" in fault(BadFile, at("empty.gguf")).why


def test_a_file_that_changes_between_two_pieces(hub: FakeHub) -> None:
    hub.manner = Manner(restless=True)
    assert "changed while" in fault(SteprunError, at("large.gguf")).what


def test_encryption_is_not_given_up() -> None:
    place = address.address("hf:a/b/c.gguf")
    advice = pieces._advice(place)
    with pytest.raises(Refused, match="without encryption"), http.errors_for(advice):
        http.next_hop(place.url, "http://evil.example/c.gguf")
    assert http.next_hop(place.url, "/d/c.gguf") == "https://huggingface.co/d/c.gguf"


SLOW: list[tuple[Manner, str]] = [
    (Manner(silent=True), "No answer"),
    (Manner(drip_s=0.05), "in all"),
    (Manner(drip_headers_s=0.05), "in all"),
]


@pytest.mark.parametrize(("manner", "name"), SLOW, ids=lambda v: str(v)[:60])
def test_a_server_that_takes_for_ever(hub: FakeHub, monkeypatch, manner: Manner, name: str) -> None:
    monkeypatch.setattr(pieces, "PATIENCE", Patience(head_s=0.3, stall_s=0.3, tries=1))
    monkeypatch.setattr(pieces, "TOTAL_S", 0.8)
    hub.manner = manner
    start = time.monotonic()
    assert name in fault(SteprunError).why
    assert time.monotonic() - start < 20


def test_the_deadline_is_of_all_parts_together(hub: FakeHub, monkeypatch) -> None:
    # Each answer comes soon enough; a thousand of them do not.
    monkeypatch.setattr(pieces, "TOTAL_S", 0.5)
    place = address.address(at("large.gguf"))
    with contextlib.closing(pieces.PieceSession()) as session:

        def read_bytewise() -> None:
            for start in range(100_000):
                session.get(place, start, start + 1)

        with pytest.raises(SteprunError) as caught:
            read_bytewise()
    assert "in all" in caught.value.why


def test_nobody_answers(monkeypatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        assert "connection failed" in fault(SteprunError).why
    monkeypatch.setenv("HF_ENDPOINT", "http://no-such-host.invalid")
    fault(SteprunError)


def test_a_header_without_end(hub: FakeHub, monkeypatch) -> None:
    monkeypatch.setattr(remote_header, "LIMIT", 2 << 20)
    assert "larger than 2 MiB" in fault(BadFile, at("large.gguf")).why
    assert hub.body_bytes <= (2 << 20) + (1 << 16)


def test_lies_of_a_series(hub: FakeHub) -> None:
    hub.files["x-00001-of-00009.gguf"] = SOUND
    assert "name says" in fault(BadFile, at("x-00001-of-00009.gguf")).what


# --- headers that were kept


def kept() -> list[Path]:
    return sorted((paths.cache_dir() / "headers").glob("*"))


def test_a_pinned_header_is_asked_for_once(hub: FakeHub) -> None:
    first = remote_header.read_model(at("sound.gguf", COMMIT))
    count = len(hub.asked)
    assert same(remote_header.read_model(at("sound.gguf", COMMIT)), first)
    assert len(hub.asked) == count
    assert len(kept()) == 1
    if os.name != "nt":
        assert kept()[0].stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("deaf", [False, True])
def test_any_other_is_asked_for_again_and_not_fetched(hub: FakeHub, deaf: bool) -> None:
    first = remote_header.read_model(at("large.gguf"))
    count = len(hub.asked)
    hub.manner = Manner(deaf=deaf)
    assert same(remote_header.read_model(at("large.gguf")), first)
    assert len(hub.asked) == count + 1
    assert hub.asked[-1].headers["If-None-Match"]
    hub.files["large.gguf"] = SOUND
    assert remote_header.read_model(at("large.gguf"))[0].file_size == len(SOUND)


def test_a_version_without_a_name_is_not_kept(hub: FakeHub) -> None:
    hub.manner = Manner(etag=False)
    remote_header.read_model(at("sound.gguf"))
    assert kept() == []
    remote_header.read_model(at("sound.gguf", COMMIT))
    assert len(kept()) == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:50],
        lambda data: b"",
        lambda data: data.replace(b"steprun.header/1", b"steprun.header/9"),
        lambda data: data.replace(b'"size": ', b'"size": true, "was": '),
        lambda data: data.replace(b"GGUF", b"GGUX"),
        lambda data: b"[" * 100_000 + data,
        lambda data: b"{}\n" + data,
    ],
)
def test_a_kept_header_that_is_spoilt_is_fetched_again(
    hub: FakeHub, spoil: Callable[[bytes], bytes]
) -> None:
    first = remote_header.read_model(at("sound.gguf", COMMIT))
    (path,) = kept()
    path.write_bytes(spoil(path.read_bytes()))
    assert same(remote_header.read_model(at("sound.gguf", COMMIT)), first)
    assert len(hub.asked) == 2


def test_the_least_used_headers_make_room(hub: FakeHub, monkeypatch) -> None:
    monkeypatch.setattr(remote_header, "KEPT_FILES", 3)
    for number in range(6):
        hub.files[f"m{number}.gguf"] = SOUND
        remote_header.read_model(at(f"m{number}.gguf", COMMIT))
        remote_header.read_model(at("m0.gguf", COMMIT))  # used again and again
        time.sleep(0.01)
    assert len(kept()) == 3
    count = len(hub.asked)
    assert count == 6
    for number in (0, 5, 4):
        remote_header.read_model(at(f"m{number}.gguf", COMMIT))
    assert len(hub.asked) == count
    monkeypatch.setattr(remote_header, "KEPT_BYTES", 10)
    remote_header.read_model(at("m1.gguf", COMMIT))
    assert kept() == []


@pytest.mark.skipif(os.name == "nt", reason="folders cannot be closed there")
def test_a_cache_that_cannot_be_written_is_done_without(hub: FakeHub) -> None:
    (paths.cache_dir()).mkdir(parents=True)
    (paths.cache_dir() / "headers").write_text("a file in the folder's place")
    assert len(remote_header.read_model(at("sound.gguf", COMMIT))) == 1


@pytest.mark.parametrize("value", ["1", "on", "YES", "True"])
def test_offline_means_offline(hub: FakeHub, monkeypatch, value: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert "HF_HUB_OFFLINE" in fault(Refused).why
    assert hub.asked == []
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    remote_header.read_model(at("sound.gguf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    count = len(hub.asked)
    remote_header.read_model(at("sound.gguf"))  # what was kept is good enough
    assert len(hub.asked) == count


def test_the_network_is_imported_late() -> None:
    code = (
        "import sys, runner.weights.model_headers\n"
        "print([n for n in ('httpx2', 'asyncio', 'ssl') if n in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_geometry_of_a_far_model(hub: FakeHub) -> None:
    assert geometry(remote_header.read_model(at("sound.gguf"))[0]).sliding_window == 512
