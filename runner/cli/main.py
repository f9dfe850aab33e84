"""The command line: a table of commands, and the one place that ends in an exit code.

`steprun --help` must stay under 150 ms, so nothing but click is imported before a command runs.
"""

import errno
import os
import signal
import sys
from typing import NoReturn

import click

from runner import __version__
from runner.base.errors import Exit, SteprunError
from runner.base.shell import as_typed
from runner.base.text import clean
from runner.cli.lazy import LazyGroup
from runner.cli.streams import open_missing

# name -> (where the click command is, its line in the overview)
COMMANDS = {
    "chat": ("chat:chat", "Chat with the model in the terminal, with images."),
    "serve": ("serve:serve", "Serve it with an OpenAI- and Anthropic-compatible API."),
    "ps": ("ps:ps", "Show the servers that run: who is served, and how fast."),
    "stop": ("stop:stop", "End a server."),
    "climb": ("climb:climb", "Give a server back what it gave up when memory was short."),
    "logs": ("logs:logs", "Show or follow a server's requests."),
    "kv": ("kv:kv", "List and delete saved prompts (KV caches on the disk)."),
    "key": ("key:key", "Make and revoke the API keys of `serve`."),
    "plan": ("plan:plan", "Show what would run on this machine, byte by byte, and why."),
    "machine": ("machine:machine", "Show what this computer is."),
    "models": ("models:models", "List, download, verify and delete models."),
    "engine": ("engine:engine", "Build, download, test and choose engines."),
    "bench": ("bench:bench", "Measure its speed and compare it with published figures."),
    "doctor": ("doctor:doctor", "Check everything; change nothing."),
    "completion": ("completion:completion", "Print or install shell completion."),
}


# click reads neither variable. None lets it look whether there is a terminal.
COLOUR = False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=as_typed(
        "First run: steprun plan, then steprun chat. Without the weights: steprun chat --demo."
    ),
)
@click.version_option(__version__, prog_name="steprun")
def steprun() -> None:
    """Step-3.7-Flash on your 128 GB desktop: plan, weights, engine, chat."""


def print_error(error: SteprunError) -> None:
    """Print on stderr what happened, why, and what to type next."""
    # Some errors quote a server or a file: a terminal must not obey what they contain.
    from runner.cli.render.common import is_dumb
    from runner.cli.render.wrap import say, wrapped

    what = wrapped(f"error: {clean(error.what)}", 7, err=True)
    click.secho(what, fg="red", err=True, color=False if is_dumb() else COLOUR)
    for label, text in (("why:  ", error.why), ("next: ", error.next)):
        if text:
            say(f"  {label}{clean(text)}", 8, err=True)


def main() -> NoReturn:
    """Run the command line and exit with one of the documented codes."""
    open_missing()
    if "HOME" not in os.environ:
        from runner.base.paths import must_have_home  # platformdirs takes 5 ms

        must_have_home()
    # A polite end from outside is an interruption: what is running is stopped in order.
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
            signal.signal(number, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a model's words must not die of a C locale
            stream.reconfigure(errors="replace")
    sys.exit(_run())


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _run() -> int:
    try:
        result = steprun.main(prog_name="steprun", standalone_mode=False, color=COLOUR)
        return result if isinstance(result, int) else Exit.DONE
    except SteprunError as error:
        print_error(error)
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return Exit.USAGE
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        command = context.command_path if context else "steprun"
        print_error(SteprunError(error.format_message(), next=f"{command} --help"))
        return error.exit_code  # of a UsageError 2, else 1, as in `Exit`
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return Exit.INTERRUPTED
    except SystemExit as error:
        # click exits so where the reader of our output has gone (`| head`): nothing is wrong.
        gone = type(sys.stdout).__name__.endswith("PacifyFlushWrapper")
        return Exit.DONE if gone else int(error.code or 0)
    except OSError as error:
        print_error(_from_os(error))
        return Exit.FAILED
    except Exception as error:  # noqa: BLE001 - the last line of defence: no trace on a terminal
        from runner.base.files import write_trace

        log = write_trace(error)
        print_error(
            SteprunError(
                f"steprun failed unexpectedly: {type(error).__name__}: {error}",
                why="This is a bug in steprun.",
                next=f"Report it with the trace in {log}.",
            )
        )
        return Exit.FAILED


def _from_os(error: OSError) -> SteprunError:
    where = f" ({error.filename})" if error.filename else ""
    other = "STEPRUN_HOME=DIR for steprun's files, HF_HOME=DIR for weights."
    do = "steprun doctor"
    if isinstance(error, PermissionError):
        do = f"Use a folder of your own: {other}"
    elif error.errno in {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}:
        do = f"Free some space, or use a folder on another disk: {other}"
    what = f"{error.strerror or error}{where}."
    return SteprunError(what, why="The operating system refused it.", next=do)
