"""Models to rehearse with: a tiny Step that really runs, and a full-size twin that holds zeros.

Both are generated, byte for byte the same on every machine, so that no test ever needs a
download. ``scripts/make_testbed`` is the command line; ``scripts/testbed/cli.py`` says what it
writes.
"""
