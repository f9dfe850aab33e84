"""`steprun models rm`: take weights away, and say how much room that gives."""

import contextlib
from collections.abc import Iterator, Sequence

import click
from filelock import FileLock, Timeout

from runner.base.errors import Refused, UsageError
from runner.base.units import size
from runner.catalog import models_toml
from runner.catalog.model import Model, ModelFile
from runner.cli.commands.models_pull import MODEL, line
from runner.cli.commands.models_verify import WHAT, meant
from runner.cli.confirm import must_agree
from runner.hub.address import is_remote
from runner.weights import cache_layout, inventory
from runner.weights.inventory import FileState


@click.command()
@WHAT
@MODEL
@click.option("--all", "everything", is_flag=True, help="Every quant, projector and draft heads.")
@click.option("--old", is_flag=True, help="Revisions that are not in use any more.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def rm(*, what: str, model: str, everything: bool, old: bool, yes: bool) -> None:
    """Take a quant away, begun or whole, and say how much room that gives.

    The projector and the draft heads go with the last quant, begun ones counted. Of a file that was
    adopted from another program, only our link goes.
    """
    if bool(what) + everything + old != 1:
        raise UsageError(
            "Say what to take away.",
            why="A quant, or --old, or --all.",
            next="See what is here: steprun models",
        )
    name, files = meant(what, model)
    if is_remote(what) and not files:  # it may have begun: only the hub knows under which hashes
        from runner.weights import hub_model

        files = hub_model.files(what)
    if old:
        files = inventory.other_revisions(files)
    elif what and not is_remote(what):
        files = _going(models_toml.load_catalog().model(name), what)
    gone = inventory.removals(files, name)
    if not gone:
        raise Refused(
            f"Nothing{' old' if old else ''} of {what or name} is on this disk.",
            why=f"It was looked for in {cache_layout.hub_cache()}, and among adopted files.",
            next="See what is: steprun models",
        )
    _must_be_idle([str(each.path) for each in gone])
    with _unfetched(files):
        _take_away(gone, yes=yes, command=f"{line('rm', what or _flag(old=old), model)} --yes")
        if not old:
            inventory.forget_marks(files)


def _flag(*, old: bool) -> str:
    return "--old" if old else "--all"


def _take_away(gone: Sequence[inventory.Removal], *, yes: bool, command: str) -> None:
    for each in gone:
        frees = size(each.frees) if each.frees else "a link"
        click.echo(f"  {each.path}  ({frees})", err=True)
    if not yes:
        must_agree("Take this away?", "Nothing was taken away.", command)
    click.echo(f"{size(inventory.remove(gone))} freed.")


def _going(model: Model, name: str) -> tuple[ModelFile, ...]:
    """Return the files of a quant; projector and draft heads too if no other has begun."""
    quant = model.quant(name)
    others = [other for other in model.quants if other.name != quant.name]
    kept = any(
        each.state is not FileState.ABSENT
        for o in others
        for each in inventory.look(o.files, model.name)
    )
    if kept:
        return quant.files
    heads = model.mtp_others
    return (*cache_layout.needs(model, quant), *heads)


@contextlib.contextmanager
def _unfetched(files: Sequence[ModelFile]) -> Iterator[None]:
    """Keep other programs from fetching some files; `Refused` where one is at it."""
    locks = {cache_layout.lock_path(file) for file in files}
    with contextlib.ExitStack() as held:
        for lock in (path for path in locks if path.exists()):
            try:
                held.enter_context(FileLock(lock, timeout=0))
            except Timeout as error:
                raise Refused(
                    "These weights are on their way.",
                    why="Another program fetches them.",
                    next="Stop it (Ctrl-C in `steprun models pull`), and try again",
                ) from error
        yield


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
