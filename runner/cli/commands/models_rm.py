"""`steprun models rm`: delete weights, and say how much disk space that frees."""

import contextlib
from collections.abc import Iterator, Sequence

import click
from filelock import FileLock, Timeout

from runner.base.errors import Refused, UsageError
from runner.base.units import size
from runner.catalog import models_toml
from runner.catalog.model import Model, ModelFile
from runner.cli.commands.models_pull import MODEL, must_not_ship
from runner.cli.commands.models_verify import WHAT, requested
from runner.cli.confirm import must_agree
from runner.cli.render.wrap import say
from runner.hub.address import is_remote
from runner.run.files import models_command
from runner.weights import block_checksums, cache_layout, inventory
from runner.weights.inventory import FileState


@click.command()
@WHAT
@MODEL
@click.option(
    "--all", "everything", is_flag=True, help="Every quant, the projector and the draft heads."
)
@click.option("--old", is_flag=True, help="Revisions that are no longer in use.")
@click.option("--yes", is_flag=True, help="Delete without asking.")
def rm(*, what: str, model: str, everything: bool, old: bool, yes: bool) -> None:
    """Delete a quant, complete or partly downloaded, and say how much disk space that frees.

    The projector and the draft heads are deleted with the last quant. Of a file adopted from
    another program, only steprun's link is deleted.
    """
    if bool(what) + everything + old != 1:
        raise UsageError(
            "Name what to delete.",
            why="It takes a quant, --old or --all, and exactly one of them.",
            next="See what is installed: steprun models",
        )
    name, files = requested(what, model)
    must_not_ship(name, files)
    if is_remote(what) and not files:  # it may be partly downloaded: only the hub knows its hashes
        from runner.weights import hub_files

        files = hub_files.files(what)
    if old:
        files = inventory.other_revisions(files)
    elif what and not is_remote(what):
        files = _to_delete(models_toml.load_catalog().model(name), what)
    gone = inventory.removals(files, name)
    if not gone:
        raise Refused(
            f"{what or name} {'has no old revisions' if old else 'is not downloaded'}.",
            why=f"Searched {cache_layout.hub_cache()} and adopted files.",
            next="See what is installed: steprun models",
        )
    _must_be_idle([str(each.path) for each in gone])
    with _locked(files):
        command = models_command("rm", what or ("--old" if old else "--all"), model)
        _delete(gone, yes=yes, command=f"{command} --yes")
        if not old:
            for sha256 in {file.sha256 for file in files if file.sha256}:
                block_checksums.forget(sha256)


def _delete(gone: Sequence[inventory.Removal], *, yes: bool, command: str) -> None:
    for each in gone:
        frees = size(each.frees) if each.frees else "a link"
        say(f"  {each.path}  ({frees})", 4, err=True)
    if not yes:
        must_agree("Delete these files?", "Nothing was deleted.", command)
    click.echo(f"{size(inventory.remove(gone))} freed.")


def _to_delete(model: Model, name: str) -> tuple[ModelFile, ...]:
    """Return the files of a quant; the projector and draft heads, too, if it is the last one."""
    quant = model.quant(name)
    others = [other for other in model.quants if other.name != quant.name]
    kept = any(
        each.state is not FileState.ABSENT
        for o in others
        for each in inventory.look(o.files, model.name)
    )
    if kept:
        return quant.files
    return (*cache_layout.needs(model, quant), *model.mtp_others)


@contextlib.contextmanager
def _locked(files: Sequence[ModelFile]) -> Iterator[None]:
    """Keep other programs from downloading some files; `Refused` while one of them does."""
    locks = {cache_layout.lock_path(file) for file in files}
    with contextlib.ExitStack() as held:
        for lock in (path for path in locks if path.exists()):
            try:
                held.enter_context(FileLock(lock, timeout=0))
            except Timeout as error:
                raise Refused(
                    "These weights are being downloaded.",
                    why="Another program is downloading them.",
                    next="Stop it (Ctrl-C in `steprun models pull`), and try again.",
                ) from error
        yield


def _must_be_idle(paths: list[str]) -> None:
    """Refuse while an engine has a file open: its disk space would not be freed before it exits."""
    import psutil

    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(path in words for path in paths):
            raise Refused(
                "These weights are in use.",
                why=f"Process {process.pid} is running them.",
                next="Stop it (close the chat, or Ctrl-C in `steprun serve`), and try again.",
            )
