"""Wheels of xllamacpp as engines: which one, from where, and what becomes of odd ones."""

import os
from pathlib import Path

import pytest
from packaging.tags import parse_tag

from runner.base.errors import BadFile, Refused, SteprunError, UsageError
from runner.base.paths import shipped
from runner.engine.installed import store
from runner.engine.installed.stamp import Kind
from runner.engine.releases import fetch, wheel_index, wheel_rows, wheels
from runner.engine.releases.wheel_index import Listed
from runner.engine.releases.wheel_rows import Here
from runner.machine.facts import Backend, Machine, Platform
from runner.net.retry import Patience
from tests.fakes.wheels import FakeIndex, wheel

QUICK = Patience(head_s=0.5, stall_s=0.5, slow_s=0.4, slow_bytes=1000, tries=2, pause_s=0.01)
NAME = "xllamacpp-2026.11.1-py3-none-any.whl"


def machine(on: str, platform: Platform = Platform.VULKAN) -> Machine:
    system, arch, backend = on.split()
    return Machine(
        platform, "test", system, arch, 128 << 30, True, Backend(backend), 96 << 30, "", 0, ""
    )


# --- which variant

CUDA, ROCM = "linux x86_64 cuda", "linux x86_64 rocm"
HIP7, HIP6 = frozenset({"libamdhip64.so.7"}), frozenset({"libamdhip64.so.6"})


@pytest.mark.parametrize(
    ("on", "here", "variants"),
    [
        ("linux arm64 cuda", Here("2.39", ("12.1",), "13.0"), "cu132"),  # GB10
        ("linux arm64 cuda", Here("2.39", ("12.1",), "12.8"), "cu128"),  # compiled by the driver
        ("linux arm64 cuda", Here("2.39", ("12.1",)), "cu132"),  # a driver that does not say
        (CUDA, Here("2.39", ("12.0",), "13.0"), "cu132 cu128"),
        (CUDA, Here("2.39", ("12.0",), "12.9"), "cu128"),
        (CUDA, Here("2.35", ("8.9", "8.6"), "13.1"), "cu132 cu128"),
        (CUDA, Here("2.35", ("8.9", "6.1"), "13.1"), "cu128"),
        (CUDA, Here("2.35", ("9.0",), "13.0"), "cu128"),  # compiled by a driver that knows it
        (CUDA, Here("2.35", ("9.0",), "13.2"), "cu132 cu128"),
        (CUDA, Here("2.35", ("7.5",), "12.8"), "cu128"),
        (CUDA, Here("2.31", ("8.9",), "13.2"), ""),
        (CUDA, Here("", ("8.9",), "13.2"), ""),  # musl
        (ROCM, Here("2.39", gfx=("gfx1151",), libraries=HIP7), "rocm-7.2.4"),
        (ROCM, Here("2.39", gfx=("gfx1151",), libraries=HIP6), ""),
        (ROCM, Here("2.39", gfx=("gfx1100",), libraries=HIP6), "rocm-6.4.1"),
        (ROCM, Here("2.39", gfx=("gfx1100", "gfx906"), libraries=HIP7), ""),
        ("linux x86_64 vulkan", Here("2.39"), "vulkan"),
        ("windows x86_64 vulkan", Here(), "vulkan"),
        ("linux x86_64 cpu", Here("2.31"), "cpu"),
        ("macos arm64 metal", Here(), "metal"),
    ],
)
def test_the_variants_that_a_machine_can_run(on, here, variants):
    rows = wheel_rows.document().variant
    assert [r.name for r in rows if not wheel_rows.misfit(r, machine(on), here)] == variants.split()


@pytest.mark.parametrize(
    ("number", "name"),
    [(110501, "gfx1151"), (90010, "gfx90a"), (90402, "gfx942"), (100300, "gfx1030")],
)
def test_the_kernels_number_of_a_chip_is_its_name(number, name):
    assert wheels.gfx_name(number) == name


