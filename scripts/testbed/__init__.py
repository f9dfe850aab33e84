"""The test bed's command line, and the full-size twin; the rest is `runner.testbed`."""
