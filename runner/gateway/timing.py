"""How long a gateway waits for what: one place for all of it, so that tests need not wait."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, but for `loads` and `falls`.

    Requests. `patience_s`: one waits so long for the model to load, and to load again. `quiet_s`:
    of silence before a streamed answer is told that it waits; proxies and clients hang up after
    30 s of silence and more (llama-server's own pings are 30 s apart, and begin with the first
    token only). `again_s`: before the engine is asked again; one that has died is
    seen to be dead by then. `flush_s`: for the last refusals to be sent at the end.

    Restarts. `first_s`: the pause before the first one; each further one doubles it up to
    `longest_s`, so that an engine that dies at once leaves the machine to others. `well_s`: having
    served so long begins the row anew. `loads`: so many ends in a row while loading, and the
    engine is given up: with the pauses that is three minutes or more, in which memory that another
    program has taken for a moment is free again. `room_s`: between two looks whether there is
    memory for an engine that was stopped for want of it.

    Watching the engine. `poll_s`: between two looks whether it lives; `look_s`: whether it moves.
    `still_s`: neither an answer to `/health` nor any work for so long is an engine that stands
    still. llama-server answers that in a thread of its own, whatever a graphics card computes; it
    is four times what one look waits, as one may fall into a moment in which the machine swaps.
    `idle_s`: `/health` is answered, but there is not a byte of an answer, not a line of log and
    next to no processor time. While a card reads a prompt, llama-server logs each batch, of 2,048
    tokens at most; 3 tokens a second, at which that would take so long, is a processor's speed
    only, and a processor's work is seen.

    `mute_s`: where a GPU computes, and the processor seems busy all the while, which may be the
    waiting itself: a batch of 2,048 tokens takes 42 s on a Strix Halo with a long context (49
    tokens a second, StepFun's table), and part of a model in main memory may take some times that.

    Trouble. `silent_s`: an answer without a byte for so long is looked at; `renew_s`: requests wait
    so long at most for the end of others, before an engine is started again for its own good, or
    with more; after that nobody waits for it for as long.

    Memory. `short_s`: between two looks whether it is short; `hold_s`: requests wait so long at
    most while it is: what is short and stays so is how this machine is used now. `say_s`: between
    two words about what is waited for. `steady_s`: an engine that has served so long has room: its
    end begins a new row of `falls`, after which the lowest rung is given up. What has taken the
    memory six times within minutes is going to do it again. `quiet_hour_s`: nobody asks, and there
    is memory for a higher rung, for so long, and the engine climbs: that costs minutes of loading,
    and what has taken the memory, such as a build or a game, often comes back within the hour.
    `quiet_look_s`: between two looks whether that is so.

    Sleep. `nap_s`: between two looks whether anybody has asked, and whether the computer slept.

    Keeping prompts. `save_idle_s`: without a request, and what the slots hold is saved; agents ask
    again sooner. `save_end_s`: for saving it before a stop. `save_again_s`: after a save that the
    engine did not do, before the next one.
    """

    patience_s: float = 600.0
    quiet_s: float = 10.0
    again_s: float = 0.2
    flush_s: float = 2.0
    first_s: float = 1.0
    longest_s: float = 30.0
    well_s: float = 60.0
    loads: int = 8
    room_s: float = 1.0
    poll_s: float = 0.25
    look_s: float = 2.0
    still_s: float = 20.0
    idle_s: float = 600.0
    mute_s: float = 600.0
    silent_s: float = 60.0
    renew_s: float = 120.0
    short_s: float = 0.25
    hold_s: float = 30.0
    say_s: float = 60.0
    steady_s: float = 300.0
    falls: int = 6
    quiet_hour_s: float = 3600.0
    quiet_look_s: float = 5.0
    nap_s: float = 1.0
    save_idle_s: float = 5.0
    save_end_s: float = 20.0
    save_again_s: float = 60.0


USUAL: Final = Timing()
