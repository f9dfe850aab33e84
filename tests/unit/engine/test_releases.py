"""Engines that others built, fetched from a fake of GitHub's releases.

`python -m tests.unit.engine.test_releases` prints what becomes of each manner of answering.
"""

import hashlib
import os
import re
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from runner.base.errors import BadFile, Exit, Refused, SteprunError, UsageError
from runner.base.paths import shipped
from runner.base.progress import Phase
from runner.engine.builder import sources_toml
from runner.engine.installed import store
from runner.engine.releases import fetch, release_list
from runner.engine.releases.release_list import Asset
from runner.machine.facts import Backend, Machine, Platform
from runner.net.retry import Patience
from tests.fakes.hub import Manner
from tests.fakes.releases import ENGINE, SERVER, FakeReleases, member, tar_gz, zipped

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the fake engine is a shell script")

VULKAN = "llama-b11429-bin-ubuntu-vulkan-x64.tar.gz"
GOOD = tar_gz()
Change = Callable[[FakeReleases], None]
QUICK = Patience(head_s=0.5, stall_s=0.5, slow_s=0.4, slow_bytes=1000, tries=3, pause_s=0.01)

# What upstream's releases hold: b10356 as the project's own notes have it, b11158 of September
# 2026 and lemonade's b1342 as other projects' installers list them.
B10356 = """macos-arm64.tar.gz macos-x64.tar.gz ubuntu-x64.tar.gz ubuntu-arm64.tar.gz
ubuntu-s390x.tar.gz ubuntu-vulkan-x64.tar.gz ubuntu-vulkan-arm64.tar.gz
ubuntu-rocm-7.14-x64.tar.gz ubuntu-openvino-2026.2.1-x64.tar.gz ubuntu-sycl-fp16-x64.tar.gz
win-cpu-x64.zip win-cpu-arm64.zip win-cuda-12.4-x64.zip win-cuda-13.3-x64.zip win-vulkan-x64.zip
win-hip-radeon-x64.zip"""
B11158 = """android-arm64-snapdragon.tar.gz android-arm64.tar.gz linux-arm64-snapdragon.tar.gz
macos-arm64.tar.gz macos-x64.tar.gz ubuntu-arm64.tar.gz ubuntu-cuda-12.8-x64.tar.gz
ubuntu-cuda-13.4-arm64.tar.gz ubuntu-cuda-13.4-x64.tar.gz ubuntu-openvino-2026.4-x64.tar.gz
ubuntu-rocm-10.0-x64.tar.gz ubuntu-s390x.tar.gz ubuntu-sycl-fp16-x64.tar.gz
ubuntu-vulkan-arm64.tar.gz ubuntu-vulkan-x64.tar.gz ubuntu-x64.tar.gz win-cpu-arm64.zip
win-cpu-x64.zip win-cuda-12.4-x64.zip win-cuda-13.4-arm64.zip win-cuda-13.4-x64.zip
win-opencl-adreno-arm64.zip win-rocm-10.0-x64.zip win-sycl-x64.zip win-vulkan-x64.zip"""
NAMES = {
    "b10356": [
        *(f"llama-b10356-bin-{end}" for end in B10356.split()),
        "cudart-llama-bin-win-cuda-13.3-x64.zip",
    ],
    "b11158": [
        *(f"llama-b11158-bin-{end}" for end in B11158.split()),
        *("cudart-llama-bin-win-cuda-12.4-x64.zip", "cudart-llama-bin-win-cuda-13.4-x64.zip"),
        *("cudart-llama-bin-win-cuda-13.4-arm64.zip", "llama-b11158-ui.tar.gz"),
        "cudart-llama-b11158-bin-ubuntu-cuda-12.8-x64.tar.gz",
        "cudart-llama-b11158-bin-ubuntu-cuda-13.4-arm64.tar.gz",
        "cudart-llama-b11158-bin-ubuntu-cuda-13.4-x64.tar.gz",
    ],
    "lemonade": [
        f"llama-b1342-{system}-rocm-{gfx}-x64.zip"
        for system in ("ubuntu", "windows")
        for gfx in ("gfx103X", "gfx1150", "gfx1151", "gfx120X")
    ],
}


