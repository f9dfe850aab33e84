"""The page of the APIs says of each field that is not honoured what happens to it."""

import re

import pytest

from runner.gateway.bodies.fields import unmet_fields
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "apis.md").read_text("utf-8")
NAMES = {
    "chat": "chat completions",
    "completions": "completions",
    "responses": "Responses",
    "messages": "Messages",
}


@pytest.mark.parametrize("body", NAMES)
def test_fields_that_are_not_honoured_are_in_the_documentation(body):
    row = re.search(rf"^\| {NAMES[body]} \|(.*)\|(.*)\|$", PAGE, re.MULTILINE)
    assert row, f"no row of {NAMES[body]}"
    unmet = unmet_fields()[body]
    named, refused = (set(re.findall("`([^`]+)`", cell)) for cell in row.groups())
    assert set(unmet.ignored) <= named
    assert set(unmet.refused) <= refused


def test_every_table_is_of_an_api():
    assert set(unmet_fields()) == set(NAMES)
