"""Archives of strangers: what is in them stays where it is unpacked to, or nothing of it stays."""

import gzip
import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from runner.base.errors import BadFile, Exit
from runner.base.progress import Progress
from runner.engine.releases import archive
from runner.engine.releases.archive import unpack
from tests.fakes.releases import ENGINE, member, tar_gz, zipped

SYM, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE
posix = pytest.mark.skipif(os.name == "nt", reason="links need rights there")


@pytest.fixture
def to(tmp_path):
    return tmp_path / "to"


def put(tmp_path: Path, data: bytes, name: str = "a.tar.gz") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def tree(folder) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())


@pytest.mark.parametrize("data", [tar_gz(top=""), zipped()], ids=["tar.gz", "zip"])
def test_a_sound_archive(tmp_path, to, data):
    told: list[Progress] = []
    unpack(put(tmp_path, data), to, progress=told.append)
    assert {name: (to / name).read_bytes() for name in tree(to)} == ENGINE
    assert (to / "llama-server").stat().st_mode & stat.S_IXUSR
    assert not (to / "libllama.so.0").stat().st_mode & stat.S_IXUSR or os.name == "nt"
    assert told
    assert all(0 <= seen.done <= seen.total for seen in told)


@posix
def test_links_within_are_kept(tmp_path, to):
    odd = (
        member("llama-b11429/libllama.so", SYM, "libllama.so.0"),
        member("llama-b11429/lib/up.so", SYM, "../libllama.so.0"),
        member("llama-b11429/hard", HARD, "llama-b11429/libllama.so.0"),
    )
    unpack(put(tmp_path, tar_gz(odd=odd)), to)
    library = ENGINE["libllama.so.0"]
    assert (to / "llama-b11429/libllama.so").readlink().name == "libllama.so.0"
    assert (to / "llama-b11429/lib/up.so").read_bytes() == library
    assert (to / "llama-b11429/hard").read_bytes() == library


@posix
def test_a_link_within_a_zip_is_kept(tmp_path, to):
    unpack(put(tmp_path, zipped({"lib/a.so": b"a.so.0"}, odd=stat.S_IFLNK)), to)
    assert (to / "lib/a.so").readlink().name == "a.so.0"


def test_only_one_folder_of_it(tmp_path, to):
    files = {"vendor/llama.cpp/CMakeLists.txt": b"x", "vendor/other": b"y", "setup.py": b"z"}
    unpack(put(tmp_path, tar_gz(files, top="p-1/")), to, only="p-1/vendor/llama.cpp")
    assert tree(to) == ["CMakeLists.txt"]


def test_rights_are_plain(tmp_path, to):
    odd = (member("suid", tarfile.REGTYPE, mode=0o6777), member("none", tarfile.REGTYPE, mode=0))
    unpack(put(tmp_path, tar_gz(odd=odd)), to)
    if os.name == "posix":
        assert stat.S_IMODE((to / "suid").stat().st_mode) == 0o755
        assert stat.S_IMODE((to / "none").stat().st_mode) == 0o644


def pax(name: str) -> bytes:
    """Return an archive whose member has a name as long as one likes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo(name))
    return gzip.compress(out.getvalue())


def header_bomb() -> bytes:
    """Return an archive whose header says that its member's name is 1 GB long."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 30
    return gzip.compress(info.tobuf(tarfile.PAX_FORMAT) + bytes(1 << 20))


def long_list() -> bytes:
    """Return a zip whose end says that its list of members is 256 MB long."""
    data = bytearray(zipped())
    end = data.rfind(b"PK\x05\x06")
    data[end + 12 : end + 16] = (256 << 20).to_bytes(4, "little")
    return bytes(data)


def sparse() -> bytes:
    info = member("sparse", tarfile.GNUTYPE_SPARSE, size=0)
    return tar_gz(odd=(info,))


