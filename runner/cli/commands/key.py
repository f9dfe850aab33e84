"""`steprun key`: the API keys that `serve` accepts, one for each client."""

from pathlib import Path

import click

from runner.base.errors import UsageError
from runner.base.shell import shell_line
from runner.cli.lazy import examples
from runner.cli.render.wrap import say

FILE = click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The key file. Default: the one that `steprun serve` makes.",
)
_MAKE = "Name the client, such as: steprun key new laptop"


@click.group(
    epilog=examples(
        "steprun key new laptop",
        "steprun key list",
        "steprun key show",
        "steprun key revoke laptop",
    )
)
def key() -> None:
    """Make, list, show and revoke the API keys of `steprun serve`.

    A server that is running follows within two seconds.
    """


@key.command("new")
@click.argument("name")
@FILE
def new(*, name: str, path: Path | None) -> None:
    """Make a key for a client, and print it.

    A client that has one already gets another, and the old one is revoked.
    """
    from runner.gateway.admission import key_file

    _must_be_name(name)
    place = path or key_file.own_file()
    made = key_file.new_key()
    replaced = key_file.change(place, name, made)
    click.echo(made)
    say(
        f"{'Replaced' if replaced else 'Added'} the key {name} in {place}. Clients send it as: "
        "Authorization: Bearer KEY",
        err=True,
    )
    if path is not None:
        line = shell_line(("steprun", "serve", "--api-key-file", str(place)), {})
        say(f"Serve with it: {line}", err=True)


@key.command("list")
@FILE
def list_(*, path: Path | None) -> None:
    """List the names of the keys, never the keys."""
    from runner.gateway.admission import key_file

    place = path or key_file.own_file()
    if not place.exists():
        say(f"There are no keys yet: {place} does not exist.", err=True)
        return
    for name in key_file.load(place):
        click.echo(name)


@key.command("show", epilog=examples('export OPENAI_API_KEY="$(steprun key show)"'))
@click.argument("name", default="")
@FILE
def show(*, name: str, path: Path | None) -> None:
    """Print one key: the first, or the one of NAME."""
    from runner.gateway.admission import key_file

    place = path or key_file.own_file()
    if not place.exists():
        raise UsageError(f"There are no keys yet: {place} does not exist.", next=_MAKE)
    keys = key_file.load(place)
    if name and name not in keys:
        raise _unknown(name, place)
    click.echo(keys[name] if name else next(iter(keys.values())))


@key.command("revoke")
@click.argument("name")
@FILE
def revoke(*, name: str, path: Path | None) -> None:
    """Delete a key: its client is refused from then on."""
    from runner.gateway.admission import key_file

    place = path or key_file.own_file()
    if not place.exists() or not key_file.change(place, name, None):
        raise _unknown(name, place)
    say(f"Revoked the key {name}.", err=True)


def _unknown(name: str, place: Path) -> UsageError:
    return UsageError(
        f"{place} has no key with the name {name[:40]!r}.", next="List them: steprun key list"
    )


def _must_be_name(name: str) -> None:
    from runner.gateway.admission.keys import is_name

    if not is_name(name):
        raise UsageError(
            f"{name[:60]!r} cannot be the name of a key.",
            why="It may have letters, digits, '.', '_', '-' and '@', 40 at the most.",
            next=_MAKE,
        )
