"""Unpacks the archive of a stranger: what is in it stays in the folder that it is unpacked to.

A .tar.gz or a .zip, told apart by their first bytes. Both are read by the standard library and
written by one writer of our own, because what `tarfile` itself keeps out differs between patch
releases of Python. Every folder is made here, every file is opened to be new, and no name may lead
through a link, so that nothing outside can be reached or overwritten.
"""

import gzip
import os
import posixpath
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO, Final

from runner.base.disk import explained
from runner.base.errors import BadFile
from runner.base.progress import OnProgress, Phase, Progress, ignore
from runner.base.text import shown

LIMIT_BYTES: Final = 8 << 30  # ROCm's own libraries unpack to some 3 GB
MOST_MEMBERS: Final = 50_000  # llama.cpp's source has 4,000
_CHUNK = 1 << 20
_LONGEST_NAME = 512
_MOST_AT_ONCE = 4 << 20  # what a reader may want in one piece: a tar's header says how long it is
_DIRECTORY_BYTES = 16 << 20  # of a zip's list of members, which is read in one piece
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
    progress: OnProgress | None = None,
) -> None:
    """Unpack into the folder `to`, which is empty or not there yet.

    `only`: a folder in the archive; what is in it is put into `to` itself, and the rest is left
    out. `limit_bytes`: the most that it may unpack to. Raises `BadFile` where the archive is
    damaged, too large, or reaches for something outside; then `to` is as it was.
    """
    was_there = to.exists()
    with explained(to):
        to.mkdir(parents=True, exist_ok=True)
        if any(to.iterdir()):
            raise ValueError(f"{to} is not empty")
        try:
            _unpack(archive, _Writer(to, only, limit_bytes), progress or ignore)
        except BaseException:
            _empty(to, remove=not was_there)
            raise


def _unpack(archive: Path, writer: "_Writer", tell: OnProgress) -> None:
    try:
        _read(archive, writer, tell)
        writer.close()
    except _BROKEN as error:
        why = str(error) if isinstance(error, _Bad) else f"It is damaged: {error}."
        raise BadFile(
            f"{archive.name} cannot be unpacked.",
            why=why,
            next="Fetch it again; if it stays so, ask whoever published it",
        ) from error


class _Bad(ValueError):  # noqa: N818 - what an archive is
    """Something that no sound archive has."""


class _Writer:
    """Writes the members of an archive into one folder, never outside it."""

    def __init__(self, to: Path, only: str, limit: int) -> None:
        self._to = to
        self._only = f"{only.strip('/')}/" if only else ""
        self._left = limit
        self.limit = limit
        self._kinds: dict[str, str] = {"": "folder"}  # by name as a system blind to case sees it
        self._seen = 0
        self._count = 0

    def name(self, name: str) -> str | None:
        """Return where a member goes, as plain parts joined by slashes; None for one left out."""
        self._seen += 1
        if self._seen > MOST_MEMBERS:
            raise _Bad(f"It has more than {MOST_MEMBERS:,} members.")
        name = name.removeprefix("./").rstrip("/")
        if self._only:
            if not name.startswith(self._only):
                return None
            name = name[len(self._only) :]
        if name in {"", "."}:
            return None
        parts = name.split("/")
        if (
            len(name) > _LONGEST_NAME
            or not name.isprintable()
            or {"", ".", ".."} & set(parts)
            or any(sign in name for sign in "\\:")
        ):
            raise _Bad(f"A member's name leads outside, or is none: {shown(name)}.")
        return name

    def folder(self, name: str) -> None:
        """Make a folder, and those that it is in."""
        upto = ""
        for part in name.split("/") if name else ():
            upto = f"{upto}/{part}" if upto else part
            kind = self._kinds.get(_blind(upto))
            if kind is None:
                (self._to / upto).mkdir()
                self._kinds[_blind(upto)] = "folder"
            elif kind != "folder":
                raise _Bad(f"A member lies within what is no folder: {shown(name)}.")

    def file(self, name: str, source: BinaryIO, *, executable: bool) -> None:
        """Write a file: new, no longer than what is left, with plain rights."""
        self._claim(name, "file")
        with (self._to / name).open("xb") as out:
            while chunk := source.read(_CHUNK):
                self._left -= len(chunk)
                if self._left < 0:
                    raise _Bad(f"It unpacks to more than {self.limit:,} bytes.")
                out.write(chunk)
        (self._to / name).chmod(0o755 if executable else 0o644)

    def link(self, name: str, target: str) -> None:
        """Make a symbolic link to something in the folder, now or later."""
        depth = name.count("/")
        parts = target.split("/")
        while parts and parts[0] == "..":
            parts.pop(0)
            depth -= 1
        # The folders above a link are real ones, so that leading `..` lead where they seem to; any
        # other could follow a link out.
        if depth < 0 or not parts or {"", ".."} & set(parts) or not target.isprintable():
            raise _Bad(f"A link leads outside: {shown(name)} to {shown(target)}.")
        if len(target) > _LONGEST_NAME or any(sign in target for sign in "\\:"):
            raise _Bad(f"A link has no sound target: {shown(name)}.")
        self._claim(name, "link")
        (self._to / name).symlink_to(target)

    def copy(self, name: str, of: str, *, executable: bool) -> None:
        """Stand in for a hard link: a copy of a file that was unpacked before."""
        if self._kinds.get(_blind(of)) != "file" or not (self._to / of).is_file():
            raise _Bad(f"A hard link leads to what is no file of the archive: {shown(of)}.")
        with (self._to / of).open("rb") as source:
            self.file(name, source, executable=executable)

    def close(self) -> None:
        """Refuse an archive in which there was nothing."""
        if not self._count:
            raise _Bad(f"It holds no {f'folder {self._only}' if self._only else 'file'}.")

    def _claim(self, name: str, kind: str) -> None:
        self.folder(posixpath.dirname(name))
        if _blind(name) in self._kinds:
            raise _Bad(f"Two members have one name, to some systems: {shown(name)}.")
        self._kinds[_blind(name)] = kind
        self._count += 1


