"""`steprun models`: the catalog, what fits, what is on this disk; and the commands on weights."""

from typing import Any

import click

from runner.catalog import models_toml
from runner.catalog.model import Model, ModelFile, Quant
from runner.cli import output
from runner.cli.lazy import LazyGroup
from runner.cli.wrap import wrapped
from runner.engine.builder import recipe
from runner.machine.captures import capture
from runner.machine.facts import Machine
from runner.machine.probe import detect
from runner.plan.choose import choose
from runner.plan.model_spec import from_model
from runner.plan.request import PlanRequest
from runner.weights import inventory
from runner.weights.inventory import FileState, Kept

_COLOURS = {
    FileState.DAMAGED: "red",
    FileState.PARTIAL: "yellow",
    FileState.INSTALLED: "cyan",
    FileState.VERIFIED: "cyan",
}
_WORDS = {
    FileState.INSTALLED: "here, not proven yet",
    FileState.VERIFIED: "here",
    FileState.DAMAGED: "DAMAGED: steprun models repair",
}


COMMANDS = {
    "pull": ("models_pull:pull", "Fetch weights, whole and proven."),
    "adopt": (
        "models_adopt:adopt",
        "Link those that another program has brought.",
    ),
    "verify": ("models_verify:verify", "Prove what is here by its sha256."),
    "repair": (
        "models_verify:repair",
        "Fetch again what is wrong, and only that.",
    ),
    "check": ("models_check:check", "See whether the hub has newer files."),
    "update": ("models_check:update", "Take them into use."),
    "rm": ("models_rm:rm", "Take weights away; says how much room that gives."),
}


@click.group(cls=LazyGroup, table=COMMANDS, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON document (steprun.models/1).")
@click.pass_context
def models(context: click.Context, *, as_json: bool) -> None:
    """List the models: their quants, what fits on this machine, what is on this disk.

    The commands below fetch their weights, prove and mend them, find those that other programs
    have brought, and take them away.
    """
    if context.invoked_subcommand is None:
        _list(as_json=as_json)


def _list(*, as_json: bool) -> None:
    known = models_toml.load_catalog().models
    machine = detect(capture.Live())
    if as_json:
        output.emit_json(
            {"schema": "steprun.models/1", "models": [_model(m, machine) for m in known]}
        )
        return
    for model in known:
        click.echo(_text(model, machine))
    taken = sum(k.bytes for m in known for k in inventory.look(inventory.all_files(m), m.name))
    click.echo(f"On this disk: {output.size(taken)}.")


def _fits(model: Model, quant: Quant, machine: Machine) -> bool | None:
    """Whether a quant fits here; None where nothing can be said."""
    model_spec = from_model(model)
    if model_spec is None:
        return None
    defaults = recipe.load_recipe(machine.backend).run
    return choose(machine, model_spec, PlanRequest(quant=quant.name), defaults).fits


def _files(model: Model, quant: Quant) -> tuple[ModelFile, ...]:
    return (*quant.files, *(f for f in (model.projector, model.mtp) if f is not None))


def _on_disk(kept: list[Kept]) -> bool:
    """Whether all that a chat needs is here: the weights, and the projector if there is one."""
    return all(each.path for each in kept if each.file.role != "mtp")


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
    kept = inventory.look(_files(model, quant), model.name)
    return {
        "name": quant.name,
        "on_disk": _on_disk(kept),
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


def _text(model: Model, machine: Machine) -> str:
    lines = [click.style(model.title, bold=True) + f"  ({model.name})"]
    lines += [wrapped(f"  {model.note}", 2)] if model.note else []
    for quant in model.quants:
        fits = _fits(model, quant, machine)
        verdict = (
            click.style("fits     ", fg="green") if fits else click.style("too large", fg="red")
        )
        here = _here(inventory.look(quant.files, model.name))
        size = output.size(quant.total_bytes)
        lines.append(f"  {quant.name:12}{size:>12}  {verdict}  {here}".rstrip())
        lines += [wrapped(f"      {quant.note}", 6)] if quant.note else []
    extras = [("projector", model.projector), ("draft heads", model.mtp)]
    for what, file in extras:
        if file is not None:
            here = _here(inventory.look([file], model.name))
            lines.append(f"  + {what + ',':14}{output.size(file.bytes):>8}  {here}".rstrip())
    return "\n".join(lines) + "\n"


def _here(kept: list[Kept]) -> str:
    """Say how much of a quant is here, and in what state."""
    states = {each.state for each in kept}
    if FileState.DAMAGED in states:
        state = FileState.DAMAGED
    elif states <= {FileState.INSTALLED, FileState.VERIFIED}:
        state = FileState.INSTALLED if FileState.INSTALLED in states else FileState.VERIFIED
    elif states == {FileState.ABSENT}:
        return ""
    else:
        come = sum(each.file.bytes if each.path else each.bytes for each in kept)
        whole = sum(each.file.bytes for each in kept)
        return click.style(f"{100 * come // whole} % here", fg=_COLOURS[FileState.PARTIAL])
    owners = sorted({str(each.target.parent) for each in kept if each.target})
    linked = f" (in {', '.join(owners)})" if owners else ""
    return click.style(_WORDS[state] + linked, fg=_COLOURS[state])
