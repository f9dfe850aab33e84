"""Stands in for the reader of PDFs, and never ends."""

import time

if __name__ == "__main__":
    time.sleep(600)
