"""A request as typed on a command line: which model, which engine, and how to plan. Pure."""

from dataclasses import dataclass

from runner.plan.request import PlanRequest


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """The options of a command as typed; `runner.run.model_ref` decides what the model is.

    `model`: a name of the catalog (empty for its first model), `demo`, a path or an address;
    `projector` and `mtp`: paths or addresses. `engine`: its name, empty for the best. `kv_disk`:
    the bytes that prompts which were read may take on the disk, 0 for none, None for a share of
    what is free.
    """

    model: str
    ask: PlanRequest
    projector: str | None = None
    mtp: str | None = None
    engine: str = ""
    kv_disk: int | None = None
