"""`steprun kv`: the prompts that are saved on the disk, so that they are not read again."""

import re
import time
from contextlib import closing
from dataclasses import asdict
from typing import Any

import click

from runner.base.errors import Refused, UsageError
from runner.base.shell import shell_line
from runner.base.units import size
from runner.cli.confirm import must_agree
from runner.cli.lazy import examples
from runner.cli.render.common import emit_json
from runner.cli.render.saved_prompts import saved_text
from runner.cli.render.wrap import say
from runner.kv.saved import Saved, Totals
from runner.kv.shelf import Shelf
from runner.run.deleted_chats import opened_shelf

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document (steprun.kv/1).")
_AGE = re.compile(r"(\d{1,6})\s*([smhd])", re.ASCII)
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@click.group(
    invoke_without_command=True,
    epilog=examples(
        "steprun kv",
        "steprun kv clear --older 7d",
        "steprun kv clear --all --yes",
    ),
)
@_JSON
@click.pass_context
def kv(context: click.Context, *, as_json: bool) -> None:
    """List and delete saved prompts: KV caches on the disk, which save their prefill.

    `chat` and `serve` save them, and delete the least valuable ones to stay within `--kv-disk`.
    They hold what was said in chats, in a form that only the engine reads.
    """
    if context.invoked_subcommand is None:
        _list(as_json=as_json)


@kv.command("list")
@_JSON
def list_(*, as_json: bool) -> None:
    """List the saved prompts, the most valuable first, and what they have saved.

    A conversation has one, which the next turn replaces: TIMES and SAVED count its earlier turns.
    """
    _list(as_json=as_json)


def _known(_: click.Context, __: click.Parameter, begins: str) -> list[str]:
    """Complete an ID."""
    with closing(opened_shelf()) as shelf:
        return [each.id for each in shelf.listed() if each.id.startswith(begins)]


@kv.command("clear")
@click.argument("ids", metavar="[ID]...", nargs=-1, shell_complete=_known)
@click.option("--all", "everything", is_flag=True, help="All saved prompts.")
@click.option("--older", metavar="AGE", help="Those not used for so long, such as 12h or 7d.")
@click.option("--yes", is_flag=True, help="Delete without asking.")
def clear(*, ids: tuple[str, ...], everything: bool, older: str | None, yes: bool) -> None:
    """Delete saved prompts, and say how much disk space that frees.

    A server that is running continues; it prefills these prompts once more.
    """
    if bool(ids) + everything + (older is not None) != 1:
        raise UsageError(
            "Name what to delete.",
            why="It takes IDs, --older or --all, and exactly one of them.",
            next="See what is saved: steprun kv list",
        )
    unused_s = None if older is None else _age(older)
    with closing(opened_shelf()) as shelf:
        gone = _selected(_must_work(shelf), ids, unused_s)
        if not gone:
            say("Nothing to delete.", err=True)
            return
        if not yes:
            count = "1 saved prompt" if len(gone) == 1 else f"{len(gone):,} saved prompts"
            held = size(sum(each.bytes for each in gone))
            typed = ("steprun", "kv", "clear", *ids, *(("--all",) if everything else ()))
            typed += ("--older", older) if older is not None else ()
            must_agree(
                f"Delete {count} ({held})?", "Nothing was deleted.", shell_line((*typed, "--yes"))
            )
        deleted = shelf.clear([each.id for each in gone])
        _must_work(shelf)
    click.echo(f"{size(sum(each.bytes for each in deleted))} freed.")


def _list(*, as_json: bool) -> None:
    with closing(opened_shelf()) as shelf:
        listed, totals = _must_work(shelf), shelf.totals()
        if as_json:
            emit_json(_document(shelf, listed, totals))
        else:
            click.echo(saved_text(listed, totals, time.time()))


def _must_work(shelf: Shelf) -> tuple[Saved, ...]:
    listed = shelf.listed()
    if shelf.off:
        raise Refused(
            "Saved prompts cannot be listed.",
            why=shelf.off,
            next="Check the disk, or move steprun's folders: STEPRUN_HOME=DIR",
        )
    return listed


def _selected(
    listed: tuple[Saved, ...], ids: tuple[str, ...], unused_s: float | None
) -> tuple[Saved, ...]:
    known = {each.id for each in listed}
    for each in ids:
        if each not in known:
            raise UsageError(
                f"No saved prompt has the ID {each[:40]!r}.", next="List them: steprun kv list"
            )
    before = time.time() - (unused_s or 0.0)
    return tuple(
        each
        for each in listed
        if (not ids or each.id in ids) and (unused_s is None or each.used <= before)
    )


def _age(text: str) -> float:
    found = _AGE.fullmatch(text.strip())
    if found is None:
        raise UsageError(
            f"{text[:40]!r} is not an age.",
            why="An age is a number with a unit: s, m, h or d.",
            next="For example: --older 7d",
        )
    return int(found[1]) * _UNITS_S[found[2]]


def _document(shelf: Shelf, listed: tuple[Saved, ...], totals: Totals) -> dict[str, Any]:
    bounds = asdict(totals.bounds) if totals.bounds is not None else {}
    return {
        "schema": "steprun.kv/1",
        "folder": str(shelf.folder),
        "files": totals.files,
        "total_bytes": totals.bytes,
        "written_today_bytes": totals.written_today,
        "saved_s": totals.saved_s,
        "budget_bytes": bounds.get("budget_bytes"),
        "keep_free_bytes": bounds.get("keep_free_bytes"),
        "bytes_a_day": bounds.get("bytes_a_day"),
        "saved": [
            {
                "id": each.id,
                "what": each.title,
                "tokens": each.tokens,
                "bytes": each.bytes,
                "made": each.made,
                "used": each.used,
                "read_s": each.read_s,
                "restores": each.restores,
                "saved_s": each.saved_s,
                "chat": each.owner or None,
            }
            for each in listed
        ],
    }