def machine(
    system: str = "linux",
    arch: str = "x86_64",
    backend: str = "vulkan",
    platform: Platform = Platform.VULKAN,
) -> Machine:
    return Machine(
        platform, "test", system, arch, 128 << 30, True, Backend(backend), 96 << 30, "", 0, ""
    )


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("runner.net.download.Patience", lambda: QUICK)
    monkeypatch.setattr(release_list, "PATIENCE", QUICK)
    with FakeReleases({"v0.6.0": {"nightly-tag.txt": b"b11429"}, "b11429": {VULKAN: GOOD}}) as fake:
        monkeypatch.setenv("STEPRUN_RELEASES", fake.url)
        yield fake


def get(**asked: Any) -> store.InstalledEngine:
    return fetch.fetch_release(asked.pop("machine", machine()), lambda *_: None, **asked)


def left() -> list[str]:
    """Return what lies about in the folder of half-made things, locks aside."""
    work = store.work_dir()
    return [p.name for p in work.rglob("*") if p.is_file() and p.suffix != ".lock"]


# --- which archive


@pytest.mark.parametrize(
    ("where", "on", "name", "beside"),
    [
        ("b10356", "macos arm64 metal apple", "bin-macos-arm64.tar.gz", ""),
        ("b10356", "linux x86_64 vulkan vulkan", "bin-ubuntu-vulkan-x64.tar.gz", ""),
        ("b10356", "linux arm64 vulkan vulkan", "bin-ubuntu-vulkan-arm64.tar.gz", ""),
        ("b10356", "linux x86_64 cpu cpu", "bin-ubuntu-x64.tar.gz", ""),
        ("b10356", "linux x86_64 rocm rocm", "ubuntu-rocm-7.14-x64.tar.gz", ""),
        ("b10356", "windows x86_64 rocm rocm", "win-hip-radeon-x64.zip", ""),
        ("b11158", "windows x86_64 rocm rocm", "win-rocm-10.0-x64.zip", ""),
        ("b10356", "windows x86_64 vulkan strix-halo", "bin-win-vulkan-x64.zip", ""),
        ("b10356", "windows x86_64 cpu cpu", "bin-win-cpu-x64.zip", ""),
        (
            *("b10356", "windows x86_64 cuda cuda", "bin-win-cuda-13.3-x64.zip"),
            "cudart-llama-bin-win-cuda-13.3-x64.zip",
        ),
        (
            *("b11158", "windows x86_64 cuda cuda", "bin-win-cuda-13.4-x64.zip"),
            "cudart-llama-bin-win-cuda-13.4-x64.zip",
        ),
        (
            *("b11158", "linux x86_64 cuda cuda", "bin-ubuntu-cuda-12.8-x64.tar.gz"),
            "cudart-llama-b11158-bin-ubuntu-cuda-12.8-x64.tar.gz",
        ),
        (
            *("b11158", "linux arm64 cuda gb10", "bin-ubuntu-cuda-13.4-arm64.tar.gz"),
            "cudart-llama-b11158-bin-ubuntu-cuda-13.4-arm64.tar.gz",
        ),
        ("b10356", "linux arm64 cuda gb10", "", ""),
        ("lemonade", "linux x86_64 rocm strix-halo", "ubuntu-rocm-gfx1151-x64.zip", ""),
        ("lemonade", "windows x86_64 rocm strix-halo", "windows-rocm-gfx1151-x64.zip", ""),
    ],
)
def test_the_right_archive_is_chosen(where, on, name, beside):
    system, arch, backend, platform = on.split()
    asked = machine(system, arch, backend, Platform(platform))
    source = where if where == "lemonade" else "upstream"
    release = sources_toml.releases()[source]
    rows = [row for row in release.rows if row.fits(asked)]
    assert rows
    found = fetch.choose([Asset(n, "", 1, "") for n in NAMES[where]], release, rows)
    if not name:
        assert found is None
        return
    assert found
    assert found.asset.name.endswith(name)
    assert (found.beside.name if found.beside else "") == beside
    assert re.fullmatch(r"b\d+", found.build)
    assert found.backend == backend


