"""Captures: what is read, what is written, what is refused."""

import getpass
import json
import os
import platform
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.base.errors import BadFile, Exit, Refused, UsageError
from runner.base.units import MIB
from runner.machine.captures import capture as module
from runner.machine.captures.capture import (
    MAX_CAPTURE_BYTES,
    Capture,
    Live,
    Ran,
    Replay,
    load_capture,
    parse_capture,
    save,
)
from runner.machine.captures.scrub import Scrubber
from runner.machine.probe import detect
from runner.machine.probes.read import count, parse_size, strip_codes, text_of

posix = pytest.mark.skipif(os.name != "posix", reason="shell scripts and device rights")
CARD = "deadbeef-0123-4567-89ab-0123456789ab"


def document(**changes: Any) -> bytes:
    whole = {"schema": "steprun.capture/1", "platform": "linux-x86_64", "files": {}, "commands": {}}
    return json.dumps(whole | changes).encode()


WRONG = "commands['vm_stat'] is wrong:"


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b"", "document"),
        (b"{", "document"),
        (b"\xff\xfe", "document"),
        pytest.param(b"[" * 100_000, "document", id="deep"),
        (b"[]", "document is wrong: Expected `object`"),
        (b"{}", "schema"),
        (document(schema="steprun.capture/2"), "schema"),
        (document(platform=None), "platform"),
        (document(platform=["linux"]), "platform"),
        (document(platform=""), "platform"),
        (document(files=[]), "files"),
        (document(files={"/proc/meminfo": 5}), "files['/proc/meminfo']"),
        (document(commands=None), "commands"),
        (document(commands={"vm_stat": "text"}), "commands['vm_stat']"),
        (document(commands={"vm_stat": "\ud800"}), "commands['vm_stat']"),  # half a character
        (
            document(commands={"vm_stat": {"exit": "0", "stdout": ""}}),
            "commands['vm_stat'] is wrong: Expected `int`",
        ),
        (
            document(commands={"vm_stat": {"exit": True, "stdout": ""}}),
            "commands['vm_stat'] is wrong: Expected `int`",
        ),
        (
            document(commands={"vm_stat": {"exit": 0}}),
            "commands['vm_stat'] is wrong: Object missing required field `stdout`",
        ),
        pytest.param(b" " * (MAX_CAPTURE_BYTES + 1), "size", id="large"),
    ],
)
def test_a_bad_capture_names_its_field(raw, field):
    with pytest.raises(BadFile) as caught:
        parse_capture(raw)
    assert field in caught.value.what
    assert caught.value.exit_code is Exit.BAD_FILE
    assert caught.value.next


def test_a_capture_may_hold_more_than_is_known():
    assert parse_capture(document(provenance="a test")).platform == "linux-x86_64"


def test_a_capture_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        load_capture(tmp_path / "none.json")
    with pytest.raises(UsageError, match="cannot be read"):
        load_capture(tmp_path)
    with pytest.raises(UsageError, match="cannot be read"):
        load_capture(tmp_path / "\0")


def test_an_endless_file_is_not_read_to_its_end(tmp_path):
    large = tmp_path / "large.json"
    with large.open("wb") as file:
        file.truncate(MAX_CAPTURE_BYTES * 2)
    with pytest.raises(BadFile, match="over 4 MiB"):
        load_capture(large)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(
    st.binary(max_size=200)
    | st.builds(
        lambda changes: document(**changes),
        st.dictionaries(st.sampled_from(["schema", "platform", "files", "commands"]), JSON),
    )
)
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_a_machine_or_a_bad_file(raw):
    try:
        seen = parse_capture(raw)
    except BadFile:
        return
    detect(Replay(seen))


@given(st.dictionaries(st.text(), st.none() | st.text()), st.dictionaries(
    st.text(), st.none() | st.builds(Ran, st.integers(-(2**70), 2**70), st.text())))  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_writing_and_reading_gives_the_same(files, commands):
    seen = Capture("linux-x86_64", files, commands)
    assert parse_capture(json.dumps(seen.to_json()).encode()) == seen


def test_this_machine_replays_as_itself(tmp_path):
    live = Live()
    machine = detect(live)
    save(live.capture(), tmp_path / "capture.json")
    replayed = detect(Replay(load_capture(tmp_path / "capture.json")))
    uuids = [device.uuid for device in machine.devices]
    assert len({device.uuid for device in replayed.devices}) == len(set(uuids))
    assert replayed.limit_bytes == machine.limit_bytes
    assert (replayed.platform, replayed.name, replayed.cores, replayed.unknown) == (
        machine.platform, machine.name, machine.cores, machine.unknown)  # fmt: skip
    text = (tmp_path / "capture.json").read_text(encoding="utf-8")
    assert len(text) < MAX_CAPTURE_BYTES
    names = [platform.node(), str(Path.home()), getpass.getuser()]
    assert [name for name in names if len(name) > 4 and name in text] == []  # "root" is a word


