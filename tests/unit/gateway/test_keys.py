"""Key files: named keys, old files, what is refused at the start, and keys that are revoked."""

import asyncio
import os
import re
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from runner.base.errors import Refused, UsageError
from runner.cli.commands.key import key as command
from runner.engine.process.supervisor import read_key
from runner.gateway import guard
from runner.gateway.admission import Rules, key_file
from runner.gateway.admission.keys import read_lines
from runner.gateway.settings import Settings
from tests.fakes.plain_engine import guarded

ONE, TWO = "one-key-of-the-tests", "another-key-of-tests"


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text, "utf-8")
    path.chmod(mode)
    return path


def test_lines_have_a_name_and_a_key_or_only_a_key() -> None:
    text = f"\ufeff# of the office\r\nlaptop {ONE}\r\n\r\n  #x\n{TWO}\n{'c' * 16}\n"
    read = read_lines(text)
    assert dict(read.keys) == {"laptop": ONE, "default": TWO, "line-6": "c" * 16}
    assert not read.faults


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("short", "the key has 5 characters; it needs 16 to 512"),
        ("a" * 513, "513 characters"),
        (f"name {ONE} more", "more than two words"),
        ("laptop schl\u00fcssel-schl\u00fcssel", "ASCII"),
        (f"na/me {ONE}", "a name may only have"),
        (f"{'n' * 41} {ONE}", "a name may only have"),
        (f"laptop {ONE}", "two keys with the name laptop"),
    ],
)
def test_a_faulty_line_is_named_but_its_key_is_not(line: str, fault: str) -> None:
    read = read_lines(f"laptop {TWO}\n{line}\n")
    assert dict(read.keys) == {"laptop": TWO}
    assert read.faults[0].startswith("Line 2: ")
    assert fault in read.faults[0]
    assert ONE not in read.faults[0]


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_refused_and_the_advice_works(
    tmp_path: Path, mode: int
) -> None:
    path = written(tmp_path / "the keys", f"{ONE}\n", mode)
    with pytest.raises(Refused) as refused:
        key_file.load(path)
    advice = re.search(r"chmod 600 .*", refused.value.next)
    assert advice is not None
    subprocess.run(advice[0], shell=True, check=True)
    assert dict(key_file.load(path)) == {"default": ONE}


@pytest.mark.parametrize("text", ["", "# only\n", "abc\n", f"{ONE}\nabc\n"])
def test_a_file_without_a_good_key_is_refused_and_the_advice_works(
    tmp_path: Path, text: str
) -> None:
    path = written(tmp_path / "keys", text)
    with pytest.raises(Refused) as refused:
        key_file.load(path)
    assert f"steprun key new NAME --file {path}" in refused.value.next
    if not text.strip("# only\n"):
        key_file.change(path, "laptop", TWO)
        assert dict(key_file.load(path)) == {"laptop": TWO}


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"a" * (1 << 20) + b"bb", None])
def test_what_is_no_text_is_refused(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "keys"
    if data is not None:
        path.write_bytes(data)
        path.chmod(0o600)
    with pytest.raises(Refused, match="cannot be read"):
        key_file.load(path)


def test_a_made_file_is_private_and_good(tmp_path: Path) -> None:
    path = tmp_path / "new" / "server.key"
    assert key_file.make(path)
    assert not key_file.make(path)
    (key,) = key_file.load(path).values()
    assert len(key) == 43
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600


def test_the_ring_has_what_the_file_has(tmp_path: Path) -> None:
    path = written(tmp_path / "keys", f"a {ONE}\nb {TWO}\n")
    ring = key_file.KeyRing(path, key_file.load(path))
    assert ring.refresh() is None
    written(path, f"b {TWO}\n")
    assert ring.refresh() == f"Read {path} again: 1 key."
    assert dict(ring.keys) == {"b": TWO}
    assert ring.refresh() is None
    written(path, f"b {TWO}\nc short\n")
    assert "Line 2: the key has 5 characters" in str(ring.refresh())
    assert dict(ring.keys) == {"b": TWO}
    path.unlink()
    assert "nobody has a key now" in str(ring.refresh())
    assert ring.keys == {}
    written(path, f"a {ONE}\n")
    ring.refresh()
    assert dict(ring.keys) == {"a": ONE}


async def test_a_revoked_key_is_refused_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "LOOK_S", 0.01)
    path = written(tmp_path / "keys", f"a {ONE}\nb {TWO}\n")
    settings = Settings(key_file=path, port=0)
    news = asyncio.Queue[str]()
    async with guarded(guard.rules_of(settings)) as gateway:
        gateway.service.settings = settings
        async with guard.guarding(gateway.service, news.put_nowait):
            assert (await gateway.ask("GET", "/v1/models", x_api_key=ONE))[0] == 200
            key_file.change(path, "a", None)
            assert "1 key" in await asyncio.wait_for(news.get(), 20)
            assert (await gateway.ask("GET", "/v1/models", x_api_key=ONE))[0] == 401
            assert (await gateway.ask("GET", "/v1/models", x_api_key=TWO))[0] == 200
            path.unlink()
            await asyncio.wait_for(news.get(), 20)
            assert (await gateway.ask("GET", "/v1/models", x_api_key=TWO))[0] == 401
            assert (await gateway.ask("GET", "/v1/models"))[0] == 401


