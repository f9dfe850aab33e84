"""What is shown of MCP servers, their tools and what was decided on these. Pure."""

from collections.abc import Mapping
from typing import Final

from runner.base.text import clean_name
from runner.chat.tools.mcp.box import McpEntry, ServerState
from runner.chat.tools.mcp.config import McpServer
from runner.chat.tools.mcp.permissions import Answer, Decision

DECIDED: Final[Mapping[str, str]] = {Answer.ALWAYS: "always allowed", Answer.NEVER: "never allowed"}


def state_of(entry: McpEntry | None, config: McpServer | None) -> str:
    """Return what a server is doing."""
    if entry is None or entry.state is ServerState.OFF:
        if config is None or not config.enabled:
            return "off, and disabled in mcp.toml"
        return f"off · {clean_name(config.place, 60)}"
    if entry.state is ServerState.ON:
        offers = entry.offers
        count = len(offers.tools)
        some = f" of {offers.listed:,}" if offers.left_out else ""
        return f"on · {count}{some} {'tool' if count == 1 and not some else 'tools'}"
    return f"{entry.state} · {entry.why}" if entry.why else str(entry.state)


def decided_on(decision: Decision | None, fingerprint: str) -> str:
    """Return what counts for a tool that describes itself by this fingerprint."""
    if decision is None:
        return "asked each time"
    if decision.answer == Answer.ALWAYS and decision.fingerprint != fingerprint:
        return "was allowed, then changed: asked again"
    return DECIDED[decision.answer]


def mcp_lines(
    servers: Mapping[str, McpServer],
    entries: Mapping[str, McpEntry],
    decisions: Mapping[tuple[str, str], Decision],
) -> list[str]:
    """Return a line for each server and tool, and for what was decided on others."""
    lines: list[str] = []
    listed: set[tuple[str, str]] = set()
    for name in sorted({*servers, *entries}):
        entry = entries.get(name)
        lines.append(f"{name}: {state_of(entry, servers.get(name))}")
        for offer in entry.offers.tools if entry is not None else ():
            listed.add((name, offer.own_name))
            decided = decided_on(decisions.get((name, offer.own_name)), offer.fingerprint)
            lines.append(f"{offer.tool.name}: {decided}")
    for key, decision in sorted(decisions.items()):
        if key not in listed:
            text = f"{clean_name(decision.tool, 80)} of {clean_name(decision.server)}, which is off"
            lines.append(f"{text}: {DECIDED[decision.answer]}")
    return lines
