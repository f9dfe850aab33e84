"""How a model is served with less memory than planned: from a plan to the rungs of its ladder."""

import logging
from collections.abc import Callable
from dataclasses import replace

from runner.base.errors import SteprunError
from runner.gateway.engine.keeper import Engine
from runner.gateway.engine.rungs import Rungs, ServedRung
from runner.gateway.model_settings import with_files, with_model
from runner.gateway.settings import Settings
from runner.plan.ladder import Rung, ladder
from runner.plan.launch import LaunchSpec
from runner.run.download_missing import Ready, installed_quants
from runner.run.files import locate, must_be_intact
from runner.run.prepare import check_lost, run_defaults, spec_of
from runner.run.request import ModelRequest

_log = logging.getLogger(__name__)
Make = Callable[[LaunchSpec], Engine]
"""Makes the engine of a launch line."""


def rungs_of(settings: Settings, ready: Ready, request: ModelRequest, make: Make) -> Rungs:
    """Return what makes the rungs of a model whose files are here.

    `settings`: of the gateway, as `with_files` returned them. A rung whose files are damaged, or
    that the engine cannot run, is left out.
    """

    def made() -> list[ServedRung]:
        prepared = ready.prepared
        defaults = run_defaults(prepared, request)
        rungs = ladder(prepared.plan, defaults, installed_quants(prepared))
        first = ServedRung(settings, lambda: make(ready.spec), held_bytes=rungs[0].held_bytes)
        lower = (_served(settings, ready, request, rung, make) for rung in rungs[1:])
        return [first, *filter(None, lower)]

    return made


def _served(
    settings: Settings, ready: Ready, request: ModelRequest, rung: Rung, make: Make
) -> ServedRung | None:
    prepared = replace(ready.prepared, plan=rung.plan)
    files = locate(prepared).files
    if not rung.plan.config.projector:
        files = replace(files, projector=None)
    try:
        must_be_intact(prepared, files)
        spec = spec_of(prepared, files)
        check_lost(prepared.engine.name, spec)
        known = with_model(settings, prepared)
        known, spec = with_files(known, Ready(prepared, files, spec), request)
    except (SteprunError, OSError) as error:
        _log.warning("A lower rung is left out (%s): %s", rung.gives_up, error)
        return None
    return ServedRung(known, lambda: make(spec), rung.gives_up, rung.held_bytes)
