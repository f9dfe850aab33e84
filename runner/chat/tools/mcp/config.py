"""Which MCP servers there are: `mcp.toml` in the configuration folder, written by the user."""

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from runner.base import paths
from runner.base.errors import BadFile, Refused
from runner.base.text import shown
from runner.base.toml import Strict, matching
from runner.net.endpoint import is_loopback, split_url

FILE_BYTES: Final = 256 << 10  # far more than a hundred servers take
KEY_BYTES: Final = 16 << 10
# A part of each tool's name, of which the model's API allows 64 characters. No two underscores in a
# row: they part the server from the tool.
NAME: Final = r"[A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*"
NAME_CHARS: Final = 24
EXAMPLE: Final = """\
[server.files]
command = "npx"
args = ["-y", "@modelcontextprotocol/server-filesystem", "/home/me/notes"]

[server.wiki]
url = "https://wiki.example/mcp"
key_file = "~/.wiki-key"
"""
AGAIN: Final = "Correct it, then type the same again."


class McpServer(Strict, frozen=True, kw_only=True):
    """A server as the user describes it: a program (`command`) or a service (`url`).

    `env`: names of variables of this process that the program gets as well. The key of a service is
    in a file that only its owner can read, or in a variable. `timeout_s`: how long a call may take.
    """

    command: str = ""
    args: tuple[str, ...] = ()
    env: tuple[Annotated[str, matching(r"[A-Za-z_][A-Za-z0-9_]*")], ...] = ()
    url: str = ""
    key_file: str = ""
    key_env: Annotated[str, matching(r"(?:[A-Za-z_][A-Za-z0-9_]*)?")] = ""
    enabled: bool = True
    timeout_s: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 120

    def __post_init__(self) -> None:
        """Raise ValueError where the fields do not go together."""
        if bool(self.command) == bool(self.url):
            raise ValueError("a server has either a command or a url")
        if self.command and (self.key_file or self.key_env):
            raise ValueError("a key is for a server with a url; a program reads its own (see env)")
        if any("\0" in word for word in (self.command, *self.args)):
            raise ValueError("a command has no NUL characters")
        if self.url:
            self._check_url()

    def _check_url(self) -> None:
        if self.args or self.env:
            raise ValueError("args and env are for a server with a command")
        if self.key_file and self.key_env:
            raise ValueError("the key is either in key_file or in key_env")
        parts = split_url(self.url)
        if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("the url is not an address, such as https://wiki.example/mcp")
        if parts.username is not None or parts.password is not None:
            raise ValueError("a url has no password in it: put the key into a key_file")
        secure = parts.scheme == "https" or is_loopback(self.url)
        if (self.key_file or self.key_env) and not secure:
            raise ValueError("a key is sent by https only, or to this computer")

    @property
    def place(self) -> str:
        """Where it is: the command as typed, or the address."""
        return self.url or " ".join((self.command, *self.args))


def config_path() -> Path:
    """Return where the file is."""
    return paths.config_dir() / "mcp.toml"


def read_servers() -> Mapping[str, McpServer]:
    """Return the servers of the file by name, none where it is missing.

    Raises `BadFile` with the line where anything in it is not as it should be.
    """
    path = config_path()
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _bad(path, f"{error.strerror or error}.") from error
    if len(data) > FILE_BYTES:
        raise _bad(path, f"It is longer than {FILE_BYTES >> 10} KiB.")
    return parse_servers(data, path)


def parse_servers(data: bytes, path: Path) -> Mapping[str, McpServer]:
    """Return the servers that the bytes of a file describe. Raises `BadFile`."""
    try:
        text = data.decode("utf-8")
        record = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # the former names line and column
        raise _bad(path, f"It is not TOML: {shown(str(error))}.") from error
    for key in record:
        if key != "server":
            why = f"There is a table {key[:40]!r}; each server needs a table [server.NAME]."
            raise _bad(path, _at(text, key, "") + why)
    servers = record.get("server", {})
    if not isinstance(servers, dict):
        raise _bad(path, "Each server is a table [server.NAME].")
    return {name: _server(name, fields, text, path) for name, fields in servers.items()}


def _server(name: str, fields: Any, text: str, path: Path) -> McpServer:
    if not re.fullmatch(NAME, name) or len(name) > NAME_CHARS:
        raise _bad(
            path,
            f"{_at(text, name, '')}A server is called {shown(name)}; a name has {NAME_CHARS} "
            "letters and digits at most, with single - or _ between them.",
        )
    try:
        return msgspec.convert(fields, McpServer)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        field = where.rstrip("`").lstrip(".") or next(iter(re.findall(r"`(\w+)`", what)), "")
        dotted = f"server.{name}.{field}" if field else f"server.{name}"
        begin = f"{_at(text, name, field.partition('[')[0])}{dotted}: "
        raise _bad(path, f"{begin}{what.rstrip('.')}.") from error


def _at(text: str, table: str, field: str) -> str:
    """Return `Line 7, ` where a field of a table stands, or the table itself; empty if unknown."""
    within = False
    found = 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("["):
            within = table in line
            found = number if within else found
        elif within and field and re.match(rf"\s*[\"']?{re.escape(field)}[\"']?\s*[.=]", line):
            return f"Line {number}, "
    return f"Line {found}, " if found else ""


def _bad(path: Path, why: str) -> BadFile:
    return BadFile(f"{path} cannot be used.", why=why, next=AGAIN)


def read_key(server: McpServer, environment: Mapping[str, str] = os.environ) -> str:
    """Return the key of a service, empty where it needs none. Raises `Refused`."""
    if server.key_env:
        key, where = environment.get(server.key_env, "").strip(), server.key_env
    elif server.key_file:
        key, where = _key_of(Path(server.key_file)), server.key_file
    else:
        return ""
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise Refused(
            f"There is no key in {where}." if not key else f"The key in {where} cannot be sent.",
            why="" if not key else "It has characters that a key does not have.",
            next=f"Put the key alone into {where}.",
        )
    return key


def _key_of(path: Path) -> str:
    try:
        path = path.expanduser()
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(KEY_BYTES)
    except (OSError, RuntimeError, ValueError) as error:
        raise Refused(
            f"The key file {path} cannot be read.",
            why=f"{getattr(error, 'strerror', '') or error}.",
            next="Write the key into it, or name another file as key_file.",
        ) from error
    if os.name == "posix" and mode & 0o077:
        raise Refused(
            f"The key file {path} can be read by others.",
            why=f"Its mode is {mode:04o}.",
            next=f"Make it private: chmod 600 {path}",
        )
    return data.decode("utf-8", "replace").strip()


def environment_of(server: McpServer, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a program gets by name. Raises `Refused` where one is not set."""
    for name in server.env:
        if name not in environment:
            raise Refused(
                f"{name} is not set.",
                why="The server needs it: its env in mcp.toml names it.",
                next=f"Set {name}, and start the chat again.",
            )
    return {name: environment[name] for name in server.env}
