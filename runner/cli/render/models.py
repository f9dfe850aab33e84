"""A model of the catalog for people: its quants, which fit, and which are downloaded."""

from collections.abc import Sequence

import click

from runner.base.units import download_size
from runner.catalog.model import Model
from runner.cli.render.wrap import wrapped
from runner.weights import inventory
from runner.weights.inventory import FileState, Kept

_SHOWN = {  # text and colour
    FileState.DAMAGED: ("DAMAGED: steprun models repair", "red"),
    FileState.INSTALLED: ("downloaded, not verified", "cyan"),
    FileState.VERIFIED: ("downloaded", "cyan"),
}


def model_text(model: Model, fits: Sequence[bool | None]) -> str:
    """Return a model with its quants, a row each; `fits`: whether each fits on this machine."""
    lines = [click.style(model.title, bold=True) + f"  ({model.name})"]
    lines += [wrapped(f"  {model.note}", 2)] if model.note else []
    for quant, fit in zip(model.quants, fits, strict=True):
        verdict = (
            click.style("fits     ", fg="green") if fit else click.style("too large", fg="red")
        )
        state = _state(inventory.look(quant.files, model.name))
        size = download_size(quant.total_bytes)
        lines.append(f"  {quant.name:12}{size:>20}  {verdict}  {state}".rstrip())
        lines += [wrapped(f"      {quant.note}", 6)] if quant.note else []
    extras = [("vision encoder (mmproj)", model.projector), ("draft heads (MTP)", model.mtp)]
    for what, file in extras:
        if file is not None:
            state = _state(inventory.look([file], model.name))
            lines.append(f"  + {what:25}{download_size(file.bytes)}  {state}".rstrip())
    return "\n".join(lines) + "\n"


def _state(kept: list[Kept]) -> str:
    """Say how much of some files is downloaded, and whether they are verified."""
    states = {each.state for each in kept}
    if all(each.file.ships and each.path for each in kept) and FileState.DAMAGED not in states:
        return click.style("ships with steprun", fg="cyan")
    if FileState.DAMAGED in states:
        state = FileState.DAMAGED
    elif states <= {FileState.INSTALLED, FileState.VERIFIED}:
        state = FileState.INSTALLED if FileState.INSTALLED in states else FileState.VERIFIED
    elif states == {FileState.ABSENT}:
        return ""
    else:
        done = sum(each.file.bytes if each.path else each.bytes for each in kept)
        whole = sum(each.file.bytes for each in kept)
        return click.style(f"{100 * done // whole} % downloaded", fg="yellow")
    owners = sorted({str(each.target.parent) for each in kept if each.target})
    linked = f" (in {', '.join(owners)})" if owners else ""
    text, colour = _SHOWN[state]
    return click.style(text + linked, fg=colour)
