"""Where the catalog's files are on this disk: in the hub's cache, or linked to another folder.

The hub's cache is found by its documented layout and variables; importing `huggingface_hub` to
learn the same takes longer than a whole `steprun plan`. Files that were adopted from another
program are linked in a folder of our own and not in the hub's cache, whose tools delete what its
links lead to. Nothing here reads a file.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.base.paths import cache_dir
from runner.catalog.model import Model, ModelFile, Quant


@dataclass(frozen=True, slots=True)
class Located:
    """A file of the catalog, and where it is; None where it has to be downloaded."""

    file: ModelFile
    path: Path | None


def needs(
    model: Model, quant: Quant, *, projector: bool = True, mtp: bool = True
) -> tuple[ModelFile, ...]:
    """Return what a quant needs: its shards in order, then projector and draft heads if any."""
    extra = ((model.projector, projector), (model.mtp, mtp))
    return (*quant.files, *(file for file, used in extra if file is not None and used))


def find(model: Model, quant: Quant, *, projector: bool = True, mtp: bool = True) -> list[Located]:
    """Look up what a quant needs."""
    wanted = needs(model, quant, projector=projector, mtp=mtp)
    return [Located(file, locate(file, model.name)) for file in wanted]


def locate(file: ModelFile, model: str) -> Path | None:
    """Return the path of a catalog file if it exists in full size; hashes are not checked."""
    for path in (expected_path(file, model), linked_path(file, model)):
        if length(path) == file.bytes:
            return path
    return None


def first(files: Sequence[ModelFile], model: str) -> Path:
    """Return where the engine finds the first of some shards, and the others beside it.

    They are all in the hub's cache, or all linked (see `runner.weights.links.gather`).
    """
    linked = linked_path(files[0], model)
    complete = all(length(expected_path(file, model)) == file.bytes for file in files)
    return linked if length(linked) is not None and not complete else expected_path(files[0], model)


def length(path: Path) -> int | None:
    """Return a file's bytes; None where it cannot be reached: missing, or a broken link."""
    try:
        return path.stat().st_size
    except OSError:  # a circular link, too, or a folder without permission
        return None


def expected_path(file: ModelFile, model: str) -> Path:
    """Return where a file of the model `model` belongs, whether it exists or not."""
    if file.source == "wheel":
        return cache_dir() / "models" / model / file.name
    if file.source == "hf":
        return repo_folder(file.repo) / "snapshots" / file.revision / file.path
    return Path(file.path)


def linked_path(file: ModelFile, model: str) -> Path:
    """Return where the link to a file in another program's folder belongs."""
    return cache_dir() / "models" / model / (file.revision or "own") / file.path


def blob_path(file: ModelFile) -> Path:
    """Return where the hub's cache keeps a file's bytes, under their sha256."""
    if file.sha256 is None:
        raise ValueError(file.path)
    return repo_folder(file.repo) / "blobs" / file.sha256


def part_path(file: ModelFile) -> Path:
    """Return where a file is kept during its download."""
    blob = blob_path(file)
    return blob.with_name(f"{blob.name}.steprun.incomplete")


def lock_path(file: ModelFile) -> Path:
    """Return the lock that `huggingface_hub` holds, too, while it downloads the same file."""
    repo = repo_folder(file.repo)
    return repo.parent / ".locks" / repo.name / f"{file.sha256}.lock"


def repo_folder(repo: str) -> Path:
    """Return the folder of a repository in the hub's cache."""
    return hub_cache() / ("models--" + repo.replace("/", "--"))


def hub_cache() -> Path:
    """Return the Hugging Face hub's cache folder, by the variables that `huggingface_hub` reads.

    Source: huggingface_hub 2.4, `constants.py`; a test compares the two.
    """
    env = os.environ.get
    home = env("HF_HOME", str(Path(env("XDG_CACHE_HOME", "~/.cache"), "huggingface")))
    cache = env("HF_HUB_CACHE", env("HUGGINGFACE_HUB_CACHE", str(Path(home, "hub"))))
    # Path.expanduser raises for the `~name` of a user who does not exist; this leaves it alone.
    return Path(os.path.expandvars(os.path.expanduser(cache)))  # noqa: PTH111
