"""`steprun models pull`: fetch weights, whole and proven."""

import click

from runner import models_toml
from runner.catalog import Model, ModelFile
from runner.errors import Refused, UsageError
from runner.weights.address import is_remote

MODEL = click.option("--model", "-m", default="", metavar="NAME", help="Of another model.")
NAMED = "named"  # what the files of models named by `hf:` are kept under


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
    from runner.commands.bringing import announce, counted, fetch
    from runner.weights import named, places, rate

    if is_remote(what):
        name, files = NAMED, named.files(what)
    else:
        chosen, files = _of_catalog(what, model, mtp=mtp, projector=not no_projector)
        name = chosen.name
    missing = [file for file in files if places.locate(file, name) is None]
    if not missing:
        click.echo(f"All {counted(len(files))} are here. To prove them: steprun models verify")
        return
    if missing[0].source == "wheel":
        raise Refused(
            f"{name} comes by itself.",
            why="It is a small model inside a Python package.",
            next="steprun chat --demo",
        )
    click.echo(f"Fetching {announce(missing, rate.recall())}", err=True)
    fetch(files, name)
    if is_remote(what):
        named.note(what, files[0])
        click.echo(f"Ready: steprun chat --model {what}", err=True)
    else:
        click.echo("Ready: steprun chat", err=True)


def _of_catalog(
    quant: str, model: str, *, mtp: bool, projector: bool
) -> tuple[Model, tuple[ModelFile, ...]]:
    """Return the files of a quant that was named, or of the plan for this machine."""
    from runner.weights import places

    known = models_toml.load()
    chosen = known.model(model) if model else known.models[0]
    if not chosen.quants:
        raise Refused(
            f"{chosen.title} cannot be fetched.",
            why=chosen.note or "There is no GGUF of it.",
            next="See what can: steprun models",
        )
    if quant:
        found = chosen.quant(quant)
        return chosen, places.needs(chosen, found, projector=projector, mtp=mtp)
    from runner.commands.options import ModelRequest
    from runner.commands.prepare import make_plan, refuse
    from runner.plan.ask import Ask

    prepared = make_plan(ModelRequest(model, Ask()))
    if not prepared.plan.fits:
        refuse(prepared)
    wanted = tuple(f for f in prepared.wanted() if projector or f.role != "projector")
    heads = chosen.mtp
    if mtp and heads is None:
        raise UsageError(f"{chosen.title} has no draft heads.", next="Leave --mtp out")
    return chosen, (*wanted, *((heads,) if mtp and heads and heads not in wanted else ()))
