"""`steprun models pull`: fetch weights, whole and proven."""

import contextlib
from pathlib import Path

import click

from runner.base.errors import BadFile, Refused, UsageError
from runner.catalog import models_toml
from runner.catalog.model import Model, ModelFile
from runner.hub.address import is_remote

MODEL = click.option("--model", "-m", default="", metavar="NAME", help="Of another model.")
NAMED = "named"  # what the files of models named by `hf:` are kept under


def line(verb: str, what: str, model: str) -> str:
    """Return another command on the same weights, for people to type next."""
    words = ("steprun models", verb, what, f"--model {model}" if model else "")
    return " ".join(word for word in words if word)


@click.command()
@click.argument("what", required=False, default="", metavar="[QUANT|hf:OWNER/REPO/FILE]")
@MODEL
@click.option("--mtp", is_flag=True, help="The draft heads, too.")
@click.option("--no-projector", is_flag=True, help="Without the projector: no pictures then.")
def pull(*, what: str, model: str, mtp: bool, no_projector: bool) -> None:
    """Fetch weights: the quant that fits this machine best, or the one that is named.

    With its projector, from the hub (HF_ENDPOINT names a mirror) into the hub's cache. What is
    there already is not fetched again; Ctrl-C stops, and the same command goes on.
    """
    from runner.cli.bringing import announce, counted, download_files
    from runner.hub import rate
    from runner.weights import cache_layout, hub_files

    if is_remote(what):
        if model or mtp or no_projector:
            raise UsageError(
                "--model, --mtp and --no-projector go with a quant of the catalog.",
                why=f"{what} is one model, or one projector.",
                next=f"One by one: {line('pull', what, '')}",
            )
        name, files = NAMED, hub_files.files(what)
    else:
        chosen, files = _of_catalog(what, model, mtp=mtp, projector=not no_projector)
        name = chosen.name
    missing = [file for file in files if cache_layout.locate(file, name) is None]
    if not missing:
        if is_remote(what):
            with contextlib.suppress(Refused):  # another program may have brought them
                hub_files.note(what, files[0])
        said = "It is here" if len(files) == 1 else f"All {counted(len(files))} are here"
        click.echo(f"{said}. To prove it: {line('verify', what, model)}")
        return
    if missing[0].source == "wheel":
        raise Refused(
            f"{name} comes by itself.",
            why="It is a small model inside a Python package.",
            next="steprun chat --demo",
        )
    click.echo(f"Fetching {announce(missing, name, rate.recall())}", err=True)
    download_files(files, name)
    words = ["steprun chat"]
    if is_remote(what):
        hub_files.note(what, files[0])
        words.append(f"{_option(cache_layout.expected_path(files[0], name))} {what}")
    else:
        words += [f"--model {name}"] * bool(model) + [f"--quant {what}"] * bool(what)
    click.echo(f"Ready: {' '.join(words)}", err=True)


def _option(path: Path) -> str:
    """Return the option that takes a GGUF: one named by `hf:` may be no model by itself."""
    from runner.gguf.header import kind, read_header

    try:
        found = kind(read_header(path))
    except BadFile:
        found = "model"
    return {"projector": "--model MODEL --projector", "mtp": "--model MODEL --mtp"}.get(
        found, "--model"
    )


def _of_catalog(
    quant: str, model: str, *, mtp: bool, projector: bool
) -> tuple[Model, tuple[ModelFile, ...]]:
    """Return the files of a quant that was named, or of the plan for this machine."""
    from runner.cli.options import ModelRequest
    from runner.cli.prepare import make_plan, refuse
    from runner.plan.request import PlanRequest
    from runner.weights import cache_layout

    known = models_toml.load_catalog()
    chosen = known.model(model) if model else known.models[0]
    if not chosen.quants:
        raise Refused(
            f"{chosen.title} cannot be fetched.",
            why=chosen.note or "There is no GGUF of it.",
            next="See what can: steprun models",
        )
    if mtp and chosen.mtp is None:
        raise UsageError(
            f"{chosen.title} has no draft heads.",
            why="The catalog names no file of them.",
            next="Leave --mtp out",
        )
    if quant:
        found = chosen.quant(quant)
        if not make_plan(ModelRequest(chosen.name, PlanRequest(quant=found.name))).plan.fits:
            click.echo(
                f"{found.name} does not fit on this machine: steprun plan --quant {found.name}",
                err=True,
            )
        return chosen, cache_layout.needs(chosen, found, projector=projector, mtp=mtp)
    prepared = make_plan(ModelRequest(model, PlanRequest()))
    if not prepared.plan.fits:
        refuse(prepared)
    wanted = tuple(f for f in prepared.wanted() if projector or f.role != "projector")
    heads = (chosen.mtp,) if mtp and chosen.mtp and chosen.mtp not in wanted else ()
    return chosen, (*wanted, *heads)