def test_the_rules_of_an_address_that_others_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "gethostname", lambda: "Box.lan")
    path = written(tmp_path / "keys", f"a {ONE}\n")
    rules = guard.rules_of(Settings(host="192.0.2.1", key_file=path, allow_hosts=("llm.example",)))
    assert {"box.lan", "box", "box.local", "llm.example"} <= rules.hosts.names
    assert guard.rules_of(Settings()).hosts.names == frozenset()
    assert guard.rules_of(Settings()) == Rules({})


def run(*words: str) -> tuple[str, str]:
    result = CliRunner().invoke(command, words, catch_exceptions=False)
    return result.stdout, result.stderr


def test_the_commands(home: Path) -> None:
    path = key_file.own_file()
    assert "no keys yet" in run("list")[1]
    made = run("new", "laptop")[0].strip()
    assert dict(key_file.load(path)) == {"laptop": made}
    again = run("new", "laptop")[0].strip()
    assert dict(key_file.load(path)) == {"laptop": again}
    assert again != made
    other = run("new", "phone")[0].strip()
    out, err = run("list")
    assert out == "laptop\nphone\n"
    assert again not in out + err
    run("revoke", "laptop")
    assert dict(key_file.load(path)) == {"phone": other}
    with pytest.raises(UsageError, match="no key with the name 'laptop'"):
        run("revoke", "laptop")
    with pytest.raises(UsageError, match="cannot be the name"):
        run("new", "my laptop")


def test_commands_leave_other_lines_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "keys", f"# office\n{ONE}\n\nb {TWO}\n")
    run("new", "c", "--file", str(path))
    run("revoke", "default", "--file", str(path))
    lines = path.read_text().splitlines()
    assert lines[:3] == ["# office", "", f"b {TWO}"]
    assert lines[3].startswith("c ")


def test_one_key_is_shown_for_a_client(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no keys yet"):
        run("show")
    path = key_file.own_file()
    key_file.make(path)
    first = key_file.load(path)["default"]
    laptop = run("new", "laptop")[0]
    assert run("show")[0] == f"{first}\n"
    assert run("show", "laptop")[0] == laptop
    with pytest.raises(UsageError, match="no key with the name 'phone'"):
        run("show", "phone")
    assert read_key(path) == first, "a chat sends the key, not its line"
    other = written(tmp_path / "keys", f"# of the lab\nada {TWO}\n")
    assert run("show", "--file", str(other))[0] == f"{TWO}\n"