def test_a_capture_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "capture.json"
    save(Capture("linux-x86_64"), path)
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("runner.base.files.os.fsync", full)
    with pytest.raises(Refused, match="cannot be written"):
        save(Capture("darwin-arm64"), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_a_capture_goes_through_a_link_or_a_pipe_and_does_not_replace_it(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.touch()
    link.symlink_to(target)
    save(Capture("linux-x86_64"), link)
    assert link.is_symlink()
    assert load_capture(target).platform == "linux-x86_64"
    code = (
        "from pathlib import Path; from runner.machine.captures.capture import *;"
        "save(Capture('linux-x86_64'), Path('/dev/stdout'))"
    )
    assert (
        parse_capture(subprocess.check_output([sys.executable, "-c", code])).platform
        == "linux-x86_64"
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="commands are slower elsewhere")
def test_detection_takes_less_than_a_tenth_of_a_second(monkeypatch):
    monkeypatch.setenv("PATH", "")  # a real nvidia-smi takes what it takes
    monkeypatch.setattr(module, "_EXTRA_FOLDERS", {"posix": ()})
    took = []
    for _ in range(3):
        start = time.perf_counter()
        detect(Live())
        took.append(time.perf_counter() - start)
    assert min(took) < 0.1


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """Put a shell script on an otherwise empty PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")

    def make(body, name="steprun-tool"):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return make


@posix
def test_a_command_runs_once_without_a_shell_and_in_english(tool, tmp_path):
    tool('echo "$1 $LC_ALL"; echo x >> "$(dirname "$0")/runs"; exit 3')
    live = Live()
    assert live.run("steprun-tool", "$(id);'") == Ran(3, "$(id);' C\n")
    assert live.run("steprun-tool", "$(id);'") == Ran(3, "$(id);' C\n")
    assert (tmp_path / "runs").read_text() == "x\n"
    assert live.capture().commands == {"steprun-tool $(id);'": Ran(3, "$(id);' C\n")}


@posix
def test_a_command_that_does_not_exist_is_not_started(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    live = Live()
    assert live.run("steprun-no-such-tool") is None
    assert live.capture().commands == {"steprun-no-such-tool": None}


@posix
def test_a_program_in_the_current_folder_is_never_run(tool, tmp_path, monkeypatch):
    tool("echo owned")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f".{os.pathsep}")
    assert Live().run("steprun-tool") is None


@posix
@pytest.mark.parametrize("body", ["sleep 20", "exec sleep 20", "yes"])
def test_a_command_that_hangs_or_floods_is_unknown(tool, monkeypatch, body):
    monkeypatch.setattr(module, "TIMEOUT_S", 0.3)
    tool(body)
    start = time.monotonic()
    assert Live().run("steprun-tool") is None
    assert time.monotonic() - start < 3


@posix
def test_files_that_are_not_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "closed").symlink_to(tmp_path / "nowhere")
    live = Live()
    assert live.file(str(tmp_path / "pipe")) is None  # and it does not wait for a writer
    assert live.file(str(tmp_path / "closed")) is None
    assert live.file(str(tmp_path)) is None
    assert live.file("\0") is None
    assert live.file("/dev/null") == ""
    assert str(tmp_path / "closed") not in live.capture().files


@posix
def test_a_device_is_not_opened_and_its_rights_are_told(monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path != "/dev/zero")
    live = Live()
    assert [live.file("/dev/full"), live.file("/dev/zero")] == ["", None]
    assert live.capture().files == {"/dev/full": "", "/dev/zero": None}


@posix
def test_what_exists_unread_is_told_from_what_does_not(tmp_path):
    (tmp_path / "a").write_bytes(b"one\xff\0")
    (tmp_path / "b").write_text("two")
    live = Live()
    assert live.glob(f"{tmp_path}/*") == [f"{tmp_path}/a", f"{tmp_path}/b"]
    assert live.file(f"{tmp_path}/a") == "one\ufffd\0"
    assert live.file(f"{tmp_path}/c") is None
    seen = live.capture()
    assert seen.files == {f"{tmp_path}/a": "one\ufffd\0", f"{tmp_path}/b": None}
    assert Replay(seen).glob(f"{tmp_path}/*") == [f"{tmp_path}/a", f"{tmp_path}/b"]


def test_a_large_file_is_read_in_part(tmp_path):
    (tmp_path / "large").write_bytes(b"x" * (3 << 20))
    assert len(Live().file(str(tmp_path / "large")) or "") == 1 << 20


def test_a_replayed_glob_matches_one_name_only():
    paths = ["/sys/card0/device/vendor", "/sys/card1/device/vendor", "/sys/card1/a/b/vendor", "/x"]
    replay = Replay(Capture("linux", dict.fromkeys(paths, "")))
    assert replay.glob("/sys/card*/device/vendor") == paths[:2]
    assert replay.glob("/sys/*") == []
    assert replay.glob("/sys/card[01]/device/vendor") == []


def test_uuids_become_numbers_and_stay_apart():
    scrubber = Scrubber()
    other = CARD.replace("d", "e")
    text = f"a, GPU-{CARD}, 1\nb, GPU-{other}, 2\n"
    assert scrubber.output("nvidia-smi -q", text) == (
        "a, GPU-00000000-0000-0000-0000-000000000000, 1\n"
        "b, GPU-00000000-0000-0000-0000-000000000001, 2\n"
    )
    assert scrubber.file("/proc/x", CARD.upper()) == "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        ("lshw", "Serial Number: C02XG0FDJGH5\n"),
        ("ioreg -l", '"IOPlatformSerialNumber" = "C02XG0FDJGH5"\n"gpu-core-count" = 40\n'),
        ("x", '{"a":1,"spdisplays_display-serial-number": "C02XG0FDJGH5","b":2}'),
        ("system_profiler -json SPDisplaysDataType", json.dumps({"SPDisplaysDataType": [{
            "_name": "Apple M2 Max", "sppci_cores": "30",
            "spdisplays_ndrvs": [{"_name": "C02XG0FDJGH5's iPad"}]}]})),
        ("system_profiler -json SPDisplaysDataType", "C02XG0FDJGH5"),
    ],
)  # fmt: skip
def test_serials_and_owners_are_dropped(argv, text):
    assert "C02XG0FDJGH5" not in Scrubber().output(argv, text)


def test_control_groups_lose_their_names_and_keep_their_limits(monkeypatch):
    own = "1:name=systemd:/lxc/adas-box\n0::/machine.slice/adas-box.scope/ada:app \n"
    inner = "/sys/fs/cgroup/machine.slice/adas-box.scope"
    files = {
        "/proc/self/cgroup": own,
        "/proc/meminfo": "MemTotal: 99999999 kB\nMemAvailable: 88888888 kB\n",
        "/sys/fs/cgroup/memory.max": "max",
        f"{inner}/memory.max": str(32 << 30),
        f"{inner}/ada:app/memory.max": "max",
        f"{inner}/ada:app/memory.current": "5",
    }
    monkeypatch.setattr(module, "_read", lambda path: (path in files, files.get(path)))
    monkeypatch.setattr(module, "_run", lambda argv: None)
    monkeypatch.setattr(sys, "platform", "linux")
    live = Live()
    here = detect(live)
    seen = live.capture()
    assert "ada" not in json.dumps(seen.to_json())
    assert "/sys/fs/cgroup/memory.max" in seen.files
    assert here.limit_bytes == 32 << 30
    assert detect(Replay(seen)).limit_bytes == here.limit_bytes


@pytest.mark.parametrize("unit", ["serial", '"serial', "serial :", '"serial":', "deadbeef-", "\n:"])
@pytest.mark.parametrize("start", ["", '"', "a "])
def test_a_long_output_is_cleaned_in_no_long_time(unit, start):
    begun = time.process_time()
    Scrubber().output("x", start + unit * ((1 << 20) // len(unit)))
    assert time.process_time() - begun < 2


def test_what_the_probes_need_is_kept():
    profile = '{"SPDisplaysDataType":[{"_name":"Apple M2 Max","sppci_cores":"30","x":"y"}]}'
    kept = Scrubber().output("system_profiler -json SPDisplaysDataType", profile)
    assert json.loads(kept)["SPDisplaysDataType"] == [
        {"_name": "Apple M2 Max", "sppci_cores": "30"}
    ]
    cpuinfo = "processor : 0\nflags : fpu vme\nmodel name : X\nSerial\t\t: 10000000abcdef\n"
    assert Scrubber().file("/proc/cpuinfo", cpuinfo) == "processor : 0\nmodel name : X\n"


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("32607 MiB", 1, 32607 * MIB),
        ("32607", MIB, 32607 * MIB),
        ("73728,00 MB", 1, 73728 * MIB),
        ("127600748 kB", 1, 127600748 * 1024),
        ("1,25 GiB", 1, 5 << 28),
        ("\x1b[1m 8 \x1b[0m", 1, 8),
        ("8\0", 1, 8),
        (str(1 << 60), 1, 1 << 60),
        *[(text, 1, None) for text in ("", "[N/A]", "N/A", "Not Supported", "-1", "0", "٣",
            "1 2", "5 lightyears", "1.234.567", "1e9", str(1 << 64), "9" * 9999, None)],
    ],
)  # fmt: skip
def test_sizes(text, unit, expected):
    assert parse_size(text, unit) == expected


def test_small_readings():
    assert parse_size("0", least=0) == 0
    assert [count(t) for t in ("40", "0", "-2", "4097", "x", "", None)] == [40, *[None] * 6]
    assert strip_codes("a\x1b]0;title\x07b\u202ec\nd") == "ab c d"
    assert strip_codes("x" * 999) == "x" * 120
    values: list[Any] = [5, 16.0, "a", True, None, 1e300, 10**400, []]
    assert [text_of(value) for value in values] == ["5", "16", "a", "", "", "", "", ""]
