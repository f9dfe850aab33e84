"""The tutorial's figures are those that the planner gives today."""

import re

import pytest

from runner.catalog import models_toml
from runner.plan.request import PlanRequest
from runner.run import machine_view
from runner.run.model_ref import CatalogModel, read_model
from runner.run.prepare import choose_plan
from tests.unit.docs.texts import ROOT


@pytest.mark.parametrize(
    ("words", "preset"),
    [
        (r"\*\*128 GB Mac\*\* the plan is", "m4-max-128"),
        (r"\*\*DGX Spark\*\* it is", "dgx-spark"),
        (r"\*\*Strix Halo\*\* under Linux it is", "strix-halo-linux"),
    ],
)
def test_plans(words: str, preset: str) -> None:
    text = " ".join((ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8").split())
    said = re.search(rf"{words} (\S+?),?(?: too,)? with ([\d,]+) tokens", text)
    assert said
    model, _ = read_model(CatalogModel(models_toml.load_catalog().models[0]), see=True)
    plan = choose_plan(machine_view.probed(preset), model, PlanRequest())
    assert said.groups() == (plan.variant.name, f"{plan.config.context:,}")
    advice = [fix.what for fix in plan.fixes if "would fit then" in fix.what]
    for quant, context in re.findall(r"- (\S+) at ([\d,]+) tokens would fit then", "".join(advice)):
        assert f"the better quant {quant} with {context} tokens" in text
