"""`steprun plan`: what would run here, byte by byte, and why."""

from dataclasses import replace
from typing import Any

import click

from runner.base.errors import Exit
from runner.cli import output, proof
from runner.cli.options import model_options, take_request
from runner.cli.prepare import expected_speed, launch_line, make_plan, spec_of
from runner.plan.launch import LaunchSpec
from runner.run.document import to_json


@click.command()
@model_options
@click.option(
    "--machine",
    "machine_from",
    metavar="NAME|FILE",
    help="Plan for another machine: a preset, such as dgx-spark, or a capture.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document (steprun.plan/1).")
def plan(*, machine_from: str | None, as_json: bool, **options: Any) -> int:
    """Show what would run here and why. Exits 3 where it would not fit."""
    prepared = make_plan(take_request(options), machine_from)
    spec = LaunchSpec(())
    if prepared.plan.fits:
        line = launch_line(prepared)
        # Its default port has changed between builds.
        spec = replace(line, argv=(*line.argv, "--host", "127.0.0.1", "--port", "8080"))
    speed = expected_speed(prepared.plan)
    for difference in proof.known(prepared.plan, spec_of(prepared), prepared.engine):
        click.echo(proof.in_words(difference), err=True)
    if as_json:
        output.emit_json(to_json(prepared.plan, spec, speed))
    else:
        click.echo(output.plan_text(prepared.plan, spec, speed))
    return Exit.DONE if prepared.plan.fits else Exit.REFUSED
