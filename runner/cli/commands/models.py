"""`steprun models`: the catalog, what fits, what is downloaded; and the commands on weights."""

from typing import Any

import click

from runner.base.shell import as_typed
from runner.base.units import size
from runner.catalog import models_toml
from runner.catalog.model import Model, Quant
from runner.cli.lazy import LazyGroup, examples
from runner.cli.render.common import emit_json
from runner.cli.render.models import model_text
from runner.machine.facts import Machine
from runner.plan.model_spec import from_model
from runner.plan.request import PlanRequest
from runner.run.machine_view import probed
from runner.run.prepare import choose_plan
from runner.weights import cache_layout, inventory
from runner.weights.inventory import Kept

COMMANDS = {
    "pull": ("models_pull:pull", "Download weights and verify them."),
    "adopt": ("models_adopt:adopt", "Use the weights that another program has downloaded."),
    "verify": ("models_verify:verify", "Verify downloaded weights by their sha256."),
    "repair": ("models_verify:repair", "Download damaged parts again."),
    "check": ("models_check:check", "See whether the hub has newer files."),
    "update": ("models_check:update", "Update to the hub's newer files."),
    "rm": ("models_rm:rm", "Delete weights, and say how much space that frees."),
}


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    invoke_without_command=True,
    epilog=examples(
        "steprun models",
        "steprun models pull IQ4_XS",
        "steprun models verify",
        "steprun models rm --old",
    ),
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document (steprun.models/1).")
@click.pass_context
def models(context: click.Context, *, as_json: bool) -> None:
    """List the models: their quants, which fit on this machine, and which are downloaded.

    The commands below download weights, verify and repair them, find those that other programs
    have downloaded, and delete them.
    """
    if context.invoked_subcommand is None:
        _list(as_json=as_json)


def _list(*, as_json: bool) -> None:
    known = models_toml.load_catalog().models
    machine = probed()
    if as_json:
        emit_json({"schema": "steprun.models/1", "models": [_model(m, machine) for m in known]})
        return
    for model in known:
        fits = [_fits(model, quant, machine) for quant in model.quants]
        click.echo(as_typed(model_text(model, fits)))
    taken = sum(k.bytes for m in known for k in inventory.look(m.files, m.name))
    click.echo(f"Space used by weights: {size(taken)}.")


def _fits(model: Model, quant: Quant, machine: Machine) -> bool | None:
    """Whether a quant fits on a machine; None where nothing can be said."""
    model_spec = from_model(model)
    if model_spec is None:
        return None
    return choose_plan(machine, model_spec, PlanRequest(quant=quant.name)).fits


def _model(model: Model, machine: Machine) -> dict[str, Any]:
    answers = [_fits(model, quant, machine) for quant in model.quants]
    return {
        "name": model.name,
        "title": model.title,
        "fits": any(answers) if answers and None not in answers else None,
        "note": model.note,
        "quants": [
            {"fits": fits, **_quant(model, quant)}
            for quant, fits in zip(model.quants, answers, strict=True)
        ],
    }


def _quant(model: Model, quant: Quant) -> dict[str, Any]:
    kept = inventory.look(cache_layout.needs(model, quant), model.name)
    return {
        "name": quant.name,
        # What a chat needs: the weights, and the vision encoder if any.
        "on_disk": all(each.path for each in kept if each.file.role != "mtp"),
        "total_bytes": quant.total_bytes,
        "disk_bytes": sum(each.bytes for each in kept if each.file.role == "weights"),
        "note": quant.note,
        "files": [_file(each) for each in kept],
    }


def _file(kept: Kept) -> dict[str, Any]:
    file = kept.file
    return {
        "role": file.role,
        "source": file.source,
        "repo": file.repo,
        "revision": file.revision,
        "path": file.path,
        "bytes": file.bytes,
        "sha256": file.sha256,
        "state": str(kept.state),
        "disk_bytes": kept.bytes,
    }
