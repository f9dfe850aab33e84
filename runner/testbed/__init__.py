"""Models to rehearse with, generated: a tiny Step that really runs.

Byte for byte the same on every machine, so that no test and no canary ever needs a download.
`scripts/make_testbed` writes them by hand, and a full-size twin that holds zeros beside them.
"""
