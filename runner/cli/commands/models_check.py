"""`steprun models check` and `update`: what the hub has now, and taking it into use."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from runner.base.errors import Refused, SteprunError, UsageError
from runner.catalog import models_toml, overlay
from runner.cli import progress
from runner.cli.commands.models_pull import line
from runner.cli.confirm import must_agree
from runner.cli.output import emit_json, size
from runner.cli.wrap import wrapped
from runner.weights import cache_layout

if TYPE_CHECKING:
    from runner.weights.updates import CatalogSet, Change, ExtraModel, RepoDiff

_BACK = "steprun models update --back"
_WORDS = {
    "same": "as it was",
    "partial": "not whole there: some files are missing, or on their way",
    "gone": "gone; what is here can still be used",
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document (steprun.check/1).")
def check(*, as_json: bool) -> None:
    """Ask the hub whether there are newer files; fetches and replaces nothing."""
    from runner.weights import updates

    held = _held()
    found: list[RepoDiff] = []
    failed: list[SteprunError] = []
    for repo in dict.fromkeys(each.shipped.repo for each in held):
        try:
            found.append(updates.news(held, _listing(repo)))
        except SteprunError as error:
            failed.append(error)
    if found and as_json:
        emit_json({"schema": "steprun.check/1", "repos": [_document(each) for each in found]})
    elif found:
        click.echo("\n\n".join(_text(each) for each in found))
        _advise(found)
    for other in failed[1:]:
        if other.why != failed[0].why:  # the network, for both
            click.echo(str(other), err=True)
    if failed:
        raise failed[0]


def _held() -> tuple["CatalogSet", ...]:
    from runner.weights import updates

    if overlay.read() is None:
        click.echo(
            f"{overlay.path()} is damaged, so the catalog is used as it ships. Away with it: "
            f"{_BACK}",
            err=True,
        )
    return updates.held(models_toml.as_shipped(), models_toml.load_catalog())


def _listing(repo: str) -> Any:
    from runner.hub import listing
    from runner.weights import updates

    return listing.list_repository(repo, updates.BRANCH)


def _document(news: "RepoDiff") -> dict[str, Any]:
    return {
        "repo": news.repo,
        "pinned": news.pinned,
        "commit": news.commit,
        "catalog": [_change_document(change) for change in news.changes],
        "beside": [
            {"name": b.name, "files": b.parts, "total_bytes": b.bytes, "whole": b.whole}
            for b in news.beside
        ],
        "skipped": news.skipped,
    }


def _change_document(change: "Change") -> dict[str, Any]:
    held = change.held
    return {
        "model": held.model,
        "quant": held.quant or None,
        "role": held.shipped.role,
        "on_disk": held.here,
        "result": change.state,
        "revision": held.files[0].revision,
        "new_bytes": sum(file.bytes for file in change.fresh) if change.wanted else 0,
        "files": [
            {"path": file.path, "bytes": file.bytes, "sha256": file.sha256} for file in change.files
        ],
    }


def _text(news: "RepoDiff") -> str:
    lines = [click.style(news.repo, bold=True)]
    changes = [change for change in news.changes if change.state != "same"]
    if news.commit == news.pinned:
        lines.append(f"  still at {news.commit[:8]}, which steprun knows")
    else:
        same = "" if changes else "; all files that steprun uses are as they were"
        lines.append(f"  at {news.commit[:8]} now; steprun knows {news.pinned[:8]}{same}")
    lines += [wrapped(f"  {c.held.label:12} {_said(c)}", 15) for c in changes]
    if news.commit != news.pinned or changes:
        lines += [f"  + {_beside(each)}" for each in news.beside]
    if news.skipped:
        lines.append(f"  {news.skipped} files with odd names or sizes are left out")
    return "\n".join(lines)


def _said(change: "Change") -> str:
    files, fresh = change.files, change.fresh
    new = f"{len(fresh)} of {len(files)} files new, {size(sum(f.bytes for f in fresh))}"
    here = " (on disk)" if change.held.here else ""
    if change.state == "moved":
        return f"now {files[0].path}, {new}{here}"
    return f"{_WORDS.get(change.state, new)}{here}"


def _beside(each: "ExtraModel") -> str:
    parts = f"{each.parts} files" if each.parts > 1 else "1 file"
    return f"{each.name}: {size(each.bytes)} in {parts}{'' if each.whole else ', not whole yet'}"


def _advise(found: Sequence["RepoDiff"]) -> None:
    wanted = [change for news in found for change in news.changes if change.wanted]
    if any(change.held.here for change in wanted):
        click.echo("To take what is newer into use: steprun models update", err=True)


# --- update


@click.command()
@click.argument("quant", required=False)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--back", is_flag=True, help="Go back to the files that this steprun ships with.")
def update(quant: str | None, *, yes: bool, back: bool) -> None:
    """Take the hub's newer files into use: of QUANT, or of all that is on this disk."""
    from runner.hub.listing import must_be_verifiable
    from runner.weights import updates

    if back:
        _go_back(quant)
        return
    wanted = _wanted(quant)
    there = {repo: _listing(repo) for repo in dict.fromkeys(h.shipped.repo for h in wanted)}
    changes = [updates.compare(held, there[held.shipped.repo]) for held in wanted]
    for change in changes:
        if not change.wanted:
            click.echo(f"{change.held.label}: {_WORDS[change.state]}", err=True)
    changes = [change for change in changes if change.wanted]
    if not changes:
        click.echo("There is nothing to take into use.", err=True)
        return
    for change in changes:
        must_be_verifiable(change.files)
    _announce(changes)
    _ask(quant, yes=yes)
    try:
        with progress.shown(paced=True) as tell:
            updates.take(changes, tell)
    except KeyboardInterrupt:
        click.echo("Stopped. Nothing was replaced; what came is kept for the next time.", err=True)
        raise
    names = ", ".join(change.held.label for change in changes)
    click.echo(f"In use now: {names}. To free the old ones: steprun models rm --old", err=True)


