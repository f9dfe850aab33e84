"""The model to plan for, in its quants: from the catalog or from a GGUF header. Pure."""

from dataclasses import dataclass

from runner.catalog.model import Geometry, Model, WeightLayout, scaled_layout
from runner.plan.memory.compute_buffers import STEP_VISION, Vision


@dataclass(frozen=True, slots=True)
class Variant:
    """One quant. `weights_bytes`: its tensors; `quality`: higher is better.

    `auto`: whether the planner may choose it by itself. `layout`: where the bytes lie, None where
    neither a header nor the catalog says.
    """

    name: str
    weights_bytes: int
    files: int = 1
    quality: float = 0.0
    auto: bool = True
    layout: WeightLayout | None = None


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model as the ledger sees it. `projector_bytes` and `mtp_bytes` are 0 where it has none.

    `mtp_inside`: the draft heads are part of the main file. `mtp_input_bytes`: the token embedding
    in a file of their own, which stays in main memory as the model's does. `vision`: the shape of
    its projector, which decides how much scratch memory that takes. `sampling`: llama-server's
    options for it, name and value. `words`: the options that name it; `verb`: the command that
    takes them.
    """

    name: str
    geometry: Geometry
    variants: tuple[Variant, ...]
    projector_bytes: int = 0
    mtp_bytes: int = 0
    mtp_inside: bool = False
    mtp_input_bytes: int = 0
    vision: Vision = STEP_VISION
    sampling: tuple[tuple[str, float], ...] = ()
    words: tuple[str, ...] = ()
    verb: str = "chat"

    @property
    def demo_command(self) -> str:
        """The command that runs a small model instead of this one."""
        return f"steprun {'serve' if self.verb == 'serve' else 'chat'} --demo"


def from_model(model: Model) -> ModelSpec | None:
    """Return a catalog model as a spec; None where llama.cpp has nothing to load."""
    if not model.gguf or model.geometry is None:
        return None
    return ModelSpec(
        name=model.name,
        geometry=model.geometry,
        variants=tuple(
            # Of a quant whose header nobody has read yet, the nearest one's proportions stand in.
            Variant(
                q.name,
                q.total_bytes,
                len(q.files),
                q.quality,
                q.auto,
                q.layout or scaled_layout(model, q),
            )
            for q in model.quants
        ),
        projector_bytes=model.projector.bytes if model.projector else 0,
        mtp_bytes=model.mtp.bytes if model.mtp else 0,
        mtp_input_bytes=model.mtp.input_bytes if model.mtp else 0,
        sampling=model.sampling,
        words=("--demo",) if model.demo else ("--model", model.name),
    )