def test_without_its_libraries_an_archive_is_not_chosen():
    release = sources_toml.releases()["upstream"]
    rows = [row for row in release.rows if row.fits(machine(backend="cuda"))]
    names = [name for name in NAMES["b11158"] if not name.startswith("cudart")]
    assert fetch.choose([Asset(n, "", 1, "") for n in names], release, rows) is None


# --- one that comes


@pytest.mark.parametrize("kind", ["tar.gz", "zip", "zip without rights"])
def test_an_engine_is_fetched_and_described(server, kind):
    name = VULKAN if kind == "tar.gz" else VULKAN.replace("tar.gz", "zip")
    data = GOOD if kind == "tar.gz" else zipped(modes=kind == "zip")
    server.releases = {"b11429": {name: data}}
    server.files = {f"b11429/{name}": data}
    engine = get()
    stamp = engine.stamp
    assert engine.name == "vulkan-b11429"
    assert stamp.backend is Backend.VULKAN
    assert stamp.origin.sha256 == hashlib.sha256(data).hexdigest()
    assert stamp.origin.where == f"{server.url}/b11429/{name}"
    assert (stamp.origin.source, stamp.origin.version) == ("upstream", "b11429")
    assert stamp.origin.commit == "0123abcd"
    assert stamp.devices == ("Vulkan0: A fake card (24576 MiB)",)
    assert "--model" in stamp.flags
    assert Path(engine.program[0]).stat().st_mode & stat.S_IXUSR
    assert engine.tool("llama-bench")
    assert store.find_engine("vulkan-b11429").stamp == stamp
    assert left() == []


def test_the_same_is_not_fetched_twice_and_another_of_that_name_is(server):
    get()
    before = server.body_bytes
    assert get().name == "vulkan-b11429"
    assert server.body_bytes == before
    other = tar_gz(ENGINE | {"more": b"more"})
    server.releases["b11429"][VULKAN] = server.files[f"b11429/{VULKAN}"] = other
    assert get().stamp.origin.sha256 == hashlib.sha256(other).hexdigest()
    kept = [engine.name for engine in store.engines()]
    assert kept == ["embedded", "vulkan-b11429", "vulkan-b11429-2"], "nothing is replaced"


def test_cuda_brings_its_libraries_along(server):
    main = "llama-b11500-bin-ubuntu-cuda-12.8-x64.tar.gz"
    libraries = tar_gz({"libcudart.so.12": b"lib"}, top="cudart-b11500/")
    both = {main: tar_gz(), f"cudart-{main}": libraries}
    server.releases = {"b11500": both}
    server.files = {f"b11500/{name}": data for name, data in both.items()}
    engine = get(machine=machine(backend="cuda"))
    assert engine.name == "cuda-b11500"
    assert Path(engine.program[0]).with_name("libcudart.so.12").read_bytes() == b"lib"
    assert left() == []


def test_lemonade_comes_first_on_a_strix_halo(server):
    name = "llama-b1342-ubuntu-rocm-gfx1151-x64.zip"
    server.releases = {"b1342": {name: zipped(modes=False)}}
    server.files = {f"b1342/{name}": zipped(modes=False)}
    asked = machine(backend="rocm", platform=Platform.STRIX_HALO)
    assert get(machine=asked).name == "rocm-lemonade-b1342"


