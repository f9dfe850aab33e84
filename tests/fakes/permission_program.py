"""Runs the chat against a fake host, with one call of an MCP server's tool that wants to run.

Usage: permission_program.py URL ARGUMENTS. The server `fake` of mcp.toml is switched on, its tool
`add` is called as soon as it is offered, and what that returns is shown as a hint.
"""

import asyncio
import sys
from pathlib import Path

import runner.tui
from runner.chat.host import ChatSetup
from runner.chat.tools.toolbox import Call
from runner.chat.wire import Options
from runner.tui.app import ChatApp
from tests.fakes.sse_server import FakeHosts


class CallingChat(ChatApp):
    """A chat in which a tool is called without a model."""

    CSS_PATH = str(Path(runner.tui.__file__).with_name("chat.tcss"))

    async def on_mount(self) -> None:
        self.run_worker(self._call(), exit_on_error=False)

    async def _call(self) -> None:
        while not self.tools.tools:
            await asyncio.sleep(0.05)
        result = await self.tools.run(Call("1", "fake__add", sys.argv[2]), ())
        self.hint(f"RESULT {result.text}")


if __name__ == "__main__":
    hosts = FakeHosts(sys.argv[1])
    CallingChat(ChatSetup("Fake 1B", hosts, Options(), context=4096, mcp=("fake",))).run()
