"""A hostile MCP server for the tests: `python bad_mcp_server.py KIND [FILE]`. Standard library."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path


def send(message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def answer(tools: list[dict[str, object]], *, on_call=None) -> None:
    """Speak the protocol of 2025, and list tools."""
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        base = {"jsonrpc": "2.0", "id": message["id"]}
        match message["method"]:
            case "initialize":
                info = {"name": "bad", "version": "1"}
                result = {
                    "protocolVersion": "2025-06-18",
                    "capabilities": {"tools": {}},
                    "serverInfo": info,
                }
                send({**base, "result": result})
            case "tools/list":
                send({**base, "result": {"tools": tools}})
            case "tools/call" if on_call is not None:
                on_call(base)
            case _:
                send({**base, "error": {"code": -32601, "message": "no such method"}})


def tool(name: str, **more: object) -> dict[str, object]:
    return {"name": name, "description": "Do it.", "inputSchema": {"type": "object"}, **more}


def hang() -> None:
    time.sleep(600)


def garbage() -> None:
    while True:
        sys.stdout.write("\x1b[2J this is not JSON }{\n")


def flood() -> None:
    line = json.dumps(
        {
            "jsonrpc": "2.0",
            "method": "notifications/message",
            "params": {"level": "info", "data": "x"},
        }
    )
    while True:
        sys.stdout.write(line + "\n")


def endless() -> None:
    while True:
        sys.stdout.write("{" * (1 << 20))


def few_prints() -> None:
    print("Starting up, and telling so where it does not belong")
    answer([tool("t")])


def many_tools() -> None:
    answer([tool(f"tool {number}") for number in range(10_000)])


def odd_tools() -> None:
    large = {
        "type": "object",
        "properties": {f"p{n}": {"description": "x" * 600} for n in range(100)},
    }
    deep: dict[str, object] = {}
    for _ in range(80):
        deep = {"type": "array", "items": deep}
    answer(
        [
            tool("a b"),
            tool("a_b"),
            tool("n" * 200),
            tool("N" * 300),
            tool("", description="no name"),
            tool("large", inputSchema=large),
            tool("deep", inputSchema={"type": "object", "properties": {"d": deep}}),
            tool("told", description="\x1b[31mred\u202e " + "long " * 5000),
        ]
    )


def bad_answers() -> None:
    def on_call(base: dict[str, object]) -> None:
        send({**base, "result": {"content": [{"type": "video", "data": 3}]}})

    answer([tool("t")], on_call=on_call)


def too_long() -> None:
    def on_call(base: dict[str, object]) -> None:
        send({**base, "result": {"content": [{"type": "text", "text": "x" * (17 << 20)}]}})

    answer([tool("t")], on_call=on_call)


def stderr_flood() -> None:
    for _ in range(200):
        sys.stderr.write("x" * (1 << 16) + "\n")
    sys.stderr.flush()
    answer([tool("t")])


def orphans() -> None:
    """Start a child in a session of its own, ignore the end of the input, and list a tool."""
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
    )
    Path(sys.argv[2]).write_text(f"{os.getpid()} {child.pid}")
    answer([tool("t")])
    time.sleep(600)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