def test_one_version(server):
    assert get(version="b11429").name == "vulkan-b11429"
    with pytest.raises(UsageError, match="cannot be read"):
        get(version="b1")
    with pytest.raises(UsageError, match="not a version"):
        get(version="../../user")


def test_a_release_that_only_names_a_build_is_followed(server):
    assert get(version="v0.6.0").name == "vulkan-b11429"
    store.remove(store.find_engine("vulkan-b11429"))
    server.list_pages = ["v0.6.0"]  # the build it stands for has left the list of the newest
    assert get().name == "vulkan-b11429"


@pytest.mark.parametrize("text", [b"", b"../../x", b"b1 b2", b"v0.6.0", b"b" * 5000])
def test_a_release_that_names_no_build_is_refused(server, text):
    server.releases["v0.6.0"] = {"nightly-tag.txt": text}
    server.files["v0.6.0/nightly-tag.txt"] = text
    with pytest.raises((Refused, SteprunError)) as caught:
        get(version="v0.6.0")
    assert caught.value.next
    assert [engine.name for engine in store.engines()] == ["embedded"]


def test_a_broken_connection_is_gone_on_with(server):
    server.turns[f"b11429/{VULKAN}"] = [Manner(cut=300), Manner()]
    assert get().name == "vulkan-b11429"
    assert server.body_bytes == len(GOOD)


def test_from_this_disk_without_any_network(server, tmp_path):
    file = tmp_path / VULKAN
    file.write_bytes(GOOD)
    engine = get(archive=file)
    assert engine.name == "vulkan-b11429"
    assert engine.stamp.origin.sha256 == hashlib.sha256(GOOD).hexdigest()
    assert server.asked == []
    assert file.read_bytes() == GOOD
    other = file.rename(tmp_path / "My Own Build.tgz")
    assert get(archive=other).name == "vulkan-my-own-build"
    with pytest.raises(BadFile, match="not the expected file"):
        get(archive=other, sha256="0" * 64)
    with pytest.raises(UsageError, match="must be 64 hexadecimal digits"):
        get(archive=other, sha256="12")


SINGLE = b"""#!/bin/sh
[ "$1" = serve ] || exit 1
shift
""" + SERVER.removeprefix(b"#!/bin/sh\n")


@pytest.mark.parametrize("name", ["My-App.tgz", "llama-b11500-bin-ubuntu-x64.tar.gz"])
def test_the_single_program_is_an_engine_too(server, tmp_path, name):
    """As llama.app installs it: `llama serve`, and no llama-server beside it."""
    file = tmp_path / name
    file.write_bytes(tar_gz({"llama": SINGLE, "llama-old": b"x"}, top="bin/"))
    engine = get(archive=file)
    assert engine.program == (str(engine.folder / "bin" / "llama"), "serve")
    assert "--model" in engine.stamp.flags


# --- one that does not


def flipped(data: bytes) -> bytes:
    return data[:150] + bytes([data[150] ^ 1]) + data[151:]


def hostile(*odd, **more) -> Change:
    """Serve an archive that its list vouches for."""

    def change(server):
        data = tar_gz(odd=odd, **more)
        server.releases["b11429"][VULKAN] = server.files[f"b11429/{VULKAN}"] = data

    return change


def served(data) -> Change:
    return lambda server: server.files.update({f"b11429/{VULKAN}": data})


def mannered(*manners) -> Change:
    def change(server):
        server.manner = manners[-1]
        server.turns[f"b11429/{VULKAN}"] = list(manners)

    return change


def listed(**changes) -> Change:
    return lambda server: server.changes.update({VULKAN: changes})


def answered(body=None, *statuses) -> Change:
    def change(server):
        server.list_body = body
        server.list_status = list(statuses)

    return change


def renamed(server):
    server.releases = {"b11429": {"llama-b11429-bin-ubuntu-haiku-x64.tar.gz": GOOD}}


