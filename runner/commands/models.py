"""`steprun models`: the catalog, what is on this disk, and what fits."""

from typing import Any

import click

from runner import models_toml, output
from runner.catalog import Model, ModelFile, Quant
from runner.engine import recipe
from runner.machine import capture
from runner.machine.facts import Machine
from runner.machine.probe import detect
from runner.plan.ask import Ask
from runner.plan.choose import choose
from runner.plan.subject import from_model
from runner.weights import places
from runner.wrap import wrapped


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document (steprun.models/1).")
def models(*, as_json: bool) -> None:
    """List the models: their quants, what fits on this machine, what is on this disk."""
    known = models_toml.load().models
    machine = detect(capture.Live())
    if as_json:
        output.emit_json(
            {"schema": "steprun.models/1", "models": [_model(m, machine) for m in known]}
        )
        return
    for model in known:
        click.echo(_text(model, machine))


def _fits(model: Model, quant: Quant, machine: Machine) -> bool | None:
    """Whether a quant fits here; None where nothing can be said."""
    subject = from_model(model)
    if subject is None:
        return None
    defaults = recipe.load(machine.backend).run
    return choose(machine, subject, Ask(quant=quant.name), defaults).fits


def _files(model: Model, quant: Quant) -> tuple[ModelFile, ...]:
    return (*quant.files, *(f for f in (model.projector, model.mtp) if f is not None))


def _on_disk(model: Model, quant: Quant) -> bool:
    """Whether all that a chat needs is here: the weights, and the projector if there is one."""
    return all(place.path for place in places.find(model, quant, mtp=False))


def _model(model: Model, machine: Machine) -> dict[str, Any]:
    answers = [_fits(model, quant, machine) for quant in model.quants]
    return {
        "name": model.name,
        "title": model.title,
        "fits": any(answers) if answers and None not in answers else None,
        "note": model.note,
        "quants": [
            {
                "name": quant.name,
                "fits": fits,
                "on_disk": _on_disk(model, quant),
                "total_bytes": quant.total_bytes,
                "note": quant.note,
                "files": [_file(file) for file in _files(model, quant)],
            }
            for quant, fits in zip(model.quants, answers, strict=True)
        ],
    }


def _file(file: ModelFile) -> dict[str, Any]:
    return {
        "role": file.role,
        "source": file.source,
        "repo": file.repo,
        "revision": file.revision,
        "path": file.path,
        "bytes": file.bytes,
        "sha256": file.sha256,
    }


def _text(model: Model, machine: Machine) -> str:
    lines = [click.style(model.title, bold=True) + f"  ({model.name})"]
    lines += [wrapped(f"  {model.note}", 2)] if model.note else []
    for quant in model.quants:
        fits = _fits(model, quant, machine)
        verdict = click.style("fits", fg="green") if fits else click.style("too large", fg="red")
        here = click.style("on disk", fg="cyan") if _on_disk(model, quant) else ""
        lines.append(
            f"  {quant.name:12}{output.size(quant.total_bytes):>12}  {verdict} {here}".rstrip()
        )
        lines += [wrapped(f"      {quant.note}", 6)] if quant.note else []
    extras = [("projector", model.projector), ("draft heads", model.mtp)]
    lines += [f"  + {what}, {output.size(f.bytes)}" for what, f in extras if f is not None]
    return "\n".join(lines) + "\n"