INSIDE = {"link/out": b"written through a link"}
HOSTILE = {
    "parent folder": tar_gz({"../out": b"x"}, top=""),
    "parent folder, deeper": tar_gz({"a/../../out": b"x"}, top=""),
    "absolute": tar_gz({"/tmp/out": b"x"}, top=""),  # noqa: S108
    "backslashes": tar_gz({"..\\out": b"x"}, top=""),
    "drive": tar_gz({"C:out": b"x"}, top=""),
    "control codes": tar_gz({"a\x1b[2Jb": b"x"}, top=""),
    "symlink out": tar_gz(odd=(member("link", SYM, "../../out"),)),
    "symlink out, absolute": tar_gz(odd=(member("link", SYM, "/etc/passwd"),)),
    "symlink out, by way of another": tar_gz(
        odd=(member("d/e/link", SYM, "."), member("two", SYM, "d/e/link/../../../out"))
    ),
    "symlink out, by way of a later one": tar_gz(
        odd=(member("two", SYM, "l/m/n/../../../out"), member("l/m/n", SYM, "../.."))
    ),
    "symlink, then a file through it": tar_gz(odd=(member("link", SYM, "."),), after=INSIDE),
    "symlink out, then a file through it": tar_gz(odd=(member("link", SYM, ".."),), after=INSIDE),
    "symlink, then a file in its place": tar_gz(
        odd=(member("link", SYM, "other"),), after={"link": b"x"}
    ),
    "hard link out": tar_gz(odd=(member("link", HARD, "../out"),)),
    "hard link out, absolute": tar_gz(odd=(member("link", HARD, "/etc/passwd"),)),
    "hard link to a link": tar_gz(
        odd=(member("link", SYM, "llama-b11429/llama-bench"), member("two", HARD, "link"))
    ),
    "character device": tar_gz(odd=(member("null", tarfile.CHRTYPE, devmajor=1, devminor=3),)),
    "block device": tar_gz(odd=(member("disk", tarfile.BLKTYPE, devmajor=8),)),
    "pipe": tar_gz(odd=(member("pipe", tarfile.FIFOTYPE),)),
    "sparse": sparse(),
    "twice the same name": tar_gz({"a": b"1"}, top="", after={"a": b"2"}),
    "a name twice but for its case": tar_gz({"readme": b"1"}, top="", after={"README": b"2"}),
    "a file within a file": tar_gz({"a": b"1"}, top="", after={"A/b": b"2"}),
    "a very long name": pax("x" * 3000),
    "a header of 1 GB": header_bomb(),
    "a bomb": tar_gz({"zeros": bytes(9 << 20)}),
    "a bomb of folders": tar_gz(odd=tuple(member(f"{n}", tarfile.DIRTYPE) for n in range(3000))),
    "zip: parent folder": zipped({"../out": b"x"}),
    "zip: absolute": zipped({"/out": b"x"}),
    "zip: symlink out": zipped({"link": b"../../out"}, odd=stat.S_IFLNK),
    "zip: device": zipped({"null": b""}, odd=stat.S_IFCHR),
    "zip: a bomb": zipped({"zeros": bytes(9 << 20)}),
    "zip: an endless list": long_list(),
    "zip: two names but for the case": zipped({"a": b"1", "A": b"2"}),
    "truncated tar.gz": tar_gz()[:-200],
    "truncated at its sum": tar_gz()[:-4],
    "truncated within the tar": gzip.compress(gzip.decompress(tar_gz())[:700]),
    "one byte flipped": tar_gz()[:150] + bytes([tar_gz()[150] ^ 1]) + tar_gz()[151:],
    "truncated zip": zipped()[:-60],
    "zip: one byte flipped": zipped()[:60] + bytes([zipped()[60] ^ 1]) + zipped()[61:],
    "a web page": b"<!DOCTYPE html><html>Sign in</html>",
    "empty file": b"",
    "empty tar.gz": tar_gz({}),
    "empty zip": zipped({}),
}


# Where something else would refuse it as well, too late.
WHY = {
    "a header of 1 GB": "claims to be",
    "zip: an endless list": "list of members",
    "a bomb": "more than 8,388,608 bytes",
    "zip: a bomb": "more than 8,388,608 bytes",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_or_damaged_archive_leaves_nothing(tmp_path, to, what, monkeypatch):
    monkeypatch.setattr(archive, "MOST_MEMBERS", 2000)
    file = put(tmp_path, HOSTILE[what])
    with pytest.raises(BadFile, match="cannot be unpacked") as caught:
        unpack(file, to, limit_bytes=8 << 20)
    assert caught.value.exit_code == Exit.BAD_FILE
    assert caught.value.why.isprintable()
    assert WHY.get(what, "") in caught.value.why
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_was_there_stays_and_is_empty(tmp_path, to):
    to.mkdir()
    with pytest.raises(BadFile):
        unpack(put(tmp_path, HOSTILE["symlink out, then a file through it"]), to)
    assert list(to.iterdir()) == []


def test_a_folder_with_something_in_it_is_not_touched(tmp_path, to):
    to.mkdir()
    (to / "mine").write_text("mine")
    with pytest.raises(ValueError, match="not empty"):
        unpack(put(tmp_path, tar_gz()), to)
    assert (to / "mine").read_text() == "mine"


def test_ctrl_c_leaves_nothing(tmp_path, to):
    def interrupt(*_):
        if to.exists() and tree(to):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(put(tmp_path, tar_gz()), to, progress=interrupt)
    assert not to.exists()


def test_an_encrypted_zip(tmp_path, to):
    data = bytearray(zipped({"a": b"x" * 100}))
    data[6] |= 1  # the local header's flag
    data[data.find(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(BadFile):
        unpack(put(tmp_path, bytes(data)), to)
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as whole, pytest.raises(RuntimeError):
        whole.read("a")  # it is what it says