OUT = tar_gz({"../../../escaped": b"x"}, top="")
LINK = member("llama-b11429/x", b"2", "../../..")
# What the server does, what comes of it, and a word of why.
OUTCOMES = {
    "good": (lambda _: None, Exit.DONE, ""),
    "429, then good": (mannered(Manner(status=429), Manner()), Exit.DONE, ""),
    "broken off, then good": (mannered(Manner(cut=300), Manner()), Exit.DONE, ""),
    "a redirect": (mannered(Manner(redirect="/f"), Manner()), Exit.DONE, ""),
    "one byte is wrong": (served(flipped(GOOD)), Exit.BAD_FILE, "sha256"),
    "shorter than promised": (served(GOOD[:-9]), Exit.BAD_FILE, "should have"),
    "longer than promised": (served(GOOD + b"x"), Exit.BAD_FILE, "should have"),
    "a web page with status 200": (mannered(Manner(page=True)), Exit.BAD_FILE, "web page"),
    "another digest in the list": (
        listed(digest=f"sha256:{'0' * 64}"),
        Exit.BAD_FILE,
        "sha256",
    ),
    "another size in the list": (listed(size=5), Exit.BAD_FILE, "should have"),
    "../ inside": (hostile(after={"../../escaped": b"x"}), Exit.BAD_FILE, "leads outside"),
    "an absolute name inside": (hostile(after={"/escaped": b"x"}), Exit.BAD_FILE, "leads outside"),
    "a symlink out": (hostile(LINK), Exit.BAD_FILE, "leads outside"),
    "a file through a symlink": (
        *(hostile(LINK, after={"llama-b11429/x/escaped": b"x"}), Exit.BAD_FILE, "leads outside"),
    ),
    "a hard link out": (hostile(member("x", b"1", "/etc/passwd")), Exit.BAD_FILE, "leads outside"),
    "a device": (hostile(member("x", b"3")), Exit.BAD_FILE, "device"),
    "no llama-server inside": (hostile(files={"README": b"x"}), Exit.BAD_FILE, "no llama-server"),
    "a server that is none": (
        *(hostile(files={"llama-server": b"#!/bin/sh\n"}), Exit.FAILED, "lists no --model"),
    ),
    "truncated at every try": (
        *(mannered(Manner(cut=300, ranges=False)), Exit.FAILED, "bytes have arrived"),
    ),
    "500 for ever": (mannered(Manner(status=500)), Exit.FAILED, "status 500"),
    "404": (mannered(Manner(status=404)), Exit.FAILED, "status 404"),
    "silence": (mannered(Manner(silent=True)), Exit.FAILED, "No answer"),
    "a drip": (mannered(Manner(drip_s=0.01)), Exit.FAILED, "almost nothing"),
    "a redirect to no web address": (
        mannered(Manner(redirect="ftp://x/")),
        Exit.REFUSED,
        "web address",
    ),
    "no digest": (listed(digest=None), Exit.REFUSED, "no sha256"),
    "an odd digest": (listed(digest="md5:00"), Exit.REFUSED, "no sha256"),
    "still being uploaded": (listed(state="starter"), Exit.REFUSED, "available: no archive"),
    "other names": (renamed, Exit.REFUSED, "ubuntu-haiku"),
    "no releases": (answered(b"[]"), Exit.REFUSED, "available: no archive"),
    "the list: 403": (answered(None, (403, ())), Exit.FAILED, "pause"),
    "the list: 429": (answered(None, (429, (("Retry-After", "90"),))), Exit.FAILED, "pause"),
    "the list: 500": (answered(None, *[(500, ())] * 3), Exit.FAILED, "status 500"),
    "the list: 404": (answered(None, (404, ())), Exit.USAGE, "404"),
    "the list: to ftp": (
        answered(None, (302, (("Location", "ftp://x/"),))),
        Exit.FAILED,
        "web address",
    ),
    "the list: a web page": (answered(b"<html>Sign in"), Exit.FAILED, "web page"),
    "the list: no JSON": (answered(b"{"), Exit.FAILED, "not JSON"),
    "the list: deeply nested": (answered(b"[" * 200_000), Exit.FAILED, "not JSON"),
    "the list: no list": (answered(b'{"message": "hi"}'), Exit.FAILED, "not a list"),
    "the list: odd things": (answered(b'[1, {"assets": [2, {}]}]'), Exit.REFUSED, "no archive"),
    "the list: too long": (answered(b" " * (1 << 21)), Exit.FAILED, "sends more than"),
}


