"""What a gateway is told of the model, by the plan."""

from dataclasses import replace

from runner.gateway.settings import Settings
from runner.machine.facts import Backend
from runner.run.prepare import Prepared


def with_model(settings: Settings, prepared: Prepared) -> Settings:
    """Return the settings of a gateway in front of the engine that was planned."""
    plan = prepared.plan
    return replace(
        settings,
        model=plan.model_spec.name,
        title=prepared.title,
        quant=plan.variant.name,
        context=plan.config.context,
        parallel=plan.config.parallel,
        sees=plan.config.projector,
        arch=plan.model_spec.geometry.arch,
        embedding=plan.model_spec.geometry.embedding_length,
        weights_bytes=plan.variant.weights_bytes,
        on_gpu=plan.machine.backend is not Backend.CPU,
    )
