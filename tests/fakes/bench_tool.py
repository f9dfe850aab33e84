"""A fake llama-batched-bench, named as one: it behaves as badly as tools can.

    bench_tool.py MODE …     MODE: good, crash, hang, short, garbage, flood

The real tool is in `tests/engine/test_bench.py`; its real output in `tests/data/bench`.
"""

import os
import signal
import sys
import threading

ROW = "|{0:6d} |    128 |    1 | {1:6d} |    1.000 | {0:8.2f} |    2.000 |    64.00 |    0 |    0 |"
GARBAGE = (
    "|" * 100_000,
    "| 0 | 128 | 1 | 128 | 1e400 | nan | nan | inf | 0 | 0 |",
    "| 0 | 128 | 1 | 128 | 0 | 0 | -1 | -1 | 0 | 0 |",
    "| 0 | 128 | 1 | 128 | 0 | 0 | 0 | 0 | 0 | 0 |",
    "| 2048 | 128 | 1 | 2176 | 1 | 1 | 1 | 1 | 0 | 0 |",
    "| 0 | 999 | 1 | 999 | 0 | 0 | 1 | 1 | 0 | 0 |",
    "| zero | 128 | 1 | 128 | 0 | 0 | 1 | 1 | 0 | 0 |",
    "\x1b[31m| 0 | 128 | 1 | 128 | 0 | 0 | 1 | 1 | 0 | 0 |",
    "| 0 | 128 |",
)


def main(argv: list[str]) -> int:
    """Behave as asked."""
    mode = argv[0]
    prompts = [int(word) for word in argv[argv.index("-npp") + 1].split(",")]
    if mode == "garbage":
        print(*GARBAGE, sep="\n", flush=True)
        os.write(1, b"\xff\xfe\x00" * 1000 + b"\n")
    for prompt in prompts[:1] if mode in {"crash", "hang", "short"} else prompts:
        print(ROW.format(prompt, prompt + 128), flush=True)
        if mode == "flood":
            for _ in range(5_000):
                print("y" * 200)
    if mode == "crash":
        print("0.01 E ggml_abort: out of luck", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    if mode == "hang":
        threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
