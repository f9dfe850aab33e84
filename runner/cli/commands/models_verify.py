"""`steprun models verify` and `repair`: check installed weights, and repair damaged files."""

import time
from pathlib import Path

import click

from runner.base.errors import Exit, Refused
from runner.base.units import download_size, duration, rate, size
from runner.catalog import models_toml
from runner.catalog.model import ModelFile
from runner.cli.commands.models_pull import MODEL, NAMED, must_not_ship
from runner.cli.confirm import must_agree
from runner.cli.render.common import emit_json
from runner.cli.render.wrap import say
from runner.hub.address import address, hub_name, is_remote
from runner.run.files import models_command
from runner.weights import cache_layout, inventory

WHAT = click.argument("what", required=False, default="", metavar="[QUANT|hf:...]")
Installed = list[tuple[ModelFile, Path]]


@click.command()
@WHAT
@MODEL
@click.option("--json", "as_json", is_flag=True, help="One JSON document (steprun.verify/1).")
def verify(*, what: str, model: str, as_json: bool) -> int:
    """Read the installed weights and verify them by their published sha256.

    All files are read at once. The result is remembered, so starting a chat never rereads them.
    """
    from runner.cli.progress import shown
    from runner.weights import verify

    _, found, lacking = _installed(what, model)
    began = time.monotonic()
    with shown(paced=True) as report:
        checks = verify.verify_files(found, report)
    took = time.monotonic() - began
    if as_json:
        rows = [
            {
                "path": str(check.path),
                "sound": check.intact,
                "bytes": check.file.bytes,
                "wrong_at": list(check.wrong),
            }
            for check in checks
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
        for check in checks:
            click.echo(_line(check.file, intact=check.intact, wrong=check.wrong))
        read = sum(file.bytes for file, _ in found)
        speed = rate(read / max(took, 0.001))
        click.echo(f"{size(read)} read in {duration(took)} ({speed}).", err=True)
    if all(check.intact for check in checks):
        _must_be_complete(what, model, lacking)
        return Exit.DONE
    say(f"To repair: {models_command('repair', what, model)}", err=True)
    return Exit.BAD_FILE


@click.command()
@WHAT
@MODEL
@click.option("--yes", is_flag=True, help="Repair another program's files without asking.")
def repair(*, what: str, model: str, yes: bool) -> int:
    """Verify the installed weights, and download again only what is damaged.

    A file without block checksums, since it was never verified here, is downloaded as a whole.
    """
    from runner.cli.progress import shown
    from runner.cli.terminal import frontend
    from runner.run.download_missing import download_files
    from runner.weights import block_checksums, links, pull, verify

    name, found, lacking = _installed(what, model)
    must_not_ship(name, [file for file, _ in found])
    foreign = [
        path.resolve() for file, path in found if path == cache_layout.linked_path(file, name)
    ]
    if foreign and not yes:
        say("These files belong to another program, and are repaired in place:", err=True)
        for path in foreign:
            click.echo(f"  {path}", err=True)
        command = f"{models_command('repair', what, model)} --yes"
        must_agree("Verify and repair them?", "Nothing was changed.", command)
    with shown(paced=True) as report:
        checks = verify.verify_files(found, report, pull.block_download())
    for check in checks:
        click.echo(_line(check.file, intact=check.intact, wrong=check.wrong))
    repaired = sum(check.downloaded for check in checks)
    again = [check.file for check in checks if not check.intact]
    if again:
        count = f"{len(again)} file{'s' * (len(again) > 1)}"
        total = download_size(sum(file.bytes for file in again))
        say(f"Downloading {count} again ({total}): no block checksums to repair from.", err=True)
        for file in again:
            inventory.remove(inventory.removals([file], name))
            block_checksums.forget(file.sha256 or "")
        download_files(again, name, frontend())
        links.gather([file for file, _ in found if file.role == "weights"], name)
    _must_be_complete(what, model, lacking)
    click.echo(
        f"All files verified; {size(repaired)} downloaded again to repair them."
        if repaired
        else "All files verified."
    )
    return Exit.DONE


def requested(what: str, model: str) -> tuple[str, tuple[ModelFile, ...]]:
    """Return the files that a command is about, and the name they are kept under.

    `what`: a quant, a model named by `hf:`, or nothing: all that the catalog has of a model.
    """
    if is_remote(what):
        address(what)  # one that is mistyped names no file that could be here
        return NAMED, inventory.named(what)
    known = models_toml.load_catalog()
    of = known.model(model) if model else known.models[0]
    return of.name, cache_layout.needs(of, of.quant(what)) if what else of.files


def _installed(what: str, model: str) -> tuple[str, Installed, list[ModelFile]]:
    """Return the name and the files of what is installed, and the weights that a quant lacks.

    Raises `Refused` where nothing of what was requested is installed.
    """
    name, files = requested(what, model)
    if is_remote(what) and any(file.sha256 is None for file in files):
        files = _ask_hub(what, files)
    kept = inventory.look(files, name)
    found = [(each.file, each.path) for each in kept if each.path]
    weights = [each for each in kept if each.file.role == "weights"]
    if not found or (what and not any(each.path for each in weights)):
        raise Refused(
            f"{what or 'The model'} is not downloaded.",
            why=f"No complete file was found in {cache_layout.hub_cache()}.",
            next=f"{models_command('pull', what, model)}, or, if another program has it: "
            "steprun models adopt",
        )
    return name, found, [each.file for each in weights if what and each.path is None]


def _ask_hub(what: str, files: tuple[ModelFile, ...]) -> tuple[ModelFile, ...]:
    """Return the files of a cache without links, with the sha256 that the hub publishes."""
    from runner.weights import hub_files

    named = hub_name(what)
    if named is None or named.revision == files[0].revision:
        return hub_files.files(what)
    # What is here may be older than what the branch stands for now.
    return hub_files.files(f"hf:{named.repo}/{named.path}@{files[0].revision}")


def _must_be_complete(what: str, model: str, lacking: list[ModelFile]) -> None:
    """Raise `Refused` where a named quant is incomplete, however intact its other files are."""
    if lacking:
        missing = download_size(sum(file.bytes for file in lacking))
        raise Refused(
            f"{what} is incomplete.",
            why=f"The installed files are intact; {', '.join(file.name for file in lacking)} "
            f"({missing}) are missing or partly downloaded.",
            next=models_command("pull", what, model),
        )


def _line(file: ModelFile, *, intact: bool, wrong: tuple[int, ...]) -> str:
    state = click.style("intact", fg="green") if intact else click.style("DAMAGED", fg="red")
    where = ", ".join(f"byte {at:,}" for at in wrong[:3])
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    was = f"  ({'was ' if intact else ''}damaged from {where}{more} on)" if wrong else ""
    return f"{state}  {file.path}{was}"
