"""Stands in for the reader of PDFs, and dies as a native library does: by a signal."""

import os
import signal
import sys

if __name__ == "__main__":
    sys.stdin.buffer.readline()
    os.kill(os.getpid(), signal.SIGSEGV)