def _wanted(quant: str | None) -> list["CatalogSet"]:
    held = _held()
    if quant is None:
        wanted = [each for each in held if each.here]
        if not wanted:
            raise Refused(
                "There is nothing to bring up to date.",
                why="No weights of the catalog are on this disk.",
                next="Name a quant (steprun models update IQ4_XS), or: steprun models pull",
            )
        return wanted
    chosen = [each for each in held if each.quant.casefold() == quant.casefold()]
    if not chosen:
        models_toml.load_catalog().models[0].quant(quant)  # says which there are
        raise UsageError(
            f"{quant} does not come from the hub",
            why="Only what does can have newer files there.",
            next="See what can: steprun models check",
        )
    return chosen + [each for each in held if not each.quant and each.here]


def _announce(changes: Sequence["Change"]) -> None:
    from runner.weights import updates

    for change in changes:
        click.echo(f"{change.held.label}: {_said(change)}", err=True)
    click.echo(
        f"{size(updates.to_fetch(changes))} to fetch, into {cache_layout.hub_cache()}. The old "
        "files stay in use until the new ones are whole and proven, and on the disk until you "
        "free them: steprun models rm --old",
        err=True,
    )


def _ask(quant: str | None, *, yes: bool) -> None:
    if not yes:
        command = f"{line('update', quant or '', '')} --yes"
        must_agree("Fetch them?", "Nothing was replaced.", command, default=True)


def _go_back(quant: str | None) -> None:
    if quant:
        raise UsageError(
            "--back takes no quant",
            why="It goes back to all files that this steprun ships with.",
            next=_BACK,
        )
    path = overlay.path()
    there = path.exists()
    path.unlink(missing_ok=True)
    said = "The catalog is as it ships again." if there else "The catalog is as it ships already."
    click.echo(f"{said} What it lacks on this disk: steprun models", err=True)
