"""What a gateway is told of the model: by the plan, and once its files are here."""

from dataclasses import replace

from runner.engine.process.stack import longest_word
from runner.gateway.settings import Settings
from runner.machine.facts import Backend
from runner.plan.launch import LaunchSpec
from runner.run import saved_prompts
from runner.run.download_missing import Ready
from runner.run.joining import served_of
from runner.run.prepare import Prepared
from runner.run.request import ModelRequest


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


def with_files(
    settings: Settings, ready: Ready, request: ModelRequest
) -> tuple[Settings, LaunchSpec]:
    """Return the settings of a gateway once all files are here, and what to start behind it.

    Raises `Refused` where the disk does not take the folder of kept prompts.
    """
    spec, kept = ready.spec, saved_prompts.kept(ready, request.kv_disk)
    if kept is not None:
        spec = saved_prompts.with_slots(spec, kept, ready.prepared.engine)
    served = served_of(ready, request)
    known = replace(
        settings,
        served=served,
        longest_word=longest_word(passed=spec.long_words),
        kept=kept,
    )
    return known, replace(spec, weights_bytes=served.weights_bytes)