class _Bounded:
    """A decompressed stream that gives no more than `limit` bytes, and few at once."""

    def __init__(self, stream: gzip.GzipFile, limit: int) -> None:
        self._stream = stream
        self._limit = limit

    def read(self, count: int) -> bytes:
        if not 0 <= count <= _MOST_AT_ONCE:
            raise _Bad(f"A header of it claims to be {count:,} bytes long.")
        data = self._stream.read(count)
        self.check(self._stream.tell())
        return data

    def seek(self, place: int) -> int:
        self.check(place)
        return self._stream.seek(place)

    def tell(self) -> int:
        return self._stream.tell()

    def check(self, place: int) -> None:
        if place > self._limit:
            raise _Bad("It unpacks to more than it may.")


def _read(archive: Path, writer: _Writer, tell: OnProgress) -> None:
    with archive.open("rb") as file:
        start = file.read(4)
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if start[:2] == b"\x1f\x8b":
            _read_tar(file, size, writer, tell)
        elif start in {b"PK\x03\x04", b"PK\x05\x06"}:
            _read_zip(file, size, writer, tell)
        else:
            raise _Bad("It is neither a .tar.gz nor a .zip.")


def _read_tar(file: BinaryIO, size: int, writer: _Writer, tell: OnProgress) -> None:
    # What is left out (`only`), headers and padding count here as well.
    most = 2 * writer.limit + MOST_MEMBERS * 4096
    with gzip.GzipFile(fileobj=file) as unzipped:
        stream = _Bounded(unzipped, most)
        with tarfile.open(fileobj=stream, mode="r:", errorlevel=2) as tar:  # type: ignore[call-overload]
            for member in tar:
                tell(Progress(Phase.UNPACKING, file.tell(), size))
                _put_tar(tar, member, writer)
        # The sum at the end of the stream is checked when it is reached.
        while stream.read(_CHUNK):
            pass


def _put_tar(tar: tarfile.TarFile, member: tarfile.TarInfo, writer: _Writer) -> None:
    name = writer.name(member.name)
    if name is None:
        return
    executable = bool(member.mode & stat.S_IXUSR)
    if member.isdir():
        writer.folder(name)
    elif member.issym():
        writer.link(name, member.linkname)
    elif member.islnk():
        writer.copy(name, writer.name(member.linkname) or "", executable=executable)
    elif member.isreg() and not member.issparse():
        source = tar.extractfile(member)
        if source is None:
            raise _Bad(f"A member cannot be read: {shown(name)}.")
        with source:
            writer.file(name, source, executable=executable)  # type: ignore[arg-type]
    else:
        raise _Bad(f"A member is a device, or of another odd kind: {shown(name)}.")


def _read_zip(file: BinaryIO, size: int, writer: _Writer, tell: OnProgress) -> None:
    file.seek(max(0, size - (1 << 16) - 22))
    tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or int.from_bytes(tail[end + 12 : end + 16], "little") > _DIRECTORY_BYTES:
        raise _Bad("Its list of members is not there, or too long.")
    done = 0
    with zipfile.ZipFile(file) as whole:
        for member in whole.infolist():
            tell(Progress(Phase.UNPACKING, min(done, size), size))
            done += member.compress_size
            _put_zip(whole, member, writer)


def _put_zip(whole: zipfile.ZipFile, member: zipfile.ZipInfo, writer: _Writer) -> None:
    name = writer.name(member.filename)
    if name is None:
        return
    mode = member.external_attr >> 16  # 0 where it was made on Windows
    if member.is_dir():
        writer.folder(name)
        return
    with whole.open(member) as source:
        if stat.S_ISLNK(mode):
            writer.link(name, source.read(_LONGEST_NAME + 1).decode("utf-8"))
        elif stat.S_IFMT(mode) in {0, stat.S_IFREG}:
            writer.file(name, source, executable=bool(mode & stat.S_IXUSR))  # type: ignore[arg-type]
        else:
            raise _Bad(f"A member is a device, or of another odd kind: {shown(name)}.")


def _blind(name: str) -> str:
    """Return a name as a system sees it that knows neither case nor ways to write an accent."""
    return unicodedata.normalize("NFC", name).casefold()


def _empty(folder: Path, *, remove: bool) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if remove:
        folder.rmdir()
