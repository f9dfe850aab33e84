"""Reads and checks the headers of files that the user names. Reads no tensor data."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from runner.base.errors import BadFile, Refused, UsageError
from runner.base.text import shown
from runner.gguf import pieces
from runner.gguf.header import Header, read_header, read_split, why_no_chat

T = TypeVar("T")


def _at_home(path: str | Path) -> Path:
    # Path.expanduser raises for the `~name` of a user who does not exist; this leaves it alone.
    return Path(os.path.expanduser(path))  # noqa: PTH111


def read_model(user_path: str | Path) -> tuple[Header, ...]:
    """Read the headers of `--model PATH`: of all its shards, in order, each sound.

    UsageError where the path is not a file; BadFile where the file is no model, is cut off, is a
    piece to be joined with others, or has shards missing; Refused where it may not be read.
    """
    path = _at_home(user_path).absolute()
    headers = _read(path, read_split)
    must_be_model(headers, path.name)
    return headers


def read_file(user_path: str | Path) -> Header:
    """Read the header of one file, a projector or draft heads; raises as `read_model` does."""
    return _read(_at_home(user_path).absolute(), read_header)


def _read(path: Path, read: Callable[[Path], T]) -> T:
    try:
        if not path.is_file():
            raise _not_a_file(path)
        return read(path)
    except BadFile as error:  # not before: a whole file may have such a name, as wget's `.gguf.1`
        joined = pieces.must_be_joined(path) if pieces.is_piece(path.name) else None
        if joined is None:
            raise
        raise joined from error
    except OSError as error:
        raise Refused(
            f"{path} cannot be read.",
            why=f"{error.strerror or error}.",
            next="Check that the disk is mounted and that you may read the file.",
        ) from error


def must_be_model(headers: Sequence[Header], name: str) -> None:
    """Refuse what nobody can chat with. `headers`: of all shards."""
    why = why_no_chat(headers)
    if why:
        raise BadFile(
            f"{shown(name)} is not a model to chat with.",
            why=why,
            next="Give the path of a chat model's .gguf file, or of its first part.",
        )


def _not_a_file(path: Path) -> UsageError | BadFile:
    joined = pieces.in_folder(path) if path.is_dir() else None
    if not path.exists():
        joined = pieces.must_be_joined(path)
    if joined is not None:
        return joined
    if path.is_dir():
        models = _models_in(path)
        return UsageError(
            f"{path} is a folder.",
            why=f"It holds {len(models)} models." if models else "It holds no .gguf file.",
            next=f"Name one: --model {models[0]}" if models else "Give the path of a .gguf file.",
        )
    if path.exists():
        return UsageError(
            f"{path} is not a regular file.",
            why="A model is mapped into memory, which needs one.",
            next="Give the path of a .gguf file.",
        )
    # Model cards name single files where the repository holds parts.
    near = [m for m in _models_in(path.parent) if m.name.startswith(f"{path.stem}-0")]
    return UsageError(
        f"{path} does not exist.",
        why="The model consists of several parts." if near else "No file has this name.",
        next=f"Give the first part: --model {near[0]}" if near else "Check the path.",
    )


def _models_in(folder: Path) -> list[Path]:
    """List a folder's models, one path for each: the first part where there are several."""
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".gguf")
    except OSError:
        return []
    return [path for path in files if "-of-" not in path.name or "-00001-of-" in path.name]
