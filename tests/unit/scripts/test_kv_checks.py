"""The day of coding agents that measures kept caches: what it sends, and in which order."""

import json
from collections import Counter

import pytest

from kv_checks.agents import Agent, ClaudeCode, OpenCode, prose
from kv_checks.day import events
from kv_checks.table import cases
from runner.gateway import bodies, routes
from runner.gateway.bodies import Terms

APIS = ("messages", "chat")


def agents() -> list[Agent]:
    return [ClaudeCode(1000, 1), OpenCode(1000, 1)]


@pytest.mark.parametrize("agent", agents(), ids=APIS)
def test_each_turn_continues_the_one_before(agent: Agent) -> None:
    before = agent.ask().body["messages"]
    for _ in range(4):
        agent.answered("An answer.")
        now = agent.ask().body["messages"]
        assert now[: len(before)] == before
        assert len(now) == len(before) + 2
        before = now


@pytest.mark.parametrize("agent", agents(), ids=APIS)
def test_the_gateway_takes_what_they_send(agent: Agent) -> None:
    for _ in range(3):
        for ask in (agent.ask(), agent.title()):
            route = routes.find("POST", ask.path.partition("?")[0])
            bodies.read(route, json.dumps(ask.body).encode(), Terms())
        agent.answered("An answer.")


def test_the_header_block_of_claude_code_differs_in_each_request() -> None:
    agent = ClaudeCode(1000, 1)
    first = agent.ask().body["system"]
    agent.answered("")
    second = agent.ask().body["system"]
    assert first[0] != second[0]
    assert first[1:] == second[1:]


@pytest.mark.parametrize("turns", [5, 8, 20])
def test_a_day_has_three_restarts_and_one_kill(turns: int) -> None:
    found = Counter(event for event, _ in events(turns))
    assert found == {"ask": turns, "restart": 3, "kill": 1}


def test_prose_is_the_same_for_the_same_seed() -> None:
    assert prose(500, 1) == prose(500, 1) != prose(500, 2)


def test_every_case_of_the_table_has_a_second_request_of_its_own() -> None:
    found = cases(100, sees=False)
    assert len({case.what for case in found}) == len(found)
    assert all(case.first != case.second for case in found)