def outcome(server, change) -> tuple[Exit, SteprunError | None]:
    """Return how a fetch ends: its exit code, and the error if it is one."""
    change(server)
    try:
        get()
    except SteprunError as error:
        return error.exit_code, error
    return Exit.DONE, None


@pytest.mark.parametrize("what", OUTCOMES)
def test_what_becomes_of_it(server, what, tmp_path, monkeypatch):
    monkeypatch.setattr(release_list, "LIST_BYTES", 1 << 20)
    server.files["f"] = GOOD
    change, code, word = OUTCOMES[what]
    found, error = outcome(server, change)
    assert found == code, error
    here = [engine.name for engine in store.engines()]
    assert here == ["embedded"] + ["vulkan-b11429"] * (code is Exit.DONE)
    assert not list(tmp_path.rglob("escaped"))
    assert [name for name in left() if not name.endswith(".part")] == []
    if error is not None:
        assert word in error.why
        assert error.next


def test_what_the_user_knows_stands_in_for_the_digest(server):
    server.digests = False
    right = hashlib.sha256(GOOD).hexdigest()
    assert get(sha256=right.upper()).stamp.origin.sha256 == right
    store.remove(store.find_engine("vulkan-b11429"))
    with pytest.raises(BadFile, match="not what was published"):
        get(sha256="0" * 64)
    server.digests = True
    with pytest.raises(BadFile, match="not the expected file"):
        get(sha256="0" * 64)


def test_what_an_encrypted_list_names_without_encryption_is_left_out():
    item = {"assets": [{"name": "a.zip", "browser_download_url": "http://x/a.zip", "size": 1}]}
    assert list(release_list._assets(item, "http://127.0.0.1/")) != []
    assert list(release_list._assets(item, "https://api.example/")) == []


def test_a_machine_that_nobody_builds_for(server):
    old_spark = {"b10356": dict.fromkeys(NAMES["b10356"], b"x")}
    server.releases = old_spark
    with pytest.raises(Refused) as caught:
        get(machine=machine("linux", "arm64", "cuda", Platform.GB10), source="upstream")
    assert "ubuntu-vulkan-arm64" in caught.value.why
    assert "steprun engine build" in caught.value.next
    assert "steprun engine fetch --source xllamacpp" in caught.value.next
    with pytest.raises(Refused, match="no archive of metal") as caught:
        get(machine=machine("linux", "x86_64", "metal"))
    assert "cpu, cuda, rocm, vulkan" in caught.value.why
    with pytest.raises(UsageError, match="no release source"):
        get(source="elsewhere")
    with pytest.raises(Refused, match="at lemonade"):
        get(source="lemonade")


def failing(script: str) -> bytes:
    """Return an archive whose engine is this shell script."""
    return tar_gz({"llama-server": f"#!/bin/sh\n{script}\n".encode()})


ROCM = "llama-b11429-bin-ubuntu-rocm-10.0-x64.tar.gz"
SAYS = "echo '-m, --model FNAME  x'; echo '--list-devices  y'"


BLIND = "ggml_cuda_init: failed to initialize ROCm: no ROCm-capable device is detected"
NOT_HERE = {
    "nothing for ROCm": ({}, "no archive of rocm"),
    "its library is missing": (
        {ROCM: failing("echo ImportError: libamdhip64.so.7: cannot open shared object; exit 1")},
        "libamdhip64.so.7",
    ),
    "it finds no device": (
        {ROCM: failing(f"{SAYS}; echo '{BLIND}'")},
        "lists no rocm device. AMD's driver shows it no card",
    ),
}


