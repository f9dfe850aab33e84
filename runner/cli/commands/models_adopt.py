"""`steprun models adopt`: find, verify and link weights that another program has downloaded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from runner.base.errors import BadFile, SteprunError, UsageError
from runner.base.shell import quoted
from runner.base.text import clean
from runner.base.units import download_size, size
from runner.catalog import models_toml
from runner.catalog.model import Model, ModelFile, Quant
from runner.cli import progress
from runner.cli.render.common import emit_json
from runner.cli.render.wrap import say
from runner.weights import cache_layout, other_programs
from runner.weights.adopt import Found, Outcome, Target, find_adoptable
from runner.weights.adopt import adopt as take
from runner.weights.other_programs import Folder

_WORDS = {
    "linked": ("linked", "green"),
    "here": ("already installed", "cyan"),
    "wrong": ("MISMATCH", "red"),
    "unknown": ("unknown to the catalog", "yellow"),
    "unreadable": ("could not be read", "red"),
    "refused": ("could not be linked", "red"),
}
_ROLES = {"weights": "weights", "projector": "projector", "mtp": "draft heads"}
_PULL = "steprun models pull"


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON document (steprun.adopt/1).")
def adopt(path: Path | None, *, as_json: bool) -> None:
    """Reuse weights that another program has downloaded, without copying them.

    Searches PATH, a file or a folder; without it, the folders of the Hugging Face hub, LM Studio,
    llama.cpp, ModelScope, Ollama and Jan. Files that pass verification are linked; nothing in the
    other program's folder is changed.
    """
    models = models_toml.load_catalog().models
    folders = _named(path) if path else other_programs.folders()
    with progress.shown() as report:
        found = find_adoptable(models, folders, report)
    _print_found(found, folders)
    with progress.shown() as report:
        outcomes = [*found.settled, *take(found.candidates, report)]
    if as_json:
        emit_json(_document(outcomes, models, found, folders))
    else:
        for line in _lines(outcomes, models):
            say(line, 4)
    _judge(outcomes, found, folders)


def _named(path: Path) -> list[Folder]:
    whole = path.expanduser() if str(path).startswith("~/") else path
    if not whole.exists():
        raise UsageError(
            f"{path} does not exist.",
            why="No such file or folder was found.",
            next="Check the path, and that its disk is mounted.",
        )
    return [Folder("", whole.absolute())]


# --- for people


def _print_found(found: Found, folders: Sequence[Folder]) -> None:
    lines = [f"searched {f.path}" + f" ({f.program})" * bool(f.program) for f in folders]
    lines += [f"{found.skipped:,} folders or links could not be read"] * bool(found.skipped)
    if found.cut:
        lines.append(
            f"the search stopped at {other_programs.MOST_ENTRIES:,} names or "
            f"{other_programs.MOST_DEEP} levels of folders; name a folder to search it completely"
        )
    for candidate in found.candidates:
        target = candidate.targets[0]
        lines.append(f"{candidate.path}, {size(target.file.bytes)}: perhaps {_what(target)}")
    if found.candidates:
        count = len(found.candidates)
        lines.append(
            f"reading {size(found.to_read)} in {count} file{'s' * (count > 1)}; the time "
            "depends on the disk and the processor"
        )
    for line in lines:
        say(clean(line), 4, err=True)


def _what(target: Target) -> str:
    number, count = target.part
    part = f", part {number} of {count}" if count > 1 else ""
    named = target.quant or f"{_ROLES[target.file.role]} {target.file.name}"
    return f"{target.model.title} {named}{part}"


def _lines(outcomes: Sequence[Outcome], models: Sequence[Model]) -> list[str]:
    lines = []
    for outcome in outcomes:
        word, colour = _WORDS[outcome.result]
        what = _what(outcome.target) if outcome.target else outcome.model
        text = clean(f" {outcome.path} ({what}). {outcome.why}").rstrip()
        if outcome.result == "unknown":
            own = quoted(clean(str(outcome.path)))
            text += f" Use it in place: steprun chat --model {own}"
        lines.append(click.style(word, fg=colour) + text)
    if not outcomes:  # what is installed from elsewhere is no result of this search
        return []
    for model, quant, lacking in _begun_quants(models):
        lines.append(f"{model.title} {quant.name} {_state(model, quant, lacking)}")
    return [*lines, "bytes copied: 0"]


def _state(model: Model, quant: Quant, lacking: Sequence[ModelFile]) -> str:
    if not lacking:
        return f"is complete: steprun chat --quant {_options(model, quant)}"
    names = ", ".join(file.name for file in lacking)
    total = download_size(sum(file.bytes for file in lacking))
    return f"lacks {names}; {total}: {_PULL} {_options(model, quant)}"


def _options(model: Model, quant: Quant) -> str:
    first = model == models_toml.load_catalog().models[0]
    return quant.name if first else f"{quant.name} --model {model.name}"


def _begun_quants(models: Sequence[Model]) -> list[tuple[Model, Quant, list[ModelFile]]]:
    """Return the quants with any weights installed, and the files that a chat with them lacks."""
    return [
        (model, quant, [place.file for place in found if place.path is None])
        for model in models
        for quant in model.quants
        if any(place.path for place in cache_layout.find(model, quant, projector=False, mtp=False))
        for found in [cache_layout.find(model, quant, mtp=False)]
    ]


# --- for programs, and for the exit code


def _document(
    outcomes: Sequence[Outcome],
    models: Sequence[Model],
    found: Found,
    folders: Sequence[Folder],
) -> dict[str, Any]:
    return {
        "schema": "steprun.adopt/1",
        "folders": [{"program": f.program, "path": str(f.path)} for f in folders],
        "skipped": found.skipped,
        "cut": found.cut,
        "files": [_file(outcome) for outcome in outcomes],
        "quants": [
            {
                "model": model.name,
                "name": quant.name,
                "complete": not lacking,
                "lacking": [file.path for file in lacking],
                "lacking_bytes": sum(file.bytes for file in lacking),
                "command": f"{_PULL} {_options(model, quant)}" if lacking else None,
            }
            for model, quant, lacking in _begun_quants(models)
        ],
        "copied_bytes": 0,
    }


def _file(outcome: Outcome) -> dict[str, Any]:
    target = outcome.target
    return {
        "path": str(outcome.path),
        "role": target.file.role if target else "weights",
        "model": target.model.name if target else outcome.model,
        "quant": (target.quant or None) if target else None,
        "file": target.file.path if target else None,
        "result": outcome.result,
        "bytes": outcome.bytes,
        "why": outcome.why,
    }


def _names(count: int) -> str:
    return "1 name" if count == 1 else f"{count:,} names"


def _judge(outcomes: Sequence[Outcome], found: Found, folders: Sequence[Folder]) -> None:
    """Raise where nothing usable was found."""
    results = {outcome.result for outcome in outcomes}
    if results & {"linked", "here"}:
        return
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    wrong = [clean(outcome.path.name) for outcome in outcomes if outcome.result == "wrong"]
    if wrong:
        raise BadFile(
            f"Nothing was linked: {', '.join(wrong[:3])} {'is' if len(wrong) == 1 else 'are'} not "
            "what was published.",
            why="Either the download is incomplete or damaged, or it is another version.",
            next=_PULL,
        )
    if "unknown" in results:
        return
    lost = [outcome for outcome in outcomes if outcome.result == "unreadable"]
    where = ", ".join(str(folder.path) for folder in folders) or "the folders of other programs"
    raise SteprunError(
        "Nothing was linked: the files that were found could not be read."
        if lost
        else "No model files that steprun knows were found.",
        why=lost[0].why
        if lost
        else f"Searched {_names(found.entries)} in {where}; {found.skipped:,} could not be read.",
        next=f"To search another folder or disk: steprun models adopt PATH; to download: {_PULL}",
    )
