"""`steprun models verify` and `repair`: prove what is on this disk, and mend what is damaged."""

import time
from pathlib import Path

import click

from runner.base.errors import Exit, Refused
from runner.base.units import duration, rate, size
from runner.catalog import models_toml
from runner.catalog.model import ModelFile
from runner.cli.commands.models_pull import MODEL, NAMED, line
from runner.cli.confirm import must_agree
from runner.cli.render.common import emit_json
from runner.hub.address import is_remote
from runner.weights import cache_layout, inventory

WHAT = click.argument("what", required=False, default="", metavar="[QUANT|hf:...]")
Found = list[tuple[ModelFile, Path]]


@click.command()
@WHAT
@MODEL
@click.option("--json", "as_json", is_flag=True, help="One JSON document (steprun.verify/1).")
def verify(*, what: str, model: str, as_json: bool) -> int:
    """Read the weights that are here, and prove them by their published sha256.

    All files at once; what is found is remembered, so that a start need not read 105 GB.
    """
    from runner.cli.progress import shown
    from runner.weights import verify

    _, found, lacking = _here(what, model)
    began = time.monotonic()
    with shown(paced=True) as tell:
        proofs = verify.prove(found, tell)
    took = time.monotonic() - began
    if as_json:
        rows = [
            {
                "path": str(p.path),
                "sound": p.sound,
                "bytes": p.file.bytes,
                "wrong_at": list(p.wrong),
            }
            for p in proofs
        ]
        emit_json(
            {
                "schema": "steprun.verify/1",
                "seconds_s": round(took, 3),
                "files": rows,
                "missing": [file.path for file in lacking],
            }
        )
    else:
        for proof in proofs:
            click.echo(_line(proof.file, sound=proof.sound, wrong=proof.wrong))
        read = sum(file.bytes for file, _ in found)
        pace = rate(read / max(took, 0.001))
        click.echo(f"{size(read)} read in {duration(took)} ({pace}).", err=True)
    if all(proof.sound for proof in proofs):
        _must_be_whole(what, model, lacking)
        return Exit.DONE
    click.echo(f"To mend what is wrong: {line('repair', what, model)}", err=True)
    return Exit.BAD_FILE


@click.command()
@WHAT
@MODEL
@click.option("--yes", is_flag=True, help="Do not ask before mending another program's files.")
def repair(*, what: str, model: str, yes: bool) -> int:
    """Prove the weights that are here, and fetch again what is wrong of them, and only that.

    A file that was never whole on this disk is fetched anew: nothing is known of its pieces.
    """
    from runner.cli.progress import shown
    from runner.cli.terminal import frontend
    from runner.run.download_missing import download_files
    from runner.weights import block_checksums, links, pull, verify

    name, found, lacking = _here(what, model)
    foreign = [
        path.resolve() for file, path in found if path == cache_layout.linked_path(file, name)
    ]
    if foreign and not yes:
        click.echo("These files are another program's, and mended where they lie:", err=True)
        for path in foreign:
            click.echo(f"  {path}", err=True)
        command = f"{line('repair', what, model)} --yes"
        must_agree("Read them, and mend what is wrong?", "Nothing was changed.", command)
    with shown(paced=True) as tell:
        proofs = verify.prove(found, tell, pull.mender())
    for proof in proofs:
        click.echo(_line(proof.file, sound=proof.sound, wrong=proof.wrong))
    mended = sum(proof.fetched for proof in proofs)
    anew = [proof.file for proof in proofs if not proof.sound]
    if anew:
        lost = size(sum(file.bytes for file in anew))
        few = (
            "file, as nothing is known of its"
            if len(anew) == 1
            else "files, as nothing is known of their"
        )
        click.echo(f"Fetching anew {len(anew)} {few} pieces: {lost}.", err=True)
        for file in anew:
            inventory.remove(inventory.removals([file], name))
            block_checksums.forget(file.sha256 or "")
        download_files(anew, name, frontend())
        links.gather([file for file, _ in found if file.role == "weights"], name)
    _must_be_whole(what, model, lacking)
    click.echo(
        f"All is sound; {size(mended)} were fetched to mend it." if mended else "All is sound."
    )
    return Exit.DONE


def meant(what: str, model: str) -> tuple[str, tuple[ModelFile, ...]]:
    """Return the files that a command is about, and the name they are kept under.

    `what`: a quant, a model named by `hf:`, or nothing: all that the catalog has of a model.
    """
    if is_remote(what):
        return NAMED, inventory.named(what)
    known = models_toml.load_catalog()
    of = known.model(model) if model else known.models[0]
    return of.name, cache_layout.needs(of, of.quant(what)) if what else inventory.all_files(of)


def _here(what: str, model: str) -> tuple[str, Found, list[ModelFile]]:
    """Return the files that are here, and the weights that a named quant lacks.

    `Refused` where none of what was meant is here.
    """
    name, files = meant(what, model)
    kept = inventory.look(files, name)
    found = [(each.file, each.path) for each in kept if each.path]
    weights = [each for each in kept if each.file.role == "weights"]
    if not found or (what and not any(each.path for each in weights)):
        raise Refused(
            f"Nothing of {what or 'the model'} is whole on this disk.",
            why=f"It was looked for in {cache_layout.hub_cache()}.",
            next=f"{line('pull', what, model)}, or, if another program has it: "
            "steprun models adopt",
        )
    return name, found, [each.file for each in weights if what and each.path is None]


def _must_be_whole(what: str, model: str, lacking: list[ModelFile]) -> None:
    """Raise `Refused` where a quant that was named is not all here: what is sound is not enough."""
    if lacking:
        lost = size(sum(file.bytes for file in lacking))
        raise Refused(
            f"{what} is not whole on this disk.",
            why=f"What is here is sound; {', '.join(file.name for file in lacking)} ({lost}) are "
            "missing or have only begun.",
            next=line("pull", what, model),
        )


def _line(file: ModelFile, *, sound: bool, wrong: tuple[int, ...]) -> str:
    state = click.style("sound", fg="green") if sound else click.style("WRONG", fg="red")
    where = ", ".join(f"byte {at:,}" for at in wrong[:3])
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    was = f"  ({'was ' if sound else ''}wrong from {where}{more} on)" if wrong else ""
    return f"{state}  {file.path}{was}"
