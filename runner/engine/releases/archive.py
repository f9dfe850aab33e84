"""Unpacks an untrusted .tar.gz or .zip; nothing outside its folder can be reached or overwritten.

The standard library reads the members. Its own filter for what a tar may write differs between
patch releases of Python (Debian 12's 3.11.2 has none), and `zipfile` has none: so all names, links
and sizes are checked here first. No name is used twice, and none leads through a link.
"""

import gzip
import os
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from pathlib import Path
from typing import IO, BinaryIO, Final

from runner.base.disk import explained
from runner.base.errors import BadFile
from runner.base.progress import OnProgress, Phase, Progress, ignore
from runner.base.text import shown

LIMIT_BYTES: Final = 8 << 30  # ROCm's own libraries unpack to some 3 GB
MOST_MEMBERS: Final = 50_000  # llama.cpp's source has 4,000
_LONGEST_NAME = 512
_MOST_AT_ONCE = 4 << 20  # what a reader may want in one piece: a tar's header says how long it is
_DIRECTORY_BYTES = 16 << 20  # of a zip's list of members, which is read in one piece
_TAR_KINDS = dict.fromkeys((tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE), "file") | {
    tarfile.DIRTYPE: "folder",
    tarfile.SYMTYPE: "link",
    tarfile.LNKTYPE: "copy",
}
_ZIP_KINDS = {0: "file", stat.S_IFREG: "file", stat.S_IFLNK: "link"}
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    gzip.BadGzipFile,
    EOFError,
    NotImplementedError,  # a compression that this Python does not know
    RuntimeError,  # an encrypted zip
    ValueError,
    OverflowError,
)


def unpack(
    archive: Path,
    to: Path,
    *,
    only: str = "",
    limit_bytes: int = LIMIT_BYTES,
    progress: OnProgress = ignore,
) -> None:
    """Unpack into the folder `to`, which is empty or not there yet.

    `only`: a folder in the archive; what is in it is put into `to` itself, and the rest is left
    out. `limit_bytes`: the most that it may unpack to. Raises `BadFile` where the archive is
    damaged, too large, or reaches for something outside; then `to` is empty or missing, as it was.
    """
    was_there = to.exists()
    with explained(to):
        to.mkdir(parents=True, exist_ok=True)
        if any(to.iterdir()):
            raise ValueError(f"{to} is not empty")
        try:
            _unpack(archive, to, _Members(only, limit_bytes), progress)
        except BaseException:
            shutil.rmtree(to, ignore_errors=True)
            if was_there:
                to.mkdir()
            raise


def _unpack(archive: Path, to: Path, members: "_Members", report: OnProgress) -> None:
    try:
        with archive.open("rb") as file:
            start = file.read(4)
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            if start[:2] == b"\x1f\x8b":
                _unpack_tar(file, size, to, members, report)
            elif start in {b"PK\x03\x04", b"PK\x05\x06"}:
                _unpack_zip(file, size, to, members, report)
            else:
                raise _Bad("It is neither a .tar.gz nor a .zip.")
        members.close()
    except _BROKEN as error:
        why = str(error) if isinstance(error, _Bad) else f"It is damaged: {error}."
        raise BadFile(
            f"{archive.name} cannot be unpacked.",
            why=why,
            next="Download it again; if that does not help, contact its publisher.",
        ) from error


class _Bad(ValueError):  # noqa: N818 - what an archive is
    """Something that no intact, honest archive has."""


class _Members:
    """Checks the members of one archive before they are written."""

    def __init__(self, only: str, limit: int) -> None:
        self._only = f"{only.strip('/')}/" if only else ""
        self._left = self.limit = limit
        self._kinds: dict[str, str] = {}  # by name as a system blind to case sees it
        self._seen = 0

    def place(self, name: str) -> str:
        """Return where a member goes, as plain parts joined by slashes; empty for one left out."""
        name = name.removeprefix("./").rstrip("/")
        if not name.startswith(self._only):
            return ""
        name = name.removeprefix(self._only)
        if name in {"", "."}:
            return ""
        if {"", ".", ".."} & set(name.split("/")) or not _plain(name):
            raise _Bad(f"The name of a member leads outside or is not valid: {shown(name)}.")
        return name

    def admit(self, name: str, kind: str, *, size: int = 0, target: str = "") -> str:
        """Return where a member goes, empty for one left out. Raises `_Bad` where it must not be.

        `kind`: folder, file, link, copy (a hard link), or anything else, which is refused.
        """
        self._seen += 1
        if self._seen > MOST_MEMBERS:
            raise _Bad(f"It has more than {MOST_MEMBERS:,} members.")
        place = self.place(name)
        if not place:
            return ""
        if kind not in {"folder", "file", "link", "copy"}:
            raise _Bad(f"A member is a device or of another special kind: {shown(place)}.")
        if kind == "link":
            _check_link(place, target)
        if kind == "copy" and self._kinds.get(_blind(self.place(target))) != "file":
            raise _Bad(f"A hard link does not lead to a file of the archive: {shown(target)}.")
        parts = place.split("/")
        for end in range(1, len(parts) + (kind == "folder")):
            if self._kinds.setdefault(_blind("/".join(parts[:end])), "folder") != "folder":
                raise _Bad(f"A member lies within something that is not a folder: {shown(place)}.")
        if kind != "folder":
            if _blind(place) in self._kinds:
                raise _Bad(f"Two members have the same name on some systems: {shown(place)}.")
            self._kinds[_blind(place)] = "link" if kind == "link" else "file"
        self._left -= size
        if self._left < 0:
            raise _Bad(f"It unpacks to more than {self.limit:,} bytes.")
        return place

    def close(self) -> None:
        """Refuse an archive in which there was nothing."""
        if not {"file", "link"} & set(self._kinds.values()):
            raise _Bad(f"It holds no {f'folder {self._only}' if self._only else 'file'}.")