class Said:
    """A reader of one machine's answers."""

    platform = "linux-x86_64"

    def file(self, path):
        return {"/n/1": "simd_count 0\ngfx_target_version 0\n"}.get(
            path, "simd_count 80\ngfx_target_version 110501\n"
        )

    def glob(self, pattern):
        return ["/n/1", "/n/2"]

    def run(self, *argv):
        from runner.machine.captures.capture import Ran

        return Ran(0, "12.1\n" if len(argv) > 1 else "| Driver 590.1  CUDA UMD Version: 13.1 |\n")


def test_a_machine_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setenv("ROCM_PATH", str(tmp_path))
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libamdhip64.so.7").touch()
    here = wheels.look(Said())
    assert (here.capabilities, here.cuda, here.gfx) == (("12.1",), "13.1", ("gfx1151",))
    assert "libamdhip64.so.7" in here.libraries


# --- which file


def listed(*names: str) -> list[Listed]:
    return [Listed(name, f"https://x/{name}", "") for name in names]


def test_the_newest_that_this_python_loads_is_taken():
    tags = [*parse_tag("cp311-abi3-manylinux_2_35_x86_64"), *parse_tag("cp310-abi3-linux_x86_64")]
    end = "manylinux_2_35_x86_64.whl"
    names = [
        f"xllamacpp-2026.9.1-cp311-abi3-{end}",
        f"xllamacpp-2026.10.11549-cp311-abi3-{end}",
        f"xllamacpp-2026.12.1-cp313-cp313-{end}",
        f"xllamacpp-2027.1.0rc1-cp311-abi3-{end}",
        f"other-2028.1-cp311-abi3-{end}",
        "xllamacpp-2029.1-cp311-abi3-win_amd64.whl",
        "not a wheel.whl",
    ]
    found = wheel_rows.best(listed(*names), "xllamacpp", tags)
    assert found is not None
    assert found[1] == "2026.10.11549"
    older = wheel_rows.best(listed(*names), "xllamacpp", tags, "2026.9.1")
    assert older is not None
    assert older[1] == "2026.9.1"
    assert wheel_rows.best(listed(*names), "xllamacpp", tags, "1") is None


def test_a_page_is_read_with_suspicion():
    page = f"""<a href="a/b-1-py3-none-any.whl#sha256={"0" * 64}">b</a>
    <a href='c%2B1.whl'>c</a> <a>none</a> <a href="ftp://x/d.whl">d</a> <a href="http://x/e.whl">
    <a href="f.whl" data-yanked="bad">f</a> <a href="g.tar.gz">g</a> <a href="..%2Fh.whl">h</a>
    <a href="i.whl#sha256=12">i</a> <a href="https://["> <A HREF=j.whl"""
    found = list(wheel_index.parse(page, "https://x/y/"))
    assert [(each.name, bool(each.sha256)) for each in found] == [
        ("b-1-py3-none-any.whl", True),
        ("c+1.whl", False),
        ("i.whl", False),
    ]
    assert found[0].url == "https://x/y/a/b-1-py3-none-any.whl"


# --- fetched

posix = pytest.mark.skipif(os.name == "nt", reason="paths of POSIX")


@pytest.fixture
def index(monkeypatch):
    monkeypatch.setattr("runner.net.download.Patience", lambda: QUICK)
    monkeypatch.setattr(wheel_index, "PATIENCE", QUICK)
    monkeypatch.setattr(wheels, "look", lambda _: Here("2.39", ("12.1",), "13.0"))
    with FakeIndex({NAME: wheel()}) as fake:
        fake.list("cu132", NAME)
        monkeypatch.setenv("STEPRUN_WHEELS", fake.url)
        monkeypatch.setenv("STEPRUN_RELEASES", fake.url)  # none there
        yield fake


def get(**asked):
    spark = machine("linux arm64 cuda", Platform.GB10)
    return fetch.fetch_release(asked.pop("machine", spark), lambda *_: None, **asked)


