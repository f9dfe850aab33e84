"""Where a model's files are on this disk: those of the catalog, and those that the user names.

The hub's cache is found by its documented layout and variables; importing `huggingface_hub` to
be told the same takes longer than a whole `steprun plan`. Nothing here reads tensor data.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from runner.catalog import Model, ModelFile, Quant
from runner.errors import BadFile, Refused, UsageError
from runner.paths import cache_dir
from runner.weights.header import Header, kind, read_header, read_split
from runner.weights.scan import shown

T = TypeVar("T")

_OTHER_KINDS = {
    "projector": "It is a vision projector, which goes with a model.",
    "mtp": "It holds draft heads only, which go with a model.",
    "other": "It is no language model: an adapter, perhaps, or an importance matrix.",
}


@dataclass(frozen=True, slots=True)
class Located:
    """A file of the catalog, and where it lies; None where it has to be fetched."""

    file: ModelFile
    path: Path | None


def find(model: Model, quant: Quant, *, projector: bool = True, mtp: bool = True) -> list[Located]:
    """Look up what a quant needs: its shards in order, then projector and draft heads if any."""
    wanted = list(quant.files)
    wanted += [model.projector] if projector and model.projector else []
    wanted += [model.mtp] if mtp and model.mtp else []
    return [Located(file, locate(file, model.name)) for file in wanted]


def locate(file: ModelFile, model: str) -> Path | None:
    """Return the path of a catalog file if it is there in full size; hashes are not checked."""
    path = expected_path(file, model)
    try:
        return path if path.stat().st_size == file.bytes else None
    except OSError:  # not there, a link into nowhere, or behind a folder that is closed to us
        return None


def expected_path(file: ModelFile, model: str) -> Path:
    """Return where a file of the model `model` belongs, whether it is there or not."""
    if file.source == "wheel":
        return cache_dir() / "models" / model / file.name
    if file.source == "hf":
        folder = "models--" + file.repo.replace("/", "--")
        return hub_cache() / folder / "snapshots" / file.revision / file.path
    return Path(file.path)


def hub_cache() -> Path:
    """Return the Hugging Face hub's cache folder, by the variables that `huggingface_hub` reads.

    Source: huggingface_hub 2.4, `constants.py`; a test compares the two.
    """
    env = os.environ.get
    home = env("HF_HOME", str(Path(env("XDG_CACHE_HOME", "~/.cache"), "huggingface")))
    cache = env("HF_HUB_CACHE", env("HUGGINGFACE_HUB_CACHE", str(Path(home, "hub"))))
    return Path(os.path.expandvars(_at_home(cache)))


def _at_home(path: str | Path) -> Path:
    # Path.expanduser raises for the `~name` of a user who does not exist; this leaves it alone.
    return Path(os.path.expanduser(path))  # noqa: PTH111


def read_model(user_path: str | Path) -> tuple[Header, ...]:
    """Read the headers of `--model PATH`: of all its shards, in order, each sound.

    UsageError where the path is not a file; BadFile where the file is no model, is cut off, or
    has shards missing; Refused where it may not be read.
    """
    path = _at_home(user_path).absolute()
    headers = _read(path, read_split)
    must_be_model(headers[0], path.name)
    return headers


def read_file(user_path: str | Path) -> Header:
    """Read the header of one file, a projector or draft heads; raises as `read_model` does."""
    return _read(_at_home(user_path).absolute(), read_header)


def _read(path: Path, read: Callable[[Path], T]) -> T:
    try:
        if not path.is_file():
            raise _not_a_file(path)
        return read(path)
    except OSError as error:
        raise Refused(
            f"{path} cannot be read",
            why=error.strerror or str(error),
            next="Check that the disk is there and that you may read the file.",
        ) from error


def must_be_model(header: Header, name: str) -> None:
    """Refuse what only goes with a model. `header`: of the first shard, which alone says what."""
    what = kind(header)
    if what != "model":
        raise BadFile(
            f"{shown(name)} is not a model",
            why=_OTHER_KINDS[what],
            next="Give the path of the model's own .gguf file, or of its first part.",
        )


def _not_a_file(path: Path) -> UsageError:
    if path.is_dir():
        models = _models_in(path)
        return UsageError(
            f"{path} is a folder",
            why=f"It holds {len(models)} models." if models else "It holds no .gguf file.",
            next=f"Name one: --model {models[0]}" if models else "Give the path of a .gguf file.",
        )
    if path.exists():
        return UsageError(
            f"{path} is not a regular file",
            why="A model is mapped into memory, which needs one.",
            next="Give the path of a .gguf file.",
        )
    # Model cards name single files where the repository holds parts.
    near = [m for m in _models_in(path.parent) if m.name.startswith(f"{path.stem}-0")]
    return UsageError(
        f"{path} does not exist",
        why="The model is there in parts." if near else "There is no such file.",
        next=f"Give the first part: --model {near[0]}" if near else "Check the path.",
    )


def _models_in(folder: Path) -> list[Path]:
    """List a folder's models, one path for each: the first part where there are several."""
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".gguf")
    except OSError:
        return []
    return [path for path in files if "-of-" not in path.name or "-00001-of-" in path.name]
