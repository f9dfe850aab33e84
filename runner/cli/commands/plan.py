"""`steprun plan`: what would run on this machine, byte by byte, and why."""

from dataclasses import replace
from typing import Any

import click

from runner.base.errors import Exit
from runner.base.shell import as_typed
from runner.cli.lazy import examples
from runner.cli.options import model_options, take_request
from runner.cli.render.common import emit_json
from runner.cli.render.plan import plan_text
from runner.cli.render.wrap import say
from runner.plan.launch import LaunchSpec
from runner.run import lessons, memory_check, saved_prompts
from runner.run.document import to_json
from runner.run.files import locate
from runner.run.prepare import expected_speed, launch_line, make_plan, spec_of


@click.command(
    epilog=examples(
        "steprun plan",
        "steprun plan --quant IQ3_XXS --ctx 65536",
        "steprun plan --machine dgx-spark --json",
    )
)
@model_options
@click.option(
    "--machine",
    "machine_from",
    metavar="NAME|FILE",
    help="Plan for another machine: a preset, such as dgx-spark, or a capture.",
)
@click.option(
    "--forget",
    is_flag=True,
    help="Forget what earlier runs on this machine have shown of memory, then plan.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document (steprun.plan/1).")
def plan(*, machine_from: str | None, forget: bool, as_json: bool, **options: Any) -> int:
    """Show what would run on this machine and why. Exits with 3 if it does not fit."""
    if word := lessons.forget() if forget else lessons.notice():
        say(word, err=True)
    prepared = make_plan(take_request(options), machine_from)
    files, spec = locate(prepared).files, LaunchSpec(())
    if prepared.plan.fits:
        line = launch_line(prepared, files)
        # Its default port has changed between builds.
        spec = replace(line, argv=(*line.argv, "--host", "127.0.0.1", "--port", "8080"))
    speed = expected_speed(prepared.plan)
    account = memory_check.recall_account(spec_of(prepared, files), prepared.engine)
    for difference in memory_check.differences(prepared.plan, account):
        say(memory_check.in_words(difference), err=True)
    if as_json:
        emit_json(to_json(prepared.plan, spec, speed))
    else:
        here = "" if machine_from else saved_prompts.in_words(prepared, None)
        text = plan_text(prepared.plan, spec, speed, (prepared.prompts, here))
        click.echo(as_typed(text))
    return Exit.DONE if prepared.plan.fits else Exit.REFUSED