@pytest.mark.parametrize("what", NOT_HERE)
def test_another_backend_is_taken_where_none_works_with_the_machines_own(server, what):
    files, why = NOT_HERE[what]
    server.releases["b11429"] |= files
    server.files |= {f"b11429/{name}": data for name, data in files.items()}
    told: list[str] = []
    card = machine(backend="rocm", platform=Platform.ROCM)
    asked: dict[str, Any] = {"machine": card, "source": "upstream"}
    got = get(**asked, others=(Backend.VULKAN,), skipped=told.append)
    assert got.name == "vulkan-b11429"
    assert why in " ".join(told)
    assert [engine.name for engine in store.engines()] == ["embedded", "vulkan-b11429"]
    assert left() == []


def test_a_dry_run_says_why_another_is_taken(server):
    card = machine(backend="rocm", platform=Platform.ROCM)
    lines = fetch.plan_fetch(card, source="upstream", others=(Backend.VULKAN,))
    assert lines[0].startswith("# ggml-org/llama.cpp has no archive of rocm")
    assert VULKAN in lines[1]


def test_a_network_that_is_down_is_no_reason_to_take_another(server, monkeypatch):
    monkeypatch.setenv("STEPRUN_RELEASES", "http://127.0.0.1:9")
    told: list[str] = []
    with pytest.raises(SteprunError, match="cannot be read"):
        get(others=(Backend.CPU,), skipped=told.append)
    assert told == []


def test_an_archive_is_a_file(server, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is not an archive"):
        get(archive=tmp_path / "pipe")


def test_ctrl_c_leaves_no_engine(server):
    def interrupt(seen):
        if seen.phase is Phase.UNPACKING:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch.fetch_release(machine(), interrupt)
    assert [engine.name for engine in store.engines()] == ["embedded"]
    assert left() == []


def test_the_shipped_list_is_read_strictly(tmp_path, monkeypatch):
    text = (shipped("builds") / "sources.toml").read_text("utf-8")
    monkeypatch.setattr(sources_toml, "shipped", lambda _: tmp_path)
    for old, new in [
        ('branch = "step3.7"', 'branch = "step3.7"\ntag = "b1"'),
        ('tag = "b11549"', 'tagg = "b11429"'),
        ("bytes = 76589250", 'bytes = "76589250"'),
        ('sha256 = "832d', 'sha256 = "xyz'),
        ('backend = "rocm", platform', 'backend = "rock", platform'),
        ("ubuntu-rocm-gfx1151-x64", "ubuntu-(rocm"),
        ("(?P<build>", "(?P<bild>"),
    ]:
        assert old in text
        (tmp_path / "sources.toml").write_text(text.replace(old, new), "utf-8")
        with pytest.raises(BadFile, match="sources"):
            _ = sources_toml.sources.__wrapped__(), sources_toml.releases.__wrapped__()


def table() -> None:
    """Print what becomes of each manner of answering."""
    for what, (change, _, _) in OUTCOMES.items():
        with (
            tempfile.TemporaryDirectory() as home,
            FakeReleases({"b11429": {VULKAN: GOOD}}) as server,
            mock.patch("runner.net.download.Patience", return_value=QUICK),
            mock.patch.dict(os.environ, STEPRUN_HOME=home, STEPRUN_RELEASES=server.url),
            mock.patch.object(release_list, "LIST_BYTES", 1 << 20),
        ):
            server.files["f"] = GOOD
            code, error = outcome(server, change)
            told = str(error).replace(server.url, "http://server") if error else "an engine"
            sys.stdout.write(f"{what:32} {code.value}  {told[:150]}\n")


if __name__ == "__main__":
    table()
