"""`steprun bench`: how fast this machine is, compared with published figures."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from runner.base.errors import Exit, Refused, UsageError
from runner.bench import batched, grid, report, through_api
from runner.bench.grid import Grid, Measurement
from runner.cli.lazy import examples
from runner.cli.options import model_options, take_request
from runner.cli.render.common import TransientLine, emit_json
from runner.cli.render.wrap import say
from runner.engine.installed.describe import describe
from runner.engine.installed.stamp import Kind
from runner.plan.launch import LaunchSpec
from runner.run.download_missing import Ready
from runner.run.prepare import (
    Prepared,
    check_lost,
    engine_notice,
    expected_speed,
    make_plan,
    published_run,
)

API = (
    f"This engine has no {batched.NAME}: it is measured through the server's API, which adds some "
    "overhead to each token."
)


@click.command(
    epilog=examples("steprun bench", "steprun bench --quick --json", "steprun bench --demo")
)
@model_options
@click.option("--demo", is_flag=True, help="Measure a small model (93 MB) that runs anywhere.")
@click.option("--quick", is_flag=True, help="Measure prompts of up to 2,048 tokens only.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document (steprun.bench/1).")
def bench(*, demo: bool, quick: bool, as_json: bool, **options: Any) -> int:
    """Measure prefill and decode at growing prompt lengths, as StepFun did.

    After Ctrl-C, the rows measured so far are shown, with exit code 130.
    """
    from runner.cli.terminal import make_ready

    request = take_request(options, demo="talk" if demo else None)
    if request.ask.parallel > 1:
        raise UsageError(
            "bench measures one conversation at a time.",
            why="So do the published figures.",
            next="Leave --parallel out.",
        )
    prepared = make_plan(request, to_run=True, verb="bench")
    if prepared.engine.stamp.kind is Kind.PYTHON:
        raise Refused(
            f"The engine {prepared.engine.name} cannot be measured.",
            why="llama-cpp-python has neither llama-batched-bench nor llama-server's API.",
            next="Choose another: steprun engine list",
        )
    ready = make_ready(prepared)
    asked = grid.cut(prepared.plan.config.context, grid.QUICK if quick else grid.PROMPTS)
    work = _Work(ready.prepared, asked, *line(ready, asked), as_json)
    try:
        asyncio.run(work.measure())
    finally:  # after a Ctrl-C or a crash too
        work.show()
    return Exit.DONE


def line(ready: Ready, asked: Grid) -> tuple[Path | None, LaunchSpec]:
    """Return the tool beside an engine, and how to start it; without one, how to start the engine.

    Raises `SteprunError` where the tool does not answer as one.
    """
    engine, plan = ready.prepared.engine, ready.prepared.plan
    tool = engine.tool(batched.NAME)
    spec = grid.launch_line(
        ready.files.weights,
        plan.settings,
        asked,
        flags=describe((str(tool),)).flags if tool else engine.stamp.flags,
        safe_flags=engine.stamp.safe_flags,
        total_bytes=plan.held_bytes,
    )
    check_lost(engine.name, spec)
    return tool, spec


@dataclass(slots=True)
class _Work:
    """One measurement: what is asked, how, and the rows so far."""

    prepared: Prepared
    grid: Grid
    tool: Path | None
    spec: LaunchSpec
    as_json: bool
    rows: list[Measurement] = field(default_factory=list)

    async def measure(self) -> None:
        """Measure the grid, and show each row once it is measured."""
        run = published_run(self.prepared.plan)
        for text in (engine_notice(self.prepared), "" if self.tool else API, self.grid.missing):
            if text:
                say(text, err=True)
        if not self.as_json:
            click.echo(report.head(run))
        with TransientLine() as status:
            async with aclosing(self._measured(status)) as coming:
                async for row in coming:
                    self.rows.append(row)
                    status.clear()
                    if not self.as_json:
                        click.echo(report.bench_line(row, run))

    def _measured(self, status: TransientLine) -> AsyncGenerator[Measurement]:
        def show(seconds: float) -> None:
            prompt = self.grid.prompts[len(self.rows)]
            status.show(f"{prompt:,} tokens, then {grid.N_GEN} more ... {seconds:.0f} s")

        if self.tool:
            return batched.measure(self.tool, self.spec, self.grid, show)
        program = self.prepared.engine.program
        return through_api.measure(program, self.spec, self.grid, show)

    def show(self) -> None:
        """Show the document, or the verdict below the table."""
        plan = self.prepared.plan
        run = published_run(plan)
        verdict = report.verdict(self.rows, expected_speed(plan), run)
        if self.as_json:
            document = report.to_json(
                self.rows,
                run,
                finished=len(self.rows) == len(self.grid.prompts),
                verdict=verdict,
                engine=self.prepared.engine.name,
                machine=plan.machine.name,
                model=plan.model_spec.name,
                quant=plan.variant.name,
                method=batched.NAME if self.tool else "api",
                context=self.grid.context,
                kv_type=plan.config.kv_type,
                ubatch=plan.config.ubatch,
                left_out=list(self.grid.left_out),
            )
            emit_json(document)
        elif self.rows and run:
            for text in (report.source(run), verdict):
                say(text)
