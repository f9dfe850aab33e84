"""`steprun completion`: the shell's completion script, printed or installed."""

import os
from pathlib import Path

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from runner.base.errors import Refused
from runner.base.files import write_private
from runner.cli.lazy import examples
from runner.cli.main import steprun
from runner.cli.render.wrap import say

SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command(
    epilog=examples(
        "steprun completion bash --install",
        'eval "$(steprun completion zsh)"',
        "steprun completion fish | source",
    )
)
@click.argument("shell", type=click.Choice(tuple(SHELLS)))
@click.option("--install", is_flag=True, help="Write the script to the shell's folder for it.")
def completion(*, shell: str, install: bool) -> None:
    """Print the script that completes steprun's commands and options in SHELL."""
    script = SHELLS[shell](steprun, {}, "steprun", "_STEPRUN_COMPLETE").source()
    if not install:
        click.echo(script)
        return
    path, then = _place(shell)
    click.echo(f"Writing {path}", err=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, script + "\n")
    except OSError as error:
        raise Refused(
            f"{path} cannot be written.",
            why=f"{error.strerror or error}.",
            next=f"Print it, and save it where your shell looks: steprun completion {shell}",
        ) from error
    say(then, err=True)


def _place(shell: str) -> tuple[Path, str]:
    """Return where a shell looks for a user's completion scripts, and what to do next."""
    if shell == "bash":  # the folder that the bash-completion package documents
        data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
        path = Path(data, "bash-completion", "completions", "steprun")
        return path.expanduser(), "Open a new shell. It needs the package bash-completion."
    if shell == "fish":
        config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
        path = Path(config, "fish", "completions", "steprun.fish")
        return path.expanduser(), "Open a new shell."
    # zsh has no folder of the user's own: this one has to be on its path.
    then = "Put this in ~/.zshrc, before compinit: fpath+=~/.zfunc"
    return Path("~/.zfunc/_steprun").expanduser(), then
