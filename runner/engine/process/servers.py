"""Which servers run here, written down: what `chat` joins, and `ps`, `stop` and `logs` find.

One small private file for each, in the folder of states. It names the key's file, never the key.
A record whose process is gone is removed by whoever reads it next.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec

from runner.base import paths
from runner.base.files import listed, make_private_dir, write_private

Command = Literal["serve", "chat", "chat -p"]
_FOLDER: Final = "servers"


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What a server serves.

    `source`: which model: a name of the catalog, a path or an address of the hub. `model`: its name
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


class ServerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One running server: its process, with the start time that identifies it, and where it is.

    `url`: as this machine reaches it. `since`: when it began to listen, as `time.time`.
    `key_file`: the file with its API key, empty where none is needed. `certificate`: of TLS.
    `request_log`: the file of the requests. `command`: what it belongs to; the engine of a `chat`
    or of a `chat -p` ends with that.
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

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.url.rsplit(":", 1)[1])

    def alive(self) -> bool:
        """Whether its process still runs."""
        from runner.engine.process.records import same_process  # noqa: PLC0415 - brings psutil

        return same_process(self.pid, self.started)


def folder() -> Path:
    """Return where the records are."""
    return paths.state_dir() / _FOLDER


def write_server(record: ServerRecord) -> Path:
    """Write a record down; return its file. Raises what `write_private` raises."""
    path = make_private_dir(folder()) / f"{record.pid}-{record.port}.json"
    write_private(path, msgspec.json.encode(record))
    return path


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
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


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
    import psutil  # noqa: PLC0415 - 10 ms, and `serve --help` needs none

    return ServerRecord(
        pid=os.getpid(),
        started=psutil.Process().create_time(),
        url=url,
        since=since,
        key_file=str(key_file.absolute()) if key_file else "",
        certificate=str(certificate.absolute()) if certificate else "",
        request_log=str(request_log) if request_log else "",
        command=command,
        served=served,
    )


def running() -> list[ServerRecord]:
    """Return the servers that run, the oldest first; records of those that ended are removed."""
    found = []
    for path in listed(folder()):
        if path.suffix != ".json":
            continue
        record = _read(path)
        if record is not None and record.alive():
            found.append(record)
        else:
            _remove(path, record)
    return sorted(found, key=lambda record: (record.since, record.port))


def _remove(path: Path, record: ServerRecord | None) -> None:
    """Forget a server that has ended, and its key where that was made for it alone."""
    key = Path(record.key_file) if record is not None and record.key_file else None
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        if key is not None and key.parent == path.parent:
            key.unlink(missing_ok=True)


def _read(path: Path) -> ServerRecord | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=ServerRecord)
    except (OSError, ValueError):  # msgspec's errors are ValueErrors
        return None