def _check_link(place: str, target: str) -> None:
    """Raise `_Bad` unless a symbolic link leads to something in the folder, now or later.

    The folders above a link are real ones, so that leading `..` lead where they seem to; any other
    could follow a link out.
    """
    parts = target.split("/")
    ups = next((at for at, part in enumerate(parts) if part != ".."), len(parts))
    if ups > place.count("/") or {"", ".."} & set(parts[ups:] or [""]) or not _plain(target):
        raise _Bad(f"A link leads outside: {shown(place)} to {shown(target)}.")


class _Unzipped(gzip.GzipFile):
    """A decompressed stream that gives no more than `limit` bytes, and few at once."""

    limit = 0

    def read(self, count: int | None = -1) -> bytes:
        if count is None or not 0 <= count <= _MOST_AT_ONCE:
            raise _Bad(f"One of its headers claims to be {count:,} bytes long.")
        self._check(self.tell() + count - _MOST_AT_ONCE)
        return super().read(count)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._check(offset)
        return super().seek(offset, whence)

    def _check(self, place: int) -> None:
        if place > self.limit:
            raise _Bad("It unpacks to more than it may.")


def _unpack_tar(file: BinaryIO, size: int, to: Path, members: _Members, report: OnProgress) -> None:
    with _Unzipped(fileobj=file) as stream:
        # What is left out (`only`), headers and padding count here as well.
        stream.limit = 2 * members.limit + MOST_MEMBERS * 4096
        with tarfile.open(fileobj=stream, mode="r:", errorlevel=2) as tar:
            for member in tar:
                report(Progress(Phase.UNPACKING, file.tell(), size))
                _extract(tar, member, to, members)
        # The checksum at the end of the stream is checked when it is reached.
        while stream.read(_MOST_AT_ONCE):
            pass


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, to: Path, members: _Members) -> None:
    kind = "" if member.issparse() else _TAR_KINDS.get(member.type, "")
    place = members.admit(member.name, kind, size=member.size, target=member.linkname)
    if place and kind == "copy":
        _make_room(to / place).hardlink_to(to / members.place(member.linkname))
    elif place:
        content = tar.extractfile(member) if kind == "file" else None
        _write(to / place, kind, member.mode, content, member.linkname)


def _write(at: Path, kind: str, mode: int, content: IO[bytes] | None, target: str = "") -> None:
    """Write an admitted folder, file or link; no name is used twice, so nothing is overwritten."""
    if kind == "folder":
        at.mkdir(parents=True, exist_ok=True)
    elif kind == "link":
        _make_room(at).symlink_to(target)
    elif content is not None:
        with content, _make_room(at).open("xb") as file:
            shutil.copyfileobj(content, file)
        at.chmod(0o755 if mode & stat.S_IXUSR else 0o644)  # all other rights are dropped


def _make_room(at: Path) -> Path:
    at.parent.mkdir(parents=True, exist_ok=True)
    return at


def _unpack_zip(file: BinaryIO, size: int, to: Path, members: _Members, report: OnProgress) -> None:
    file.seek(max(0, size - (1 << 16) - 22))
    tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or int.from_bytes(tail[end + 12 : end + 16], "little") > _DIRECTORY_BYTES:
        raise _Bad("Its list of members is missing or too long.")
    done = 0
    with zipfile.ZipFile(file) as whole:
        for member in whole.infolist():
            report(Progress(Phase.UNPACKING, min(done, size), size))
            done += member.compress_size
            mode = member.external_attr >> 16  # 0 where it was made on Windows
            kind = "folder" if member.is_dir() else _ZIP_KINDS.get(stat.S_IFMT(mode), "")
            target = ""
            if kind == "link":
                with whole.open(member) as link:
                    target = link.read(_LONGEST_NAME + 1).decode("utf-8")
            place = members.admit(member.filename, kind, size=member.file_size, target=target)
            if place:
                _write(to / place, kind, mode, whole.open(member), target)


def _plain(path: str) -> bool:
    """Whether a name means the same on every system."""
    return len(path) <= _LONGEST_NAME and path.isprintable() and not {"\\", ":"} & set(path)


def _blind(name: str) -> str:
    """Return a name as a system sees it that knows neither case nor ways to write an accent."""
    return unicodedata.normalize("NFC", name).casefold()
