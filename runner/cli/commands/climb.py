"""`steprun climb`: give a server back what it gave up when memory was short."""

import click

from runner.base.errors import Exit
from runner.cli.lazy import examples
from runner.cli.render.wrap import say
from runner.cli.servers import NONE_RUNS, named, place_argument
from runner.gateway.asking import ask_to_climb


@click.command(epilog=examples("steprun climb", "steprun climb 8080"))
@place_argument
def climb(*, place: str) -> int:
    """Give a server back what it gave up when memory was short.

    Its engine is started again with more, as far as there is memory for it. The answers that have
    begun are finished first, and prompts that were read are saved. New requests wait meanwhile, two
    minutes at most. By itself a server does the same after an hour without requests, and when it
    loads the model again after --idle-unload. `steprun ps` shows what was given up. Where several
    servers run, name one by its port or its address.
    """
    record = named(place, "climb")
    if record is None:
        say(NONE_RUNS, err=True)
        return Exit.FAILED if place else Exit.DONE
    say(ask_to_climb(record), err=True)
    return Exit.DONE
