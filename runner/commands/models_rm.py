"""`steprun models rm`: take weights away, and say how much room that gives."""

import click

from runner import models_toml, output
from runner.catalog import Model, ModelFile
from runner.commands.models_pull import MODEL
from runner.commands.models_verify import WHAT, meant
from runner.errors import Refused, UsageError
from runner.weights import places, shelf
from runner.weights.address import is_remote


@click.command()
@WHAT
@MODEL
@click.option("--all", "everything", is_flag=True, help="Every quant, projector and draft heads.")
@click.option("--old", is_flag=True, help="Revisions that are not in use any more.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def rm(*, what: str, model: str, everything: bool, old: bool, yes: bool) -> None:
    """Take a quant away, begun or whole, and say how much room that gives.

    The projector and the draft heads go with the last quant. Of a file that was adopted from
    another program, only our link goes.
    """
    if bool(what) + everything + old != 1:
        raise UsageError(
            "Say what to take away.",
            why="A quant, or --old, or --all.",
            next="See what is here: steprun models",
        )
    name, files = meant(what, model)
    if old:
        files = shelf.other_revisions(files)
    elif what and not is_remote(what):
        files = _going(models_toml.load().model(name), what)
    gone = shelf.removals(files, name)
    if not gone:
        raise Refused(
            f"Nothing{' old' if old else ''} of {what or name} is on this disk.",
            next="See what is: steprun models",
        )
    _must_be_idle([str(each.path) for each in gone])
    for each in gone:
        frees = output.size(each.frees) if each.frees else "a link"
        click.echo(f"  {each.path}  ({frees})", err=True)
    if not yes:
        click.confirm("Take this away?", abort=True, err=True)
    freed = shelf.remove(gone)
    if not old:
        shelf.forget_marks(files)
    click.echo(f"{output.size(freed)} freed.")


def _going(model: Model, name: str) -> tuple[ModelFile, ...]:
    """Return the files of a quant; with projector and draft heads if no other quant is here."""
    quant = model.quant(name)
    others = [other for other in model.quants if other.name != quant.name]
    kept = any(each.path for o in others for each in shelf.look(o.files, model.name))
    if kept:
        return quant.files
    heads = model.mtp_others
    return (*places.needs(model, quant), *heads)


def _must_be_idle(paths: list[str]) -> None:
    """Refuse while an engine of ours has a file open: its room would not be free before it ends."""
    import psutil

    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(path in words for path in paths):
            raise Refused(
                "These weights are in use.",
                why=f"Process {process.pid} runs them.",
                next="Stop it (close the chat, or Ctrl-C in `steprun serve`), and try again",
            )
