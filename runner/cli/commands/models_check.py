"""`steprun models check` and `update`: find newer files on the hub, and switch to them."""

from collections.abc import Sequence
from typing import Any

import click

from runner.base.errors import Refused, SteprunError, UsageError
from runner.base.units import download_size, size
from runner.catalog import models_toml, overlay, shards
from runner.cli import progress
from runner.cli.confirm import must_agree
from runner.cli.render.common import emit_json
from runner.cli.render.wrap import say, wrapped
from runner.hub import listing as hub
from runner.hub.listing import Listing
from runner.run.files import models_command
from runner.weights import cache_layout, updates
from runner.weights.updates import CatalogSet, Change

_BACK = "steprun models update --back"
_WORDS = {
    "same": "unchanged",
    "partial": "incomplete there: some files are missing or still uploading",
    "gone": "no longer there; installed files remain usable",
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document (steprun.check/1).")
def check(*, as_json: bool) -> None:
    """Ask the hub for newer files of the catalog's models. Downloads and replaces nothing."""
    sets = _catalog_sets()
    found: list[tuple[Listing, list[Change]]] = []
    failed: list[SteprunError] = []
    for repo in dict.fromkeys(each.shipped.repo for each in sets):
        try:
            listing = hub.list_repository(repo)
        except SteprunError as error:
            failed.append(error)
            continue
        mine = [each for each in sets if each.shipped.repo == repo]
        found.append((listing, [updates.compare(each, listing) for each in mine]))
    if found and as_json:
        emit_json({"schema": "steprun.check/1", "repos": [_document(*each) for each in found]})
    elif found:
        say("\n\n".join(_text(*each) for each in found), 4)
        if any(c.is_update and c.old.installed for _, changes in found for c in changes):
            say("To update: steprun models update", err=True)
    for other in failed[1:]:
        if other.why != failed[0].why:  # the network, for both
            say(str(other), err=True)
    if failed:
        raise failed[0]


def _catalog_sets() -> tuple[CatalogSet, ...]:
    if overlay.is_damaged():
        say(
            f"{overlay.path()} is damaged; using the catalog as shipped. To reset it: {_BACK}",
            err=True,
        )
    return updates.catalog_sets(models_toml.as_shipped(), models_toml.load_catalog())


def _document(listing: Listing, changes: list[Change]) -> dict[str, Any]:
    return {
        "repo": listing.repo,
        "pinned": changes[0].old.shipped.revision,
        "commit": listing.commit,
        "catalog": [
            {
                "model": change.old.model,
                "quant": change.old.quant or None,
                "role": change.old.shipped.role,
                "on_disk": change.old.installed,
                "result": change.state,
                "revision": change.old.files[0].revision,
                "new_bytes": sum(f.bytes for f in change.new_files) if change.is_update else 0,
                "files": [
                    {"path": file.path, "bytes": file.bytes, "sha256": file.sha256}
                    for file in change.files
                ],
            }
            for change in changes
        ],
        "beside": [
            {
                "name": shards.stem(parts[0].path),
                "files": len(parts),
                "total_bytes": sum(file.bytes for file in parts),
                "whole": updates.is_complete(parts),
            }
            for parts in updates.not_in_catalog(changes, listing)
        ],
        "skipped": listing.skipped,
    }


def _text(listing: Listing, changes: list[Change]) -> str:
    news = _document(listing, changes)
    changed = [change for change in changes if change.state != "same"]
    lines = [click.style(listing.repo, bold=True)]
    if news["commit"] == news["pinned"]:
        lines.append(f"  still at {listing.commit[:8]}, the commit in the catalog")
    else:
        same = "" if changed else "; all files that steprun uses are unchanged"
        lines.append(f"  at {listing.commit[:8]}; the catalog has {news['pinned'][:8]}{same}")
    lines += [wrapped(f"  {c.old.label:12} {_change(c)}", 15) for c in changed]
    if changed or news["commit"] != news["pinned"]:
        for each in news["beside"]:
            count = f"{each['files']} file{'s' * (each['files'] > 1)}"
            partial = "" if each["whole"] else ", incomplete"
            lines.append(f"  + {each['name']}: {size(each['total_bytes'])} in {count}{partial}")
    if listing.skipped:
        lines.append(f"  ignored {listing.skipped} files with unusual names or sizes")
    return "\n".join(lines)


def _change(change: Change) -> str:
    new = change.new_files
    text = f"{len(new)} of {len(change.files)} files new, {size(sum(f.bytes for f in new))}"
    if change.state == "moved":
        text = f"now {change.files[0].path}, {text}"
    return _WORDS.get(change.state, text) + (" (installed)" if change.old.installed else "")


# --- update


@click.command()
@click.argument("quant", required=False)
@click.option("--yes", is_flag=True, help="Download without asking.")
@click.option("--back", is_flag=True, help="Go back to the files that this steprun ships with.")
def update(quant: str | None, *, yes: bool, back: bool) -> None:
    """Switch to the hub's newer files: of QUANT, or of everything installed."""
    if back:
        _go_back(quant)
        return
    wanted = _wanted(quant)
    listings = {
        repo: hub.list_repository(repo) for repo in dict.fromkeys(s.shipped.repo for s in wanted)
    }
    compared = [updates.compare(each, listings[each.shipped.repo]) for each in wanted]
    for change in compared:
        say(f"{change.old.label}: {_change(change)}", 2, err=True)
    changes = [change for change in compared if change.is_update]
    if not changes:
        click.echo("Nothing to update.", err=True)
        return
    for change in changes:
        hub.must_be_verifiable(change.files)
    say(
        f"{download_size(updates.download_bytes(changes))} to download, into "
        f"{cache_layout.hub_cache()}. The old files stay in use until the new ones are complete "
        "and verified, and on the disk until you delete them: steprun models rm --old",
        err=True,
    )
    if not yes:
        command = f"{models_command('update', quant or '', '')} --yes"
        must_agree("Download them?", "Nothing was replaced.", command, default=True)
    try:
        with progress.shown(paced=True) as report:
            updates.switch(changes, report)
    except KeyboardInterrupt:
        click.echo("Stopped. Nothing was replaced; the next update resumes.", err=True)
        raise
    names = ", ".join(change.old.label for change in changes)
    say(f"Now in use: {names}. To delete the old files: steprun models rm --old", err=True)


def _wanted(quant: str | None) -> Sequence[CatalogSet]:
    sets = _catalog_sets()
    installed = [each for each in sets if each.installed]
    if quant is None:
        if not installed:
            raise Refused(
                "Nothing to update.",
                why="No weights of the catalog are installed.",
                next="Name a quant (steprun models update IQ4_XS), or: steprun models pull",
            )
        return installed
    chosen = [each for each in sets if each.quant.casefold() == quant.casefold()]
    if not chosen:
        models_toml.load_catalog().models[0].quant(quant)  # raises, with the known names
        raise UsageError(
            f"{quant} is not on the hub.",
            why="Only models from the hub can have newer files there.",
            next="List them: steprun models check",
        )
    return chosen + [each for each in installed if not each.quant]


def _go_back(quant: str | None) -> None:
    if quant:
        raise UsageError(
            "--back takes no quant.",
            why="It goes back to all files that this steprun ships with.",
            next=_BACK,
        )
    changed = overlay.path().exists()
    overlay.path().unlink(missing_ok=True)
    say(
        f"The catalog is {'reset to' if changed else 'already'} what this steprun ships with. "
        "To see which of its files are installed: steprun models",
        err=True,
    )
