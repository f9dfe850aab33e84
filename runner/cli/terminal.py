"""The terminal's side of `runner.run`: it shows the messages, asks the user, and draws the bars."""

from functools import partial

import click

from runner.base.shell import as_typed
from runner.base.units import size
from runner.cli import confirm
from runner.cli.progress import shown
from runner.cli.render.plan import plan_text
from runner.cli.render.wrap import say
from runner.engine.process import servers
from runner.plan.launch import LaunchSpec
from runner.run import prepare
from runner.run.download_missing import DownloadOffer, Frontend, Ready, ensure_files
from runner.run.prepare import Prepared


def frontend() -> Frontend:
    """Return this terminal; without one, messages go to stderr and nobody is asked."""
    ask = _agrees if confirm.can_ask() else None
    return Frontend(partial(say, err=True), partial(shown, paced=True), ask)


def must_fit(prepared: Prepared) -> None:
    """Show the ledger on stderr and raise `Refused` where a plan does not fit."""
    if not prepared.plan.fits:
        click.echo(as_typed(plan_text(prepared.plan, LaunchSpec(()))) + "\n", err=True)
        for server in servers.running():
            served = server.served
            say(
                f"{served.title} {served.quant} runs at {server.url} and holds "
                f"{size(served.total_bytes)}. To end it: steprun stop {server.port}",
                err=True,
            )
    prepare.must_fit(prepared)


def make_ready(prepared: Prepared) -> Ready:
    """Download what is missing, on consent, and check the memory; return what to start."""
    must_fit(prepared)
    return ensure_files(prepared, frontend())


def _agrees(offer: DownloadOffer) -> bool:
    from runner.cli.render.download import offer_text

    say(f"{offer.title} is not downloaded yet: {offer_text(offer)}", 8, err=True)
    return click.confirm("Download now?", default=True, err=True)