@posix
def test_a_wheel_becomes_an_engine_with_an_environment_of_its_own(index):
    told: list[str] = []
    engine = get(announce=told.append)  # a Spark takes it without being told so
    stamp = engine.stamp
    assert engine.name == "cuda-xllamacpp-cu132-2026.11.1"
    assert (stamp.kind, stamp.backend, stamp.version) == (Kind.WHEEL, Backend.CUDA, "2026.11.1")
    assert stamp.devices == ("CUDA0: A fake card (24576 MiB)",)
    assert {"--model", "--mmproj", "--list-devices"} <= stamp.flags
    assert Path(engine.program[0]).is_relative_to(engine.folder)
    assert engine.program[1:] == ("-I", "-m", "runner.engine.process.embedded")
    assert told == [f"{NAME} ({len(wheel())} bytes) to {engine.folder}"]
    assert not stamp.passed, "nobody has asked its canary yet"
    before = index.body_bytes
    assert get() == engine
    assert index.body_bytes == before
    assert not list((store.work_dir() / "downloads").glob("*.whl"))


def test_what_would_be_downloaded_is_told(index):
    spark = machine("linux arm64 cuda", Platform.GB10)
    first, second = fetch.plan_fetch(spark)
    assert NAME in first
    assert str(store.folder() / "cuda-xllamacpp-cu132-2026.11.1") in first
    assert second.startswith(f"{index.url}/{NAME} (sha256 ")
    assert index.body_bytes == 0
    assert [engine.name for engine in store.engines()] == ["embedded"]


def served(data: bytes):
    def change(index):
        index.files[NAME] = data

    return change


def relisted(data: bytes):
    def change(index):
        index.files[NAME] = data
        index.list("cu132", NAME)

    return change


OUTCOMES = {
    "no digest": (lambda i: i.list("cu132", NAME, digests=False), Refused, "no sha256"),
    "another file": (served(wheel({"a": b"b"})), BadFile, "sha256"),
    "no page": (lambda i: i.pages.clear(), UsageError, "404"),
    "an empty page": (lambda i: i.pages.update({"/cu132/xllamacpp/": ""}), Refused, "0 files"),
    "a long page": (
        lambda i: i.pages.update({"/cu132/xllamacpp/": " " * (5 << 20)}),
        SteprunError,
        "sends more than",
    ),
    "no package": (relisted(wheel({"other/x.py": b""})), BadFile, "no package"),
    "a path out": (relisted(wheel({"../../escaped": b""})), BadFile, "leads outside"),
    "no wheel": (relisted(b"MZ no archive"), BadFile, "neither"),
    "a library is missing": (
        relisted(
            wheel({"xllamacpp/__init__.py": b"raise ImportError('libcudart.so.13: not found')"})
        ),
        SteprunError,
        "",
    ),
}


@posix
@pytest.mark.parametrize("what", OUTCOMES)
def test_what_becomes_of_an_odd_one(index, what, tmp_path):
    change, kind, word = OUTCOMES[what]
    change(index)
    with pytest.raises(kind) as caught:
        get()
    assert word in caught.value.why
    assert caught.value.next
    assert [engine.name for engine in store.engines()] == ["embedded"]
    assert not list(tmp_path.rglob("escaped"))
    assert not list(store.work_dir().glob("new-*"))


def test_a_machine_without_a_wheel_hears_why(index):
    with pytest.raises(Refused, match="no wheel of xllamacpp") as caught:
        get(machine=machine("linux x86_64 rocm"), source="xllamacpp")
    assert "libamdhip64.so.7, which was not found" in caught.value.why


@pytest.mark.parametrize("address", ["http://mirror.example/x", "https://me:key@mirror.example"])
def test_an_address_that_is_not_safe_is_not_used(index, monkeypatch, address):
    monkeypatch.setenv("STEPRUN_WHEELS", address)
    with pytest.raises(UsageError, match="STEPRUN_WHEELS"):
        get()


def test_the_shipped_list_is_read_strictly(tmp_path, monkeypatch):
    text = (shipped("builds") / "wheels.toml").read_text("utf-8")
    monkeypatch.setattr(wheel_rows, "shipped", lambda _: tmp_path)
    for old, new in [
        ('glibc = "2.35"', "glibc = 2.35"),
        ('backend = "rocm"', 'backend = "rock"'),
        ("linux-x86_64", "linux-i386"),
        ("native =", "nativ ="),
    ]:
        assert old in text
        (tmp_path / "wheels.toml").write_text(text.replace(old, new), "utf-8")
        with pytest.raises(BadFile, match="wheels"):
            wheel_rows.document.__wrapped__()
