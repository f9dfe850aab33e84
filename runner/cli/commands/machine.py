"""`steprun machine`: what this computer is."""

from pathlib import Path

import click

from runner.base.shell import as_typed
from runner.cli.lazy import examples
from runner.cli.render.common import emit_json
from runner.cli.render.machine import machine_text
from runner.cli.render.wrap import say
from runner.machine.captures import capture, presets
from runner.machine.facts import to_json
from runner.machine.probe import detect


@click.command(
    epilog=examples(
        "steprun machine",
        "steprun machine --capture mine.json",
        "steprun machine --known",
    )
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document (steprun.machine/1).")
@click.option(
    "--capture",
    "capture_to",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write everything that the probes saw to FILE, without names and serial numbers.",
)
@click.option("--known", is_flag=True, help="List the machines that `plan --machine` knows.")
def machine(*, as_json: bool, capture_to: Path | None, known: bool) -> None:
    """Show what this computer is, and how much of its memory an engine may use."""
    if known:
        width = max(map(len, presets.names()))
        for name in presets.names():
            say(f"{name:{width}}  {presets.about(name)}", width + 2)
        return
    live = capture.Live()
    found = detect(live)
    if capture_to is not None:
        capture.save(live.capture(), capture_to)
        click.echo(f"Capture written to {capture_to}", err=True)
    if as_json:
        emit_json(to_json(found))
    else:
        click.echo(as_typed(machine_text(found)))
