"""Which servers run here, written down: what `chat` joins, and `ps`, `stop` and `logs` find.

One small private file for each, in the folder of states. It names the key's file, never the key.
A server that does not listen yet has a smaller one, so that a chat of its model waits for it. A
record whose process is gone is removed by whoever reads it next.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec

from runner.base import paths
from runner.base.errors import SteprunError
from runner.base.files import listed, make_private_dir, write_private
from runner.engine.process.birth import birth_of

Command = Literal["serve", "chat", "chat -p"]
_FOLDER: Final = "servers"
_RECORD: Final = ".json"
_NOTICE: Final = ".starting"


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What a server serves.

    `source`: which model: a name of the catalog, a path or an address of the hub. `engine_kind`:
    which program the engine is, empty where a steprun of before does not say. `model`: its name
    for clients; `title` the one for people. `context` in tokens of one conversation, `parallel` how
    many are answered at once. `sees`: pictures may be sent; `drafts`: draft heads are in use.
    `extras`: the projector and the draft heads that were named, as typed. `weights_bytes`: on disk,
    `total_bytes`: in memory by the plan, of `limit_bytes` that it may take.
    """

    source: str = ""
    model: str = ""
    title: str = ""
    quant: str = ""
    engine: str = ""
    engine_kind: str = ""
    context: int = 0
    parallel: int = 1
    kv_type: str = ""
    ubatch: int = 0
    profile: str = ""
    architecture: str = ""
    sees: bool = False
    drafts: bool = False
    extras: tuple[str, ...] = ()
    weights_bytes: int = 0
    total_bytes: int = 0
    limit_bytes: int = 0


class StartingServer(msgspec.Struct, frozen=True, kw_only=True):
    """A server that was started and does not listen yet. `source` and `extras`: as in `Served`.

    `birth`: as in `ServerRecord`.
    """

    pid: int
    started: float
    source: str = ""
    extras: tuple[str, ...] = ()
    birth: str = ""

    def alive(self) -> bool:
        """Whether its process still runs."""
        return _runs(self.pid, self.started, self.birth)


class ServerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One running server: its process, with the start time that identifies it, and where it is.

    `url`: as this machine reaches it. `since`: when it began to listen, as `time.time`.
    `key_file`: the file with its API key, empty where none is needed. `certificate`: of TLS.
    `request_log`: the file of the requests. `command`: what it belongs to; the engine of a `chat`
    or of a `chat -p` ends with that. `birth`: what identifies the process whatever the clock does
    (`birth_of`), empty where only the start time does.
    """

    pid: int
    started: float
    url: str
    since: float
    key_file: str = ""
    certificate: str = ""
    request_log: str = ""
    command: Command = "serve"
    served: Served = Served()
    birth: str = ""

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.url.rsplit(":", 1)[1])

    def alive(self) -> bool:
        """Whether its process still runs."""
        return _runs(self.pid, self.started, self.birth)


R = TypeVar("R", ServerRecord, StartingServer)


def folder() -> Path:
    """Return where the records are."""
    return paths.state_dir() / _FOLDER


def write_server(record: ServerRecord) -> Path:
    """Write a record down, in place of the notice; return its file.

    Raises what `write_private` raises.
    """
    path = make_private_dir(folder()) / f"{record.pid}-{record.port}{_RECORD}"
    write_private(path, msgspec.json.encode(record))
    _remove(_notice(record.pid))
    return path


@contextlib.contextmanager
def starting_here(source: str, extras: tuple[str, ...]) -> Iterator[None]:
    """Let others know that a server starts in this process, until it listens or the block ends.

    Where nothing can be written, they only do not know.
    """
    path = _notice(os.getpid())
    pid = os.getpid()
    mine = StartingServer(
        pid=pid, started=_started_at(), source=source, extras=extras, birth=birth_of(pid)
    )
    with contextlib.suppress(SteprunError):
        write_private(path, msgspec.json.encode(mine))
    try:
        yield
    finally:
        _remove(path)


@contextlib.contextmanager
def own_key(name: str, key: str) -> Iterator[Path]:
    """Keep a key of this process in a private file within the block; yields the file.

    `name`: whose key it is. Raises what `write_private` raises.
    """
    path = make_private_dir(folder()) / f"{os.getpid()}-{secrets.token_hex(3)}.key"
    write_private(path, f"{name} {key}\n")
    try:
        yield path
    finally:
        _remove(path)


def own_record(
    url: str,
    since: float,
    served: Served,
    *,
    key_file: Path | None = None,
    certificate: Path | None = None,
    request_log: Path | None = None,
    command: Command = "serve",
) -> ServerRecord:
    """Return the record of a server in this process."""
    return ServerRecord(
        pid=os.getpid(),
        started=_started_at(),
        url=url,
        since=since,
        key_file=str(key_file.absolute()) if key_file else "",
        certificate=str(certificate.absolute()) if certificate else "",
        request_log=str(request_log) if request_log else "",
        command=command,
        served=served,
        birth=birth_of(os.getpid()),
    )


def running() -> list[ServerRecord]:
    """Return the servers that run, the oldest first; records of those that ended are removed."""
    return sorted(_alive(_RECORD, ServerRecord), key=lambda record: (record.since, record.port))


def starting() -> list[StartingServer]:
    """Return the servers that do not listen yet; notices of those that ended are removed."""
    return _alive(_NOTICE, StartingServer)


def _alive(suffix: str, kind: type[R]) -> list[R]:
    found = []
    for path in listed(folder()):
        if path.suffix != suffix:
            continue
        record = _read(path, kind)
        if record is not None and record.alive():
            found.append(record)
        else:
            _remove(path, record)
    return found


def _read(path: Path, kind: type[R]) -> R | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, ValueError):  # msgspec's errors are ValueErrors
        return None


def _notice(pid: int) -> Path:
    return folder() / f"{pid}{_NOTICE}"


def _remove(path: Path, record: ServerRecord | StartingServer | None = None) -> None:
    """Forget a server, and its key where that was made for it alone."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        key = Path(record.key_file) if isinstance(record, ServerRecord) else path
        if key.parent == path.parent:
            key.unlink(missing_ok=True)


def _started_at() -> float:
    import psutil  # noqa: PLC0415 - 10 ms, and `serve --help` needs none

    return psutil.Process().create_time()


def _runs(pid: int, started: float, birth: str) -> bool:
    from runner.engine.process.records import same_process  # noqa: PLC0415 - brings psutil

    return same_process(pid, started, birth)
